"""Client and AsyncClient: a recording in, a transcript out."""

import asyncio
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fanscribe.connection import Connection, PlatformChoice, connect
from fanscribe.contracts.errors import DeadlineError, UsageError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.transcript import Transcript
from fanscribe.loop_thread import LoopThread
from fanscribe.pipeline.events import Event, Listener, State, ignore
from fanscribe.pipeline.plan import Plan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import Request, make_request
from fanscribe.pipeline.run import Recording, plan_for, transcribe
from fanscribe.remote import Remote, transcribe_remotely
from fanscribe.remote_connection import RemoteConnection, connect_remote
from fanscribe.results import LearnedFactors, learned_file, open_results
from fanscribe.run_records import keep, record_of, records_file
from fanscribe.source import Audio, check_file, local_file, name_of, public_address
from fanscribe.trace import Recorder, traces_file, tracing

_END = object()


class AsyncHandle:
    """A transcription under way."""

    def __init__(self, work: "Callable[[Listener], Coroutine[Any, Any, Transcript]]") -> None:
        self._events: asyncio.Queue[Event | object] = asyncio.Queue()
        self.task = asyncio.create_task(work(self._events.put_nowait))
        self.task.add_done_callback(lambda _: self._events.put_nowait(_END))

    async def progress(self) -> AsyncIterator[Event]:
        """The events as they happen, until the end; for one reader."""
        while (event := await self._events.get()) is not _END:
            assert isinstance(event, Event)
            yield event

    @property
    def done(self) -> bool:
        """Whether the transcription has ended, in whatever way."""
        return self.task.done()

    async def result(self) -> Transcript:
        """Wait for the transcript. Raises the FanscribeError of the run, CancelledError when cancelled."""
        return await asyncio.shield(self.task)

    async def cancel(self) -> None:
        """Stop the work, on the platform too, and wait until it has stopped."""
        self.task.cancel()
        await asyncio.wait({self.task})


class AsyncClient:
    """Transcribes recordings on Runpod endpoints or on this machine.

    `platform` is auto, local or runpod; auto takes Runpod when there is a key and endpoints.toml names
    endpoints, else the local platform. `endpoints` is the path of endpoints.toml (else FANSCRIBE_ENDPOINTS,
    else ./endpoints.toml for Runpod, else the built-in ones for local). `api_key` replaces RUNPOD_API_KEY.
    `trace` is a file to which the trace of each request is added; else FANSCRIBE_TRACES names a folder for them.
    With `orchestrator`, a name in endpoints.toml ("orchestrator" stands for whichever it has) or the id of an endpoint
    on Runpod, each request goes there as one job; a file that does not fit into it goes by way of the bucket that
    FANSCRIBE_UPLOADS names (s3://bucket/prefix), or the local platform's own store.
    A local platform that is started for the client ends with `aclose`, the `async with` block or the process.
    """

    def __init__(
        self,
        *,
        platform: str = "auto",
        endpoints: str | Path | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        trace: str | Path | None = None,
        orchestrator: str | None = None,
    ) -> None:
        if platform not in list(PlatformChoice):
            raise UsageError(f"platform {platform!r}: choose one of {', '.join(PlatformChoice)}")
        self._choice = PlatformChoice(platform)
        self._endpoints = Path(endpoints) if endpoints is not None else None
        self._api_key = api_key
        self._base_url = base_url
        self._trace = Path(trace) if trace is not None else None
        self._orchestrator = orchestrator
        self._connection: Connection | None = None
        self._remote: RemoteConnection | None = None
        self._connecting = asyncio.Lock()
        self._running: set[asyncio.Task[Transcript]] = set()

    async def __aenter__(self) -> Self:
        """The client itself; it connects at its first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def transcribe(
        self, audio: Audio, *, on_progress: Listener | None = None, **options: Any
    ) -> Transcript:
        """The transcript of a recording.

        `audio` is a path, a URL, bytes or a binary file. Options are the fields of
        `fanscribe.pipeline.request.Request`, and as short forms `diarize=True`, `per_channel=True` and
        `speakers=N`. `on_progress` gets each Event, in the event loop.

        Raises UsageError for a wrong option or file (before anything is sent), PlatformError, TransportError,
        JobError or AnswerError when the platform or a worker fails, DeadlineError after `deadline_s`.
        """
        return await self._transcribe(audio, make_request(**options), on_progress or ignore)

    async def plan(self, audio: Audio, **options: Any) -> Plan:
        """What `transcribe` would do, with its predicted seconds and dollars; no job is made.

        Raises UsageError for a wrong option or file, and for a client with an orchestrator, which plans by itself.
        """
        if self._orchestrator is not None:
            raise UsageError(
                "an orchestrator makes its own plan, when it has the audio: leave one of the two out"
            )
        request, name = make_request(**options), name_of(audio)
        async with local_file(audio, lambda share: None) as file:
            connection = await self.connect()
            recording = Recording(file, name, public_address(audio))
            return await plan_for(recording, request, connection.catalogue, _remembering(connection.platform))

    async def submit(self, audio: Audio, **options: Any) -> AsyncHandle:
        """Start a transcription and give a handle with `progress`, `result` and `cancel`."""
        request = make_request(**options)
        handle = AsyncHandle(lambda listener: self._transcribe(audio, request, listener))
        self._running.add(handle.task)
        handle.task.add_done_callback(self._running.discard)
        return handle

    async def connect(self) -> Connection:
        """The open connection; the first call opens it (and starts the local platform where that is meant)."""
        async with self._connecting:
            if self._connection is None:
                self._connection = await connect(
                    self._choice,
                    endpoints_file=self._endpoints,
                    api_key=self._api_key,
                    base_url=self._base_url,
                )
            return self._connection

    async def _hosted(self, name: str) -> RemoteConnection:
        """The open connection to the orchestrator; the first call opens it."""
        async with self._connecting:
            if self._remote is None:
                self._remote = await connect_remote(
                    self._choice,
                    name,
                    endpoints_file=self._endpoints,
                    api_key=self._api_key,
                    base_url=self._base_url,
                )
            return self._remote

    async def aclose(self) -> None:
        """Stop what was submitted, close the connection, end a local platform that was started for this client."""
        running = list(self._running)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        async with self._connecting:
            connections = (self._connection, self._remote)
            self._connection = self._remote = None
        self._connecting = asyncio.Lock()  # the next use may be in another event loop
        for connection in connections:
            if connection is not None:
                await connection.close()

    async def _transcribe(self, audio: Audio, request: Request, listener: Listener) -> Transcript:
        file = self._trace or traces_file(os.environ)
        about = {"model": request.model, "speaker_detection": request.speaker_detection.value}
        async with tracing(file, about, os.environ.get("TRACEPARENT")) as recorder:
            return await self._recorded(audio, request, listener, recorder)

    async def _recorded(
        self, audio: Audio, request: Request, listener: Listener, recorder: Recorder
    ) -> Transcript:
        try:
            async with asyncio.timeout(request.deadline_s) as limit:
                if self._orchestrator is not None:
                    name, until = self._orchestrator, limit.when()
                    return await self._sent(name, audio, request, listener, recorder, until)
                return await self._fanned_out(audio, request, listener, recorder)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineError(
                f"{name_of(audio)}: not done within the deadline of {request.deadline_s:g} s; its jobs were cancelled"
            ) from error

    async def _fanned_out(
        self, audio: Audio, request: Request, listener: Listener, recorder: Recorder
    ) -> Transcript:
        name = name_of(audio)
        loop = asyncio.get_running_loop()

        def downloaded(share: float) -> None:
            loop.call_soon_threadsafe(
                listener, Event("prepare", Stage.PREPARE, State.PREPARING, share, f"downloading {name}")
            )

        async with recorder.entered("fetch", local_file(audio, downloaded)) as file:
            with recorder.step("connect"):
                connection = await self.connect()
            recording = Recording(file, name, public_address(audio))
            platform, catalogue = _remembering(connection.platform), connection.catalogue
            transcript = await transcribe(recording, request, catalogue, platform, listener, recorder)
            await asyncio.to_thread(_note, transcript, platform)
            return transcript

    async def _sent(
        self,
        orchestrator: str,
        audio: Audio,
        request: Request,
        listener: Listener,
        recorder: Recorder,
        until: float | None,
    ) -> Transcript:
        """The transcript that an orchestrator makes. `until` is the deadline by the event loop's clock."""
        await asyncio.to_thread(check_file, audio)  # before a platform is started for it
        with recorder.step("connect"):
            connection = await self._hosted(orchestrator)
        platform = connection.platform
        remote = Remote(platform.endpoint(connection.endpoint_id), connection.uploads or platform.objects)
        transcript = await transcribe_remotely(remote, audio, request, listener, until, recorder)
        await asyncio.to_thread(_note, transcript, platform)
        return transcript


def _remembering(platform: Platform) -> Platform:
    """The platform with what earlier runs left behind. Looked for at each call: it costs nothing."""
    return replace(platform, results=open_results(), learned=LearnedFactors(learned_file()))


def _note(transcript: Transcript, platform: Platform) -> None:
    """Keep what the tasks took, for `fanscribe stats`."""
    file = records_file()
    if file is not None:
        keep(file, [record_of(task, time.time(), platform.name) for task in transcript.tasks])


class Handle:
    """A transcription under way, for code without an event loop."""

    def __init__(self, loop: LoopThread, inner: AsyncHandle) -> None:
        self._loop = loop
        self._inner = inner

    def progress(self) -> Iterator[Event]:
        """The events as they happen, until the end; for one reader."""
        events = self._inner.progress()

        async def following() -> Event | None:
            return await anext(events, None)

        while (event := self._loop.run(following())) is not None:
            yield event

    @property
    def done(self) -> bool:
        """Whether the transcription has ended, in whatever way."""
        return self._inner.done

    def result(self) -> Transcript:
        """Wait for the transcript. Raises as `Client.transcribe` does."""
        return self._loop.run(self._inner.result())

    def cancel(self) -> None:
        """Stop the work, on the platform too, and wait until it has stopped."""
        self._loop.run(self._inner.cancel())


class Client:
    """AsyncClient for code without an event loop; the same arguments, options and errors.

    Usable from several threads. `close` (or the `with` block) ends a local platform that was started for it.
    """

    def __init__(
        self,
        *,
        platform: str = "auto",
        endpoints: str | Path | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        trace: str | Path | None = None,
        orchestrator: str | None = None,
    ) -> None:
        self._loop = LoopThread()
        self._inner = AsyncClient(
            platform=platform,
            endpoints=endpoints,
            api_key=api_key,
            base_url=base_url,
            trace=trace,
            orchestrator=orchestrator,
        )
        # For callers who forget to close: when the client is collected, at the latest when the process ends.
        weakref.finalize(self, self._loop.close, self._inner.aclose)

    def __enter__(self) -> Self:
        """The client itself; it connects at its first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def transcribe(self, audio: Audio, *, on_progress: Listener | None = None, **options: Any) -> Transcript:
        """The transcript of a recording; see `AsyncClient.transcribe`. `on_progress` runs in another thread."""
        return self._loop.run(self._inner.transcribe(audio, on_progress=on_progress, **options))

    def plan(self, audio: Audio, **options: Any) -> Plan:
        """What `transcribe` would do; see `AsyncClient.plan`."""
        return self._loop.run(self._inner.plan(audio, **options))

    def submit(self, audio: Audio, **options: Any) -> Handle:
        """Start a transcription and give a handle with `progress`, `result` and `cancel`."""
        return Handle(self._loop, self._loop.run(self._inner.submit(audio, **options)))

    def close(self) -> None:
        """End what was started for this client; it can be used again afterwards."""
        self._loop.close(self._inner.aclose)
