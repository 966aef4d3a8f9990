"""How tasks are told of: their records, and what the next plan learns from them."""

from dataclasses import replace

import pytest
from tests.scripted import Scene, deployed, done, output, span_of

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import TransportError
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.task import Timing, TranscribeOutput
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.outcome import Outcome, observations, record_of
from fanscribe.pipeline.plan import StagePlan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.survey import RUN, START

SCENE = Scene(lambda job: done())


def stage() -> StagePlan:
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    request = make_request(model=endpoint.variant.id)
    return make_plan(request, catalogue, Situation(duration_s=100.0)).stages[0]


def outcome(*, cold: bool = False, price: float = 0.0, **changes: object) -> Outcome:
    timing = Timing(download_s=0.5, load_s=5.0 if cold else 0.0, inference_s=9.0, cold_start=cold)
    route = SCENE.route()
    route.capacity = replace(route.capacity, price_per_s=price, scale_delay_s=2.0)
    state = JobState(
        id="j1",
        status=JobStatus.COMPLETED,
        delay_ms=8000 if cold else 300,
        execution_ms=10_000,
        worker_id="w1",
    )
    answer = Answer(TranscribeOutput(**output(timing=timing)), route, state, transfer_s=0.25, total_s=10.5)
    whole = Outcome("transcribe-0", stage(), span_of(), answer, None, Tally(attempts=2, hedges=0))
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_record_tells_what_was_done() -> None:
    record = record_of(outcome(price=0.001))
    assert (record.id, record.endpoint, record.job_id, record.worker_id) == (
        "transcribe-0",
        "words",
        "j1",
        "w1",
    )
    assert (record.start, record.end, record.attempts, record.reused) == (0.0, 100.0, 2, False)
    assert record.timings == {
        "queue": 0.3,
        "start": 0.0,
        "transfer": 0.75,
        "load": 0.0,
        "inference": 9.0,
        "total": 10.5,
    }
    assert record.predicted == pytest.approx({"start": 0.0, "inference": 10.1, "total": 10.1})
    assert record.cost_usd == 0.01


def test_a_cold_start_is_waited_for_and_paid() -> None:
    record = record_of(outcome(cold=True, price=0.001))
    assert (record.timings["queue"], record.timings["start"], record.timings["load"]) == (0.0, 8.0, 5.0)
    assert record.predicted["start"] == 7.0
    assert record.cost_usd == pytest.approx(0.018)


def test_a_kept_answer_cost_nothing() -> None:
    answer = outcome().answer
    assert answer is not None
    record = record_of(outcome(answer=replace(answer, state=None), tally=Tally(reused=True)))
    assert (record.reused, record.cost_usd, record.job_id, record.timings) == (True, 0.0, None, {})


def test_a_failure_says_why() -> None:
    record = record_of(outcome(answer=None, error=TransportError("no way"), tally=Tally(4, 1, 2)))
    assert (record.error, record.attempts, record.hedges, record.unconfirmed) == ("no way", 4, 1, 2)
    assert record.endpoint == "words"


def test_a_warm_task_teaches_its_run() -> None:
    (seen,) = observations([outcome()], "local")
    assert (seen.endpoint, seen.what, seen.observed_s) == ("local/words/simulated-transcribe", RUN, 10.0)
    assert seen.predicted_s == pytest.approx(10.1)


def test_a_cold_task_teaches_its_start_and_its_run_apart() -> None:
    start, run = observations([outcome(cold=True)], "local")
    assert (start.what, start.predicted_s, start.observed_s) == (START, 7.0, 8.0)
    assert (run.what, run.observed_s) == (RUN, 9.0)


def test_hedged_kept_and_failed_tasks_teach_nothing() -> None:
    answer = outcome().answer
    assert answer is not None
    untold = [
        outcome(tally=Tally(1, 1)),
        outcome(answer=replace(answer, state=None)),
        outcome(answer=None, error=TransportError("m")),
    ]
    assert list(observations(untold, "local")) == []
