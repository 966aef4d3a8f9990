"""A platform that answers by a script, in time that passes only when everybody waits: for tests of the fan-out."""

import asyncio
import heapq
import itertools
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
from tests.simulated import simulated_variant

from fanscribe.catalogue import DeployedEndpoint, Workers
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import Stage, TranscribeInput
from fanscribe.endpoint import Endpoint
from fanscribe.pipeline.attempts import Means, Task
from fanscribe.pipeline.cost import Capacity
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.events import Event
from fanscribe.pipeline.job import Calls
from fanscribe.pipeline.kept import Kept
from fanscribe.pipeline.route import Route
from fanscribe.pipeline.spans import Span
from fanscribe.results import ResultStore

T = TypeVar("T")

ENOUGH_TURNS = 60
"""Turns of the event loop in which whatever does not wait for the time comes to rest."""


class _Inline(ThreadPoolExecutor):
    """Runs what is meant for a thread at once, so that nothing happens behind the time's back."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


class Time:
    """A clock that stands still until everybody sleeps, and then jumps to whoever wakes first."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        """Seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait for the clock."""
        awake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._count), awake))
        await awake

    async def run(self, work: Coroutine[Any, Any, T], at_most_s: float = 3000.0) -> T:
        """The result of `work`, with the time passing. Fails when it takes too long, or nobody sleeps."""
        asyncio.get_running_loop().set_default_executor(_Inline())
        running, end = asyncio.ensure_future(work), self.now + at_most_s
        try:
            while not running.done():
                for _ in range(20):
                    await self.rest()
                    if running.done() or self._next() is not None:
                        break
                if not running.done():
                    self._jump()
                    assert self.now <= end, "it takes too long"
            return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def rest(self) -> None:
        """Let everything go on that does not wait for the clock."""
        for _ in range(ENOUGH_TURNS):
            await asyncio.sleep(0)

    def _next(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _jump(self) -> None:
        at = self._next()
        assert at is not None, "everybody waits, and nobody for the time"
        self.now = max(self.now, at)
        heapq.heappop(self._sleepers)[2].set_result(None)


Timeline = Sequence[tuple[float, Mapping[str, Any] | int]]
"""From so many seconds after the submission on, a job's status is this; a number is an HTTP status."""


@dataclass(slots=True)
class ScriptedJob:
    """A job that was submitted, and what becomes of it."""

    id: str
    endpoint: str
    input: dict[str, Any]
    sent_at: float
    timeline: Timeline
    cancelled: bool = False

    def state(self, now: float) -> httpx2.Response:
        """The answer to a question for its status."""
        if self.cancelled:
            return httpx2.Response(200, json={"id": self.id, "status": "CANCELLED"})
        current = [state for from_s, state in self.timeline if now - self.sent_at >= from_s][-1]
        if isinstance(current, int):
            return httpx2.Response(current, text="as the script says")
        return httpx2.Response(200, json={"id": self.id, **current})


Reply = httpx2.Response | Exception | None


@dataclass(slots=True)
class ScriptedPlatform:
    """`script` says what becomes of each job; `on_run` may answer a submission, by its number, in its own way."""

    time: Time
    script: Callable[[ScriptedJob], Timeline]
    on_run: Callable[[int], Reply] = lambda number: None
    takes_s: float = 0.0
    jobs: list[ScriptedJob] = field(default_factory=list)
    submissions: int = 0

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        endpoint, operation, *job = request.url.path.removeprefix("/v2/").split("/")
        match operation:
            case "run":
                return await self._run(endpoint, request)
            case "cancel":
                found = self._job(job[0])
                found.cancelled = True
                return httpx2.Response(200, json={"id": found.id, "status": "CANCELLED"})
            case "status":
                return self._job(job[0]).state(self.time.now)
            case _:
                return httpx2.Response(200, json={"jobs": {}, "workers": {"initializing": 1}})

    async def _run(self, endpoint: str, request: httpx2.Request) -> httpx2.Response:
        self.submissions += 1
        reply = self.on_run(self.submissions)
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            return reply
        about = json.loads(request.content)["input"]
        job = ScriptedJob(f"j{len(self.jobs) + 1}", endpoint, about, self.time.now, ())
        job.timeline = self.script(job)
        self.jobs.append(job)
        if self.takes_s:
            await self.time.sleep(self.takes_s)
        return httpx2.Response(200, json={"id": job.id, "status": "IN_QUEUE"})

    def _job(self, job_id: str) -> ScriptedJob:
        return next(each for each in self.jobs if each.id == job_id)

    @property
    def left(self) -> list[str]:
        """Jobs that still wait or run: neither ended by the script nor cancelled."""
        states = {each.id: each.state(self.time.now) for each in self.jobs}
        return [
            name
            for name, state in states.items()
            if state.status_code == 200 and state.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
        ]


def output(text: str = "hi", language: str = "en", speech_s: float = 1.0, **more: Any) -> dict[str, Any]:
    """What a recogniser's worker answers."""
    words = [{"text": text, "start": 0.0, "end": speech_s}]
    segments = [{"start": 0.0, "end": speech_s, "text": text, "words": words}] if text else []
    about = {
        "language": language,
        "language_probability": 1.0,
        "engine": "scripted 1",
        "contract_version": "1.0",
    }
    return {"text": text, "duration": 30.0, "segments": segments, **about, **more}


def done(after_s: float = 10.0, **about: Any) -> Timeline:
    """A job that is taken after a second and answered after so many."""
    return (
        (0.0, {"status": "IN_QUEUE"}),
        (1.0, {"status": "IN_PROGRESS"}),
        (after_s, {"status": "COMPLETED", "output": output(**about), "executionTime": 1000 * after_s - 1000}),
    )


def failed(code: ErrorCode, *, retryable: bool, after_s: float = 2.0) -> Timeline:
    """A job whose worker says that it failed."""
    error = TaskError(code=code, message="as the script says", retryable=retryable)
    return ((0.0, {"status": "IN_QUEUE"}), (after_s, {"status": "FAILED", "error": error.model_dump_json()}))


def forever(status: str = "IN_PROGRESS") -> Timeline:
    """A job that never ends."""
    return ((0.0, {"status": "IN_QUEUE"}), (1.0, {"status": status}))


def deployed(name: str = "words", workers: int = 4) -> DeployedEndpoint:
    """An endpoint of a simulated recogniser."""
    return DeployedEndpoint(name, f"id-{name}", simulated_variant(), Workers(max=workers))


def span_of(index: int = 0, heard_s: float = 100.0) -> Span:
    """A span that workers read by its address: no file is needed."""
    chunk = Chunk(index, index * heard_s, (index + 1) * heard_s, index * heard_s, (index + 1) * heard_s)
    return Span(chunk, None, f"{index:064x}", address="https://example.org/talk.flac")


def task_of(span: Span) -> Task:
    """A task of transcribing a span."""
    return Task(f"transcribe-{span.number}", Stage.TRANSCRIBE, span, lambda audio: TranscribeInput(**audio))


class Scene:
    """What a task needs to be performed on a scripted platform. A task of 100 s takes 10.1 s by the figures."""

    def __init__(
        self,
        script: Callable[[ScriptedJob], Timeline],
        *,
        store: ResultStore | None = None,
        attentive: bool = False,
        on_run: Callable[[int], Reply] = lambda number: None,
        takes_s: float = 0.0,
    ) -> None:
        self.time = Time()
        self.platform = ScriptedPlatform(self.time, script, on_run, takes_s)
        self.events: list[Event] = []
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.platform))
        self.store = store
        self.calls = Calls(self.time.sleep, self.time.clock)
        self.means = self.new_means(attentive=attentive)

    def new_means(self, *, attentive: bool = False) -> Means:
        """Those of another run."""
        kept = Kept(self.store, self.time.clock, self.time.sleep)
        return Means(kept, self.events.append, lambda expected_s: {}, attentive, self.calls)

    def route(self, name: str = "words", *, workers: int = 4, limit: int = 5) -> Route:
        """A route to an endpoint of the platform."""
        endpoint = deployed(name, workers)
        capacity = Capacity(rtf=0.1, overhead_s=0.1, load_s=5.0, workers_max=workers, workers_warm=workers)
        api = Endpoint(self.http, "http://p/v2", endpoint.id, "k")
        return Route(endpoint, api, capacity, limit, self.time.clock)
