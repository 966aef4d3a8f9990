"""What earlier runs left behind for this one: finished tasks, jobs under way, cuts and the language decided."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.contracts.task import OUTPUTS, Provenance, Stage, TaskInput, TranscribeInput, TranscribeOutput
from fanscribe.pipeline.cuts import Cut, KnownCuts
from fanscribe.results import ResultStore, cuts_key, engine_key, job_key, task_key


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was sent for a task. `job_id` is empty where the answer to its submission never came."""

    endpoint: str
    job_id: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class KnownDivision:
    """Where a recording was cut before, and the language that was decided then."""

    cuts: list[Cut] | None = None
    language: str | None = None
    sizes_s: tuple[float, ...] = ()
    """The lengths that were planned. The same plan finds the same cuts, also where a run died before it knew them."""


JOB_LIFE_S = 86_400.0
"""No job of ours is given a longer time to live: one that was sent earlier has ended."""

FRESH_S, SETTLING_S = 10.0, 1.0
"""An intention so young may still get its id: it is given so many seconds. A submission takes less, as a rule."""

_DIVISION: TypeAdapter[KnownDivision] = TypeAdapter(KnownDivision)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a task the same as an earlier one; `digest` stands for the sound of its span."""

    digest: str
    stage: Stage
    endpoint: DeployedEndpoint
    task: TaskInput

    @property
    def job_key(self) -> str:
        """Under which its jobs are kept."""
        return job_key(self.digest, self.stage, self.endpoint.variant, self.task)

    def answer_key(self, engine: str) -> str:
        """Under which its answer by an engine is kept."""
        return task_key(self.digest, self.stage, self.endpoint.variant, engine, self.task)


@dataclass(slots=True)
class _Noted:
    """The jobs of one task, oldest first. Two that run beside each other are written down one after the other."""

    jobs: list[Submitted] = field(default_factory=list)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def settle(self, endpoint: str) -> bool:
        """Take out the latest intention whose fate was open."""
        for place in reversed(range(len(self.jobs))):
            if not self.jobs[place].job_id and self.jobs[place].endpoint == endpoint:
                del self.jobs[place]
                return True
        return False


class Kept:
    """Results by content; with no store nothing is found and nothing is kept.

    Times in kept answers count from the start of the span. Reading and writing happen in threads. `clock` gives
    seconds since 1970.
    """

    def __init__(
        self,
        store: ResultStore | None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._engines: dict[str, str] = {}
        self._noted: dict[str, _Noted] = {}

    @property
    def active(self) -> bool:
        """Whether anything is kept at all."""
        return self._store is not None

    async def answer(self, work: Identity) -> Provenance | None:
        """The answer that this endpoint's engine gave to the same task before."""
        if self._store is None:
            return None
        engine = await self._engine(work.endpoint)
        if engine is None:
            return None
        found = await self._get(work.answer_key(engine))
        if found is None:
            return None
        try:
            return OUTPUTS[work.stage].model_validate(found["output"])
        except (KeyError, ValidationError):
            return None

    async def keep(self, work: Identity, output: Provenance) -> None:
        """Keep an answer, and with it which engine the endpoint has.

        One without the speakers that were asked for is not kept: the next run may get them.
        """
        if self._store is None or _lacks_speakers(work.task, output):
            return
        if output.engine != await self._engine(work.endpoint):
            self._engines[work.endpoint.name] = output.engine
            await self._put(engine_key(work.endpoint.name, work.endpoint.variant), {"engine": output.engine})
        await self._put(work.answer_key(output.engine), {"output": output.model_dump(mode="json")})

    async def jobs(self, work: Identity) -> Sequence[Submitted]:
        """The jobs that were sent for a task whose answer is not kept: by an earlier run, or for an equal task
        of this one, whose intentions are no concern of ours.
        """
        if self._store is None:
            return ()
        if (noted := self._noted.get(work.job_key)) is not None:
            return [each for each in noted.jobs if each.job_id]
        jobs = await self._written(work)
        if any(not each.job_id and each.at > self._clock() - FRESH_S for each in jobs):
            await self._sleep(SETTLING_S)  # another run may be at it just now, and its job will do for us
            jobs = await self._written(work)
        # What is noted from here on comes behind them: a third run shall know of the first one's, too.
        self._noted.setdefault(work.job_key, _Noted(list(jobs)))
        return jobs

    async def intend(self, work: Identity) -> None:
        """Note that a job is about to be sent: without an id later on, its fate is not known."""
        if self._store is not None:
            noted = self._noted.setdefault(work.job_key, _Noted())
            noted.jobs.append(Submitted(work.endpoint.id, at=self._clock()))
            await self._note(work, noted)

    async def submitted(self, work: Identity, job_id: str) -> None:
        """Note the id of a job that was intended."""
        noted = self._noted.setdefault(work.job_key, _Noted())
        if self._store is None or any(each.job_id == job_id for each in noted.jobs):
            return
        noted.settle(work.endpoint.id)
        noted.jobs.append(Submitted(work.endpoint.id, job_id, self._clock()))
        await self._note(work, noted)

    async def withdrawn(self, work: Identity) -> None:
        """Note that a job which was intended was certainly not taken."""
        noted = self._noted.get(work.job_key)
        if self._store is not None and noted is not None and noted.settle(work.endpoint.id):
            await self._note(work, noted)

    async def division(self, source_digest: str, about: Mapping[str, Any]) -> KnownDivision | None:
        """The cuts that were made before in the same recording for the same kind of work."""
        if self._store is None:
            return None
        found = await self._get(cuts_key(source_digest, about))
        try:
            division = _DIVISION.validate_python(found)
            if division.cuts is not None:
                KnownCuts(division.cuts)
        except ValueError:
            return None
        return division

    async def keep_division(
        self, source_digest: str, about: Mapping[str, Any], division: KnownDivision
    ) -> None:
        """Keep where a recording is cut, and the language decided for it; in place of what was kept before."""
        if self._store is not None:
            await self._put(cuts_key(source_digest, about), _DIVISION.dump_python(division, mode="json"))

    async def _written(self, work: Identity) -> list[Submitted]:
        found = await self._get(work.job_key)
        try:
            jobs = [Submitted(**each) for each in found["jobs"]] if found else []
        except (KeyError, TypeError):
            return []
        return [each for each in jobs if each.at > self._clock() - JOB_LIFE_S]

    async def _note(self, work: Identity, noted: "_Noted") -> None:
        async with noted.writing:
            jobs = [{"endpoint": each.endpoint, "job_id": each.job_id, "at": each.at} for each in noted.jobs]
            await self._put(work.job_key, {"jobs": jobs})

    async def _engine(self, endpoint: DeployedEndpoint) -> str | None:
        if endpoint.name not in self._engines:
            found = await self._get(engine_key(endpoint.name, endpoint.variant))
            if found is None or not isinstance(found.get("engine"), str):
                return None
            self._engines[endpoint.name] = found["engine"]
        return self._engines[endpoint.name]

    async def _get(self, key: str) -> dict[str, Any] | None:
        assert self._store is not None
        return await asyncio.to_thread(self._store.get, key)

    async def _put(self, key: str, value: dict[str, Any]) -> None:
        assert self._store is not None
        await asyncio.to_thread(self._store.put, key, value)


def _lacks_speakers(task: TaskInput, output: Provenance) -> bool:
    """Whether the diarizer of a one-pass engine failed beside its recogniser."""
    asked = isinstance(task, TranscribeInput) and task.diarize
    return asked and isinstance(output, TranscribeOutput) and output.diarization is None
