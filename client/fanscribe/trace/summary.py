"""A trace in a few figures. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fanscribe.trace.facts import Role, Status
from fanscribe.trace.phases import PhaseName
from fanscribe.trace.spans import Kind, Span


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of one request and its jobs' seconds by phase, added up over all jobs, cancelled ones too."""

    trace: str
    duration_s: float
    status: Status
    tasks: int = 0
    jobs: int = 0
    cancelled: int = 0
    roles: dict[Role, int] = field(default_factory=dict)
    phases: dict[PhaseName, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line for a log."""
        more = [f"{count} {role.value}" for role, count in self.roles.items() if role is not Role.FIRST]
        more += [f"{self.cancelled} cancelled"] if self.cancelled else []
        jobs = f"{self.jobs} jobs ({', '.join(more)})" if more else f"{self.jobs} jobs"
        spent = "".join(f", {name.value} {seconds:.2f} s" for name, seconds in self.phases.items())
        return f"{self.status.value} in {self.duration_s:.2f} s, {self.tasks} tasks, {jobs}{spent}, trace {self.trace}"


def summary_of(spans: Sequence[Span]) -> Summary:
    """The summary of a trace, whose first span is the request."""
    root, jobs = spans[0], [each for each in spans if each.kind is Kind.JOB]
    roles = [str(each.attributes.get("role")) for each in jobs]
    return Summary(
        root.trace,
        root.duration_s,
        root.status,
        sum(each.kind is Kind.TASK for each in spans),
        len(jobs),
        sum(each.status is Status.CANCELLED for each in jobs),
        {role: count for role in Role if (count := roles.count(role.value))},
        phase_seconds(spans),
    )


def phase_seconds(spans: Iterable[Span]) -> dict[PhaseName, float]:
    """Seconds by phase, those that took none left out, in the order in which a job goes through them."""
    seconds: dict[PhaseName, float] = {}
    known = {name.value: name for name in PhaseName}
    for each in spans:
        if each.kind is Kind.PHASE and each.name in known:
            name = known[each.name]
            seconds[name] = seconds.get(name, 0.0) + each.duration_s
    return {name: seconds[name] for name in PhaseName if name in seconds}
