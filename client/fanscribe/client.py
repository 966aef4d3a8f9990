"""Client and AsyncClient: a recording in, a transcript out."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from fanscribe.connection import Connection, PlatformChoice, connect
from fanscribe.contracts.errors import DeadlineError, UsageError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.transcript import Transcript
from fanscribe.pipeline.events import Event, Listener, State, ignore
from fanscribe.pipeline.plan import Plan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import Request, make_request
from fanscribe.pipeline.run import Recording, plan_for, transcribe
from fanscribe.results import LearnedFactors, learned_file, open_results
from fanscribe.run_records import keep, record_of, records_file
from fanscribe.source import Audio, local_file, name_of, public_address

T = TypeVar("T")

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
    A local platform that is started for the client ends with `aclose`, the `async with` block or the process.
    """

    def __init__(
        self,
        *,
        platform: str = "auto",
        endpoints: str | Path | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
    ) -> None:
        if platform not in list(PlatformChoice):
            raise UsageError(f"platform {platform!r}: choose one of {', '.join(PlatformChoice)}")
        self._choice = PlatformChoice(platform)
        self._endpoints = Path(endpoints) if endpoints is not None else None
        self._api_key = api_key
        self._base_url = base_url
        self._connection: Connection | None = None
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

        Raises UsageError for a wrong option or file.
        """
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

    async def aclose(self) -> None:
        """Stop what was submitted, close the connection, end a local platform that was started for this client."""
        running = list(self._running)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        async with self._connecting:
            connection, self._connection = self._connection, None
        self._connecting = asyncio.Lock()  # the next use may be in another event loop
        if connection is not None:
            await connection.close()

    async def _transcribe(self, audio: Audio, request: Request, listener: Listener) -> Transcript:
        name = name_of(audio)
        loop = asyncio.get_running_loop()

        def downloaded(share: float) -> None:
            loop.call_soon_threadsafe(
                listener, Event("prepare", Stage.PREPARE, State.PREPARING, share, f"downloading {name}")
            )

        try:
            async with asyncio.timeout(request.deadline_s) as limit, local_file(audio, downloaded) as file:
                connection = await self.connect()
                recording = Recording(file, name, public_address(audio))
                platform = _remembering(connection.platform)
                transcript = await transcribe(recording, request, connection.catalogue, platform, listener)
                await asyncio.to_thread(_note, transcript, platform)
                return transcript
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineError(
                f"{name}: not done within the deadline of {request.deadline_s:g} s; its jobs were cancelled"
            ) from error


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

    def __init__(self, loop: "_LoopThread", inner: AsyncHandle) -> None:
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
    ) -> None:
        self._loop = _LoopThread()
        self._inner = AsyncClient(platform=platform, endpoints=endpoints, api_key=api_key, base_url=base_url)
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


class _LoopThread:
    """An event loop in a daemon thread, started at its first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. An interrupt in the caller's thread cancels it and waits until it has stopped."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "called from on_progress, which runs in the client's own thread: use another one"
            )
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except FutureCancelledError as error:
            raise asyncio.CancelledError from error
        except BaseException:
            if not future.done():
                self._cancel_and_wait(future)
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine and stop the loop; in the loop's own thread without waiting for either."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_ending(last), loop)
        if threading.current_thread() is thread:
            ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            return
        try:
            ending.result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="fanscribe-client", daemon=True
                )
                self._thread.start()
            return self._loop

    def _cancel_and_wait(self, future: "Future[T]") -> None:
        # Cancelling the concurrent future resolves it at once, so the loop is asked when its tasks are gone.
        future.cancel()
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(_settle(), self._loop).result()


async def _settle() -> None:
    """Wait until the cancelled tasks of this loop have done their own cleaning up."""
    others = [
        task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task.cancelling()
    ]
    await asyncio.gather(*others, return_exceptions=True)


async def _ending(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last()
    await asyncio.get_running_loop().shutdown_default_executor()
