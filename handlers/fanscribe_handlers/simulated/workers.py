"""One simulated worker that speaks the platform's worker protocol, with a sleep in the place of an engine.

What goes in and out is what a worker of this family would take and give: the input is checked, the audio
fetched and decoded, the answer made by the same functions. Only the process is missing, and the thread that
would sleep: so that many workers fit into one process and start at the same moment.
"""

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.errors import (
    AudioError,
    AudioRefusedError,
    AudioUnreachableError,
    ErrorCode,
    UsageError,
)
from fanscribe.contracts.task import Progress, Provenance, TaskInput, Timing
from fanscribe.contracts.variant import Variant
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.fetch import FetchPolicy, fetch
from fanscribe.job_input import Refused
from fanscribe.media import decode
from fanscribe.pipeline.merge import shift
from fanscribe_handlers.answers import answer, failure, read_input, refuse_unserved
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.simulated.behaviour import Behaviour, Draws, Fate
from fanscribe_handlers.simulated.coded import Heard, listen
from fanscribe_handlers.simulated.engine import VERSION, SimulatedFailure, fails, understood

PING_INTERVAL_S = 5.0
PROGRESS_INTERVAL_S = 1.0
POLL_TIMEOUT_S = 90.0
"""The SDK's own limit for a held request."""

_RESULT_ATTEMPTS = 3
_PAUSE_S = 0.5  # after a request that failed: a platform that is gone must not be hammered

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Paid:
    """One job as it would be billed: `seconds` from its hand-out until its end, which is done, failed or stopped."""

    worker: str
    job_id: str
    end: str
    seconds: float


@dataclass(slots=True)
class Duties:
    """What the workers of one endpoint share. `url` is the platform's, `draws` the luck of all in turn."""

    http: httpx2.AsyncClient
    url: str
    key: str
    endpoint: str
    variant: Variant
    behaviour: Behaviour
    draws: Draws
    decoding: Executor
    paid: list[Paid] = field(default_factory=list)
    clock: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def address(self, call: str, worker: str, job: str = "") -> str:
        """The URL of a call of the worker protocol."""
        return f"{self.url}/v2/{self.endpoint}/{call}/{worker}{'/' if job else ''}{job}"


class SimulatedWorker:
    """A worker with one job at a time. `cold` makes it load first, and say so in its first answer."""

    def __init__(self, duties: Duties, worker_id: str, *, cold: bool = False) -> None:
        self._duties = duties
        self._id = worker_id
        self._cold = cold
        self._job_id: str | None = None
        self._work: asyncio.Task[dict[str, Any] | None] | None = None

    async def serve(self) -> None:
        """Take jobs until cancelled. A job in hand is then dropped, as when a worker is killed."""
        if self._cold:
            await self._duties.sleep(self._duties.behaviour.load_s)
        async with asyncio.TaskGroup() as together:
            together.create_task(self._jobs())
            together.create_task(self._stops())
            together.create_task(self._pings())

    async def _jobs(self) -> None:
        duties = self._duties
        while True:
            response = await self._call("GET", "job-take", {"gpu": "simulated", "job_in_progress": "0"})
            if response is None:
                await duties.sleep(_PAUSE_S)
            elif response.status_code == 200:
                await self._job(response.json())

    async def _job(self, job: dict[str, Any]) -> None:
        duties, begun = self._duties, self._duties.clock()
        self._job_id = str(job["id"])
        self._work = asyncio.create_task(self._output(job, begun))
        end = "lost"
        try:
            output = await self._work
            end = "failed" if output is None or "error" in output else "done"
            await self._give(self._job_id, output or {})
        except asyncio.CancelledError:
            end = "stopped"
            if not self._work.done():
                self._work.cancel()
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the worker itself is ended, not only its job
        finally:
            duties.paid.append(Paid(self._id, self._job_id, end, duties.clock() - begun))
            self._job_id = self._work = None

    async def _give(self, job_id: str, output: dict[str, Any]) -> None:
        """Post a result as the SDK does: the error beside the output, three attempts where it may help."""
        body: dict[str, Any] = {"output": output} if "error" not in output else {"error": output["error"]}
        for attempt in range(1, _RESULT_ATTEMPTS + 1):
            response = await self._call("POST", "job-done", {"isStream": "false"}, job_id, body)
            if response is not None:
                return
            await self._duties.sleep(_PAUSE_S * attempt)
        _log.warning("the result of job %s could not be handed in", job_id)

    async def _stops(self) -> None:
        while True:
            response = await self._call("GET", "job-stop", {"gpu": "simulated"})
            if response is not None and response.status_code == 200:
                if self._job_id in response.json()["jobsToStop"] and self._work is not None:
                    self._work.cancel()
            else:
                await self._duties.sleep(1.0)

    async def _pings(self) -> None:
        while True:
            await self._call("GET", "ping", {"job_id": self._job_id} if self._job_id else {})
            await self._duties.sleep(PING_INTERVAL_S)

    async def _call(
        self, method: str, call: str, query: dict[str, str], job_id: str = "", body: Any = None
    ) -> httpx2.Response | None:
        """One call of the protocol; None where it failed and may be made again."""
        duties = self._duties
        try:
            response = await duties.http.request(
                method,
                duties.address(call, self._id, job_id),
                params=query,
                headers={"Authorization": duties.key},
                content=None if body is None else json.dumps(body),
            )
        except httpx2.HTTPError as error:
            _log.debug("%s of worker %s failed: %s", call, self._id, type(error).__name__)
            return None
        if response.status_code >= 500 or response.status_code == 429:
            return None
        if response.status_code >= 400:
            _log.warning("%s of worker %s was refused: HTTP %d", call, self._id, response.status_code)
        return response

    async def _output(self, job: dict[str, Any], begun: float) -> dict[str, Any]:
        """The job's output, at the moment when a real worker would have it."""
        duties = self._duties
        fate = duties.draws.next()
        cold, self._cold = self._cold, False
        try:
            task = read_input(duties.variant.stages[0], job.get("input"))
            refuse_unserved(task, duties.variant)
            audio = await asyncio.get_running_loop().run_in_executor(duties.decoding, self._audio, task)
            fetched_s = duties.clock() - begun
            # From here on the time is the simulated one: reading the code is no part of it.
            if not duties.behaviour.fits(audio.duration_s):
                return failure(ErrorCode.OUT_OF_MEMORY, f"{audio.duration_s:g} s do not fit into this worker")
            fails_now = fails(duties.behaviour, fate.fails, audio.heard)
            end = await self._work_on(job, begun, audio, fate, fails_now)
            if fails_now:
                return failure(ErrorCode.MODEL_ERROR, f"{duties.variant.id} failed as its options say")
            load_s = duties.behaviour.load_s if cold else 0.0
            timing = Timing(
                download_s=fetched_s, load_s=load_s, inference_s=end - begun - fetched_s, cold_start=cold
            )
            return self._answer(task, audio, timing)
        except Refused as refused:
            return failure(refused.code, str(refused))
        except SimulatedFailure as error:
            return failure(ErrorCode.MODEL_ERROR, str(error))

    def _answer(self, task: TaskInput, audio: "_Audio", timing: Timing) -> dict[str, Any]:
        variant = self._duties.variant
        result = understood(task, audio.heard, audio.samples)
        shift(result, audio.offset_s)
        provenance = Provenance(
            engine=VERSION,
            variant=variant.id,
            model=variant.model.id,
            contract_version=CONTRACT_VERSION,
            timing=timing,
        )
        try:
            return answer(variant.stages[0], task, result, provenance, [])
        except UsageError as error:
            raise Refused(ErrorCode.INVALID_INPUT, f"field response_format: {error}") from error

    async def _work_on(
        self, job: dict[str, Any], begun: float, audio: "_Audio", fate: Fate, fails_now: bool
    ) -> float:
        """Sleep until the work would be done, or would fail; the time it is then. Tells the platform on the way.

        Fetching and decoding count as part of the overhead, so the whole job takes what the facts say.
        """
        duties = self._duties
        work_s = duties.behaviour.work_s(audio.duration_s, fate)
        until = begun + work_s * (duties.behaviour.failure_after if fails_now else 1.0)
        while (left := until - duties.clock()) > 0:
            await duties.sleep(min(left, PROGRESS_INTERVAL_S))
            share = min(1.0, (duties.clock() - begun) / work_s)
            if share < 1.0 and left > PROGRESS_INTERVAL_S:
                progress = Progress(phase="running", share=share).model_dump()
                body = {"status": "IN_PROGRESS", "output": progress}
                await self._call("POST", "job-done", {"isStream": "false"}, str(job["id"]), body)
        return duties.clock()

    def _audio(self, task: TaskInput) -> "_Audio":
        """Fetch, decode and read the code, in a thread."""
        if self._duties.behaviour.deaf:
            start, end = (task.clip.start, task.clip.end) if task.clip else (0.0, 0.0)
            return _Audio(np.zeros(round((end - start) * SAMPLE_RATE), np.float32), [], start)
        target = io.BytesIO()
        try:
            fetch(task.audio, target, FetchPolicy(allowed_origins=(self._duties.url,)))
            target.seek(0)
            clip = (task.clip.start, task.clip.end) if task.clip else None
            decoded = decode(target, "audio", clip=clip, channel=task.channel)
        except AudioUnreachableError as error:
            raise Refused(ErrorCode.AUDIO_UNREACHABLE, str(error)) from error
        except AudioRefusedError as error:
            raise Refused(ErrorCode.INVALID_INPUT, f"field audio: {error}") from error
        except AudioError as error:
            raise Refused(ErrorCode.AUDIO_UNREADABLE, str(error)) from error
        return _Audio(decoded.samples, listen(decoded.samples), decoded.offset_s)


@dataclass(frozen=True, slots=True)
class _Audio:
    """The samples of a job, the words in them, and where they start in the file."""

    samples: NDArray[np.float32]
    heard: list[Heard]
    offset_s: float

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE
