"""How a task ended, and what is told of it in the transcript and to the next plan. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fanscribe.contracts.errors import FanscribeError
from fanscribe.contracts.transcript import TaskRecord
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.cost import Capacity
from fanscribe.pipeline.plan import StagePlan
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.survey import RUN, START, learned_name
from fanscribe.results.learned import Observation
from fanscribe.trace.facts import TaskFacts, error_name, status_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task with its answer, or with the error of its last attempt. `language` is what was asked for."""

    id: str
    stage: StagePlan
    span: Span
    answer: Answer | None
    error: FanscribeError | None
    tally: Tally
    language: str | None = None


def record_of(outcome: Outcome) -> TaskRecord:
    """The entry of `tasks[]`."""
    chunk, tally, answer = outcome.span.chunk, outcome.tally, outcome.answer
    endpoint = answer.route.endpoint if answer else outcome.stage.endpoint
    record = TaskRecord(outcome.id, outcome.stage.stage, endpoint.variant.id, chunk.start, chunk.end)
    record.endpoint = endpoint.name
    record.attempts, record.hedges = max(tally.attempts, 1), tally.hedges
    record.unconfirmed, record.reused = tally.unconfirmed, tally.reused
    if outcome.error is not None:
        record.error = str(outcome.error)
    if answer is None or answer.state is None:
        return record
    capacity, timing = answer.route.capacity, answer.output.timing
    record.job_id, record.worker_id = answer.state.id, answer.state.worker_id
    record.cold_start = timing.cold_start
    waited_s = (answer.state.delay_ms or 0) / 1000
    worked_s = (answer.state.execution_ms or 0) / 1000
    record.timings = {
        "queue": 0.0 if timing.cold_start else waited_s,
        "start": waited_s if timing.cold_start else 0.0,
        "transfer": answer.transfer_s + timing.download_s,
        "load": timing.load_s,
        "inference": timing.inference_s,
        "total": answer.total_s,
    }
    record.predicted = _predicted(capacity, outcome.span.heard_s, cold=timing.cold_start)
    paid_s = worked_s + (waited_s if timing.cold_start else 0.0)
    record.cost_usd = round(paid_s * capacity.price_per_s, 6)
    return record


def task_facts(
    stage: StagePlan, span: Span, tally: Tally, began: float, ended: float, failure: BaseException | None
) -> TaskFacts:
    """What the trace tells of a task that ended with an answer, or without one by `failure`."""
    return TaskFacts(
        id=f"{stage.id}-{span.number}",
        stage_id=stage.id,
        stage=stage.stage.value,
        start_s=span.chunk.start,
        end_s=span.chunk.end,
        began=began,
        ended=ended,
        status=status_of(failure),
        jobs=tuple(tally.made),
        reused=tally.reused,
        unconfirmed=tally.unconfirmed,
        error=error_name(failure),
    )


def _predicted(capacity: Capacity, heard_s: float, *, cold: bool) -> dict[str, float]:
    run_s = capacity.task_s(heard_s)
    start_s = capacity.cold_s if cold else 0.0
    return {"start": start_s, "inference": run_s, "total": start_s + run_s}


def observations(outcomes: Iterable[Outcome], platform_name: str) -> Iterator[Observation]:
    """What a run showed of its endpoints' times, beside what their variants' figures foretell."""
    for outcome in outcomes:
        answer = outcome.answer
        if answer is None or answer.state is None or outcome.tally.hedges:
            continue
        capacity, timing = answer.route.capacity, answer.output.timing
        name = learned_name(platform_name, answer.route.endpoint)
        plain_s = capacity.rtf * outcome.span.heard_s + capacity.overhead_s
        worked_s = (answer.state.execution_ms or 0) / 1000
        if timing.cold_start:
            waited_s = (answer.state.delay_ms or 0) / 1000
            plain_start_s = capacity.scale_delay_s + capacity.start_s + capacity.load_s
            yield Observation(name, START, plain_start_s, max(waited_s, timing.load_s))
            worked_s = max(worked_s - timing.load_s, timing.inference_s)
        yield Observation(name, RUN, plain_s, worked_s)
