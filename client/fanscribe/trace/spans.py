"""From the facts of a request to its spans: request, steps and stages, tasks, jobs, phases. Pure.

A child lies within its parent, and the phases of a job fill it. The order in which facts were noted does not matter.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from fanscribe.trace.facts import JobFacts, RequestFacts, Role, Status, StepFacts, TaskFacts
from fanscribe.trace.phases import phases
from fanscribe.trace.traceparent import Ids

Scalar = str | int | float | bool


class Kind(StrEnum):
    """What a span is about, from the outermost inwards. A step is work of this process, beside the stages."""

    REQUEST = "request"
    STEP = "step"
    STAGE = "stage"
    TASK = "task"
    JOB = "job"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of a trace. `start_s` and `end_s` count from the trace's begin, by a clock that never jumps; `at`
    is the time of day of its start, in seconds since 1970.
    """

    trace: str
    id: str
    parent: str | None
    kind: Kind
    name: str
    at: float
    start_s: float
    end_s: float
    status: Status = Status.OK
    error: str = ""
    attributes: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.start_s


def spans_of(facts: RequestFacts, ids: Ids) -> list[Span]:
    """The spans of a request, parents before their children, each level in order of time."""
    return list(_Writer(facts, ids).request())


class _Writer:
    """Makes spans of one trace."""

    def __init__(self, facts: RequestFacts, ids: Ids) -> None:
        self._facts = facts
        self._ids = ids

    def request(self) -> Iterator[Span]:
        facts = self._facts
        jobs = [job for task in facts.tasks for job in task.jobs]
        about: dict[str, Scalar] = dict(facts.about)
        about |= {"tasks": len(facts.tasks), "jobs": len(jobs)}
        for role in (Role.RETRY, Role.HEDGE, Role.ATTACHED):
            if count := sum(job.role is role for job in jobs):
                about[f"{role.value}_jobs"] = count
        if reused := sum(task.reused for task in facts.tasks):
            about["reused_tasks"] = reused
        if unconfirmed := sum(task.unconfirmed for task in facts.tasks):
            about["unconfirmed_jobs"] = unconfirmed
        root = Span(
            self._ids.trace,
            self._ids.root,
            self._ids.parent,
            Kind.REQUEST,
            "request",
            facts.wall_s,
            0.0,
            max(0.0, facts.ended - facts.began),
            facts.status,
            facts.error,
            about,
        )
        yield root
        parts: list[StepFacts | list[TaskFacts]] = [*facts.steps, *_by_stage(facts.tasks)]
        for part in sorted(parts, key=_part_order):
            yield from self._stage(root, part) if isinstance(part, list) else [self._step(root, part)]

    def _step(self, root: Span, step: StepFacts) -> Span:
        return self._span(root, Kind.STEP, step.name, step.began, step.ended, step.status, step.error)

    def _stage(self, root: Span, tasks: list[TaskFacts]) -> Iterator[Span]:
        began, ended = min(each.began for each in tasks), max(each.ended for each in tasks)
        about: dict[str, Scalar] = {"stage": tasks[0].stage, "tasks": len(tasks)}
        worst = _worst(each.status for each in tasks)
        stage = self._span(root, Kind.STAGE, tasks[0].stage_id, began, ended, worst, attributes=about)
        yield stage
        for task in tasks:
            yield from self._task(stage, task)

    def _task(self, stage: Span, task: TaskFacts) -> Iterator[Span]:
        about: dict[str, Scalar] = {
            "stage": task.stage,
            "audio_start_s": round(task.start_s, 3),
            "audio_end_s": round(task.end_s, 3),
        }
        if task.reused:
            about["reused"] = True
        if task.unconfirmed:
            about["unconfirmed_jobs"] = task.unconfirmed
        span = self._span(stage, Kind.TASK, task.id, task.began, task.ended, task.status, task.error, about)
        yield span
        for job in sorted(task.jobs, key=_order):
            yield from self._job(span, job)

    def _job(self, task: Span, job: JobFacts) -> Iterator[Span]:
        name = job.job_id or "not submitted"
        about = {"task": task.name, **_about(job)}
        span = self._span(task, Kind.JOB, name, job.began, job.ended, job.status, job.error, about)
        yield span
        for phase in phases(job):
            yield self._span(span, Kind.PHASE, phase.name.value, phase.began, phase.ended)

    def _span(
        self,
        parent: Span,
        kind: Kind,
        name: str,
        began: float,
        ended: float,
        status: Status = Status.OK,
        error: str = "",
        attributes: Mapping[str, Scalar] | None = None,
    ) -> Span:
        start_s = min(max(began - self._facts.began, parent.start_s), parent.end_s)
        end_s = min(max(ended - self._facts.began, start_s), parent.end_s)
        return Span(
            trace=parent.trace,
            id=self._ids.span(),
            parent=parent.id,
            kind=kind,
            name=name,
            at=self._facts.wall_s + start_s,
            start_s=start_s,
            end_s=end_s,
            status=status,
            error=error,
            attributes=attributes or {},
        )


def _about(job: JobFacts) -> dict[str, Scalar]:
    """The attributes of a job; what is not known is left out."""
    known: dict[str, Scalar | None] = {
        "endpoint": job.endpoint,
        "variant": job.variant,
        "role": job.role.value,
        "job_id": job.job_id or None,
        "worker_id": job.worker_id or None,
        "delay_s": job.delay_s,
        "execution_s": job.execution_s,
    }
    if job.timing is not None:
        known |= {
            "cold_start": job.timing.cold_start,
            "download_s": round(job.timing.download_s, 6),
            "load_s": round(job.timing.load_s, 6),
            "inference_s": round(job.timing.inference_s, 6),
        }
    return {name: value for name, value in known.items() if value is not None}


def _by_stage(tasks: Iterable[TaskFacts]) -> Iterator[list[TaskFacts]]:
    by_id = attrgetter("stage_id")
    for _, stage in groupby(sorted(tasks, key=by_id), by_id):
        yield sorted(stage, key=lambda each: (each.start_s, *_order(each)))  # as they lie in the recording


def _part_order(part: StepFacts | list[TaskFacts]) -> tuple[float, float, str]:
    return min(map(_order, part)) if isinstance(part, list) else _order(part)


def _order(each: StepFacts | TaskFacts | JobFacts) -> tuple[float, float, str]:
    """By time; what happened at the same one in an order that does not depend on who noted it first."""
    match each:
        case StepFacts():
            name = each.name
        case TaskFacts():
            name = each.id
        case JobFacts():
            name = each.job_id
    return each.began, each.ended, name


def _worst(statuses: Iterable[Status]) -> Status:
    return max(statuses, key=[Status.OK, Status.CANCELLED, Status.ERROR].index)
