"""What a job's time went by on. Pure.

The phases of a job follow each other without a gap and fill it from its beginning to its end. Each says what was
waited for at that moment. A model that loads while its worker still starts is not waited for twice: such seconds
count as `start`, and the job's `load_s` says how long the load took in all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fanscribe.trace.facts import JobFacts, Role, Status


class PhaseName(StrEnum):
    """What is waited for: a worker that is up (queue) or one that has to be started (start), sound or answer on
    their way (transfer), the model (load), the engine (inference), or a worker that did not tell (work).
    """

    QUEUE = "queue"
    START = "start"
    LOAD = "load"
    INFERENCE = "inference"
    TRANSFER = "transfer"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of a job, on the run's clock in seconds."""

    name: PhaseName
    began: float
    ended: float


_DOING = {
    "fetching": PhaseName.TRANSFER,
    "downloading": PhaseName.LOAD,
    "loading": PhaseName.LOAD,
    "running": PhaseName.INFERENCE,
}


def phases(job: JobFacts) -> list[Phase]:
    """The phases of a job, in order of time; those that took no time are left out.

    Where the platform's seconds do not fit between ours (both clocks are right, but a message is under way between
    them), what comes first keeps its length.
    """
    at, ended = job.began, max(job.began, job.ended)
    found: list[Phase] = []
    for name, until in _borders(job):
        until = min(max(until, at), ended)
        if until > at:
            if found and found[-1].name is name:
                found[-1] = Phase(name, found[-1].began, until)
            else:
                found.append(Phase(name, at, until))
        at = until
    return found


def _borders(job: JobFacts) -> Iterator[tuple[PhaseName, float]]:
    """Each phase with the moment at which it ends; the last one ends with the job."""
    if job.submitted is None:
        yield PhaseName.TRANSFER, job.ended
        return
    yield PhaseName.TRANSFER, job.submitted
    cold = job.starting if job.timing is None else job.timing.cold_start
    waiting = PhaseName.START if cold else PhaseName.QUEUE
    taken = _taken(job)
    if taken is None:
        yield waiting, job.ended
        return
    yield waiting, taken
    # What a cancelled job took is told as of when the platform heard of it; until then it ran on.
    told = job.execution_s is not None and job.status is not Status.CANCELLED
    left = taken + (job.execution_s or 0.0) if told else None
    if job.timing is None:
        yield _DOING.get(job.doing, PhaseName.WORK), job.ended if left is None else left
    else:
        timing = job.timing
        told_s = timing.download_s + timing.inference_s
        rest_s = timing.load_s if left is None else max(0.0, left - taken - told_s)
        yield PhaseName.TRANSFER, (at := taken + timing.download_s)
        yield PhaseName.LOAD, (at := at + min(timing.load_s, rest_s))
        # A worker that prefetches lets a job wait for the one before it: seconds that nobody reports.
        yield PhaseName.WORK, (at := at + max(0.0, rest_s - timing.load_s))
        yield PhaseName.INFERENCE, at + timing.inference_s
    yield PhaseName.TRANSFER, job.ended


def _taken(job: JobFacts) -> float | None:
    """When a worker took the job, by the platform's own seconds where it told them."""
    assert job.submitted is not None
    if job.role is Role.ATTACHED:  # sent before this run began; only its end is known on our clock
        return job.ended - job.execution_s if job.execution_s is not None else job.taken
    if job.delay_s is not None and (job.taken is not None or job.execution_s is not None):
        return job.submitted + job.delay_s
    return job.taken
