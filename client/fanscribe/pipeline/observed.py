"""What is noted of a job for the trace of a request. Pure."""

from fanscribe.contracts.task import Provenance
from fanscribe.pipeline.job import Watched
from fanscribe.trace.facts import JobFacts, Role, error_name, status_of


def job_facts(
    endpoint: str,
    variant: str,
    role: Role,
    watched: Watched,
    began: float,
    ended: float,
    result: Provenance | BaseException | None,
) -> JobFacts:
    """The facts of a job that ended with its answer, or in an error; None is an answer that tells no timing.

    Times are the run's clock, in seconds.
    """
    state, failure = watched.state, result if isinstance(result, BaseException) else None
    submitted = None if state is None else began if watched.resumed else watched.sent_at
    return JobFacts(
        endpoint=endpoint,
        variant=variant,
        role=role,
        began=began,
        ended=ended,
        status=status_of(failure),
        submitted=submitted,
        taken=watched.taken_at,
        job_id=state.id if state is not None else "",
        worker_id=(state.worker_id or "") if state is not None else "",
        delay_s=_seconds(state.delay_ms if state is not None else None),
        execution_s=_seconds(state.execution_ms if state is not None else None),
        timing=result.timing if isinstance(result, Provenance) else None,
        doing=watched.progress.phase if watched.progress is not None else "",
        error=error_name(failure),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
