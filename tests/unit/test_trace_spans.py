"""From facts to phases and spans."""

from dataclasses import replace
from typing import Any

import pytest
from tests.traced import BEGAN, WALL_S, cold_job, ids, job, request, task

from fanscribe.contracts.errors import (
    ErrorCode,
    FanscribeError,
    JobCancelledError,
    TaskError,
    TaskFailedError,
)
from fanscribe.contracts.task import Timing
from fanscribe.trace.facts import JobFacts, Role, Status, error_name, status_of
from fanscribe.trace.phases import phases
from fanscribe.trace.recorder import Recorder
from fanscribe.trace.spans import Kind, Span, spans_of
from fanscribe.trace.summary import summary_of
from fanscribe.trace.traceparent import Ids


def named(facts: JobFacts) -> list[tuple[str, Any]]:
    return [(each.name.value, pytest.approx(each.ended - each.began)) for each in phases(facts)]


def of(spans: list[Span], kind: Kind) -> list[Span]:
    return [each for each in spans if each.kind is kind]


def test_a_warm_workers_job_is_queued() -> None:
    assert (named(job())) == [
        ("transfer", 0.1),
        ("queue", 0.4),
        ("transfer", 0.3),
        ("inference", 1.7),
        ("transfer", 0.2),
    ]


def test_a_cold_workers_job_waits_for_its_start_and_the_rest_of_the_load() -> None:
    assert named(cold_job()) == [
        ("transfer", 0.1),
        ("start", 3.0),
        ("transfer", 0.3),
        ("load", 1.0),
        ("inference", 1.7),
        ("transfer", 0.1),
    ]


def test_seconds_with_a_worker_that_nobody_reports_are_said_to_be_that() -> None:
    waited = job(execution_s=5.0, ended=BEGAN + 6.6)
    assert ("work", 3.0) in named(waited)


def test_a_platform_that_tells_no_seconds_is_read_by_our_own_looks() -> None:
    facts = job(delay_s=None, execution_s=None)
    assert named(facts)[1] == ("queue", 0.5)
    assert named(facts)[-1] == ("transfer", 0.1)


@pytest.mark.parametrize(
    ("doing", "phase"),
    [("loading", "load"), ("running", "inference"), ("fetching", "transfer"), ("", "work")],
)
def test_a_cancelled_job_was_at_what_it_last_told(doing: str, phase: str) -> None:
    facts = job(status=Status.CANCELLED, timing=None, execution_s=1.0, doing=doing)
    assert named(facts) == [("transfer", 0.1), ("queue", 0.4), (phase, 2.2)]


def test_a_failed_job_was_with_its_worker_as_long_as_the_platform_says() -> None:
    facts = job(status=Status.ERROR, timing=None)
    assert named(facts) == [("transfer", 0.1), ("queue", 0.4), ("work", 2.0), ("transfer", 0.2)]


def test_a_job_that_was_never_taken_only_waited() -> None:
    facts = job(status=Status.CANCELLED, timing=None, taken=None, delay_s=None, execution_s=None)
    assert named(facts) == [("transfer", 0.1), ("queue", 2.6)]


def test_a_worker_that_was_seen_to_start_was_waited_for() -> None:
    seen = replace(job(timing=None), starting=True)
    names = [name for name, _ in named(seen)]
    assert "start" in names
    assert "queue" not in names
    assert "queue" in [name for name, _ in named(replace(job(), starting=True))], "the worker knows better"


def test_a_job_that_was_never_submitted_was_only_sent() -> None:
    facts = job(status=Status.ERROR, submitted=None, taken=None, timing=None, job_id="")
    assert named(facts) == [("transfer", 2.7)]


def test_an_attached_job_is_told_from_its_end() -> None:
    facts = job(role=Role.ATTACHED, began=BEGAN, submitted=BEGAN, delay_s=100.0)
    assert named(facts) == [("queue", 1.7), ("transfer", 0.3), ("inference", 1.7)]


def test_what_does_not_fit_is_cut_at_the_end() -> None:
    facts = job(delay_s=2.5)
    assert named(facts) == [("transfer", 0.1), ("queue", 2.5), ("transfer", 0.1)]


def test_spans_of_a_request_hang_together() -> None:
    facts = request(task(job()), task(cold_job(job_id="j2"), number=1), task(stage="diarize", reused=True))
    spans = spans_of(facts, ids("a" * 32))
    root = spans[0]
    assert (root.trace, root.parent, root.kind, root.at) == ("a" * 32, None, Kind.REQUEST, WALL_S)
    assert root.attributes == {
        "model": "auto",
        "audio_s": 120.0,
        "tasks": 3,
        "jobs": 2,
        "reused_tasks": 1,
    }
    assert [each.name for each in spans if each.parent == root.id] == [
        "diarize",
        "plan",
        "transcribe",
        "merge",
    ]
    by_id = {each.id: each for each in spans}
    first = of(spans, Kind.JOB)[0]
    assert [by_id[by_id[first.parent or ""].parent or ""].name, first.name] == ["transcribe", "j1"]
    assert first.attributes["endpoint"] == "words"
    assert first.attributes["worker_id"] == "w1"
    assert first.at == pytest.approx(WALL_S + 1.0)
    cold = of(spans, Kind.JOB)[1].attributes
    assert (cold["cold_start"], cold["load_s"], cold["task"]) == (True, 2.5, "transcribe-1")


def test_jobs_beside_the_first_are_counted() -> None:
    jobs = [
        job(status=Status.CANCELLED, timing=None),
        job(role=Role.HEDGE, job_id="j2"),
        job(role=Role.RETRY, job_id="j3"),
    ]
    spans = spans_of(request(task(*jobs, unconfirmed=1)), ids())
    assert spans[0].attributes["hedge_jobs"] == spans[0].attributes["retry_jobs"] == 1
    assert spans[0].attributes["unconfirmed_jobs"] == 1
    summary = summary_of(spans)
    assert (summary.tasks, summary.jobs, summary.cancelled) == (1, 3, 1)
    assert "3 jobs (1 retry, 1 hedge, 1 cancelled)" in str(summary)


def test_a_trace_goes_on_with_its_callers() -> None:
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    root = spans_of(request(), Ids.within(given))[0]
    assert (root.trace, root.parent) == ("a" * 32, "b" * 16)
    assert not Ids.within(given.replace("-01", "-00")).sampled


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "00-xyz",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{'a' * 32}-{'b' * 16}-01-more",
        f"00-{'A' * 32}-{'b' * 16}-01",
    ],
)
def test_what_is_no_traceparent_begins_a_trace_of_its_own(given: str | None) -> None:
    begun = Ids.within(given)
    assert begun.parent is None
    assert begun.trace != "a" * 32
    assert len(begun.trace) == 32


def test_errors_are_told_without_their_words() -> None:
    error = TaskFailedError(TaskError(code=ErrorCode.MODEL_ERROR, message="he said: my PIN is 1234"))
    assert error_name(error) == "TaskFailedError MODEL_ERROR"
    assert (status_of(error), status_of(None)) == (Status.ERROR, Status.OK)
    assert status_of(KeyboardInterrupt()) is status_of(JobCancelledError("gone")) is Status.CANCELLED
    assert error_name(KeyboardInterrupt()) == ""


def test_a_step_is_noted_however_it_ends() -> None:
    times = iter([0.0, 1.0, 3.0, 4.0, 4.5, 9.0])
    recorder = Recorder(ids(), clock=lambda: next(times), wall=lambda: WALL_S)
    with recorder.step("plan"):
        pass
    with pytest.raises(FanscribeError), recorder.step("merge"):
        raise FanscribeError("no")
    facts = recorder.facts(FanscribeError("no"))
    assert [(each.name, each.ended - each.began, each.status, each.error) for each in facts.steps] == [
        ("plan", 2.0, Status.OK, ""),
        ("merge", 0.5, Status.ERROR, "FanscribeError"),
    ]
    assert (facts.ended, facts.status, facts.error) == (9.0, Status.ERROR, "FanscribeError")


def test_an_unknown_timing_is_no_cold_start() -> None:
    assert named(job(timing=Timing()))[1][0] == "queue"


def test_whoever_is_called_gets_the_requests_own_span() -> None:
    made = ids("a" * 32)
    root = spans_of(request(), made)[0]
    inner = Ids.within(made.traceparent)
    assert (inner.trace, inner.parent, inner.sampled) == (root.trace, root.id, True)
    assert Ids.within(Ids("a" * 32, sampled=False).traceparent).sampled is False
