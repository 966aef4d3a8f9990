"""The error tree: drawn completely, and every status of the platform has its class."""

import inspect

import pytest

from fanscribe.contracts import errors
from fanscribe.contracts.errors import ErrorCode, FanscribeError, TaskError
from fanscribe.contracts.job import JobState, JobStatus, error_of

FINAL_ERRORS = {
    JobStatus.FAILED: errors.TaskFailedError,
    JobStatus.CANCELLED: errors.JobCancelledError,
    JobStatus.TIMED_OUT: errors.JobTimedOutError,
}


def _classes() -> list[type[FanscribeError]]:
    members = [member for _, member in inspect.getmembers(errors, inspect.isclass)]
    return [each for each in members if issubclass(each, FanscribeError)]


def test_every_class_stands_in_the_drawing_under_its_parent() -> None:
    lines = (errors.__doc__ or "").splitlines()
    rows = [line for line in lines if "├──" in line or "└──" in line]
    path: list[str] = ["FanscribeError"]
    drawn = {"FanscribeError": "Exception"}
    for row in rows:
        depth = (row.index("──") - 1) // 4 + 1
        name = row.split("── ")[1].split()[0]
        path[depth:] = [name]
        drawn[name] = path[depth - 1]
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in _classes()}


@pytest.mark.parametrize("status", list(JobStatus))
def test_every_status_maps_to_a_class_or_is_no_error(status: JobStatus) -> None:
    error = error_of(JobState(id="j", status=status, error="boom"), "ep")
    if status in FINAL_ERRORS:
        assert type(error) is FINAL_ERRORS[status]
        assert error is not None
        assert (error.endpoint, error.job_id) == ("ep", "j")
    else:
        assert error is None
        assert status in (JobStatus.IN_QUEUE, JobStatus.IN_PROGRESS, JobStatus.COMPLETED)


def test_only_the_last_four_statuses_are_final() -> None:
    assert [each for each in JobStatus if each.final] == list(JobStatus)[2:]


def test_a_worker_error_keeps_its_code() -> None:
    text = TaskError(code=ErrorCode.MODEL_MISSING, message="no weights").model_dump_json()
    error = error_of(JobState(id="j", status=JobStatus.FAILED, error=text), "ep")
    assert isinstance(error, errors.TaskFailedError)
    assert error.error.code is ErrorCode.MODEL_MISSING
    assert not error.retryable
    assert "no weights" in str(error)


@pytest.mark.parametrize("raw", ["Traceback: boom", '{"error_type": "ValueError"}', {"a": 1}, None, ""])
def test_an_error_of_another_kind_becomes_a_model_error(raw: object) -> None:
    parsed = TaskError.parse(raw)
    assert parsed.code is ErrorCode.MODEL_ERROR
    assert parsed.retryable


def test_retryable_is_said_of_what_may_pass_by_itself() -> None:
    retryable = {each.__name__ for each in _classes() if each.retryable}
    assert {
        "TransportError",
        "RateLimitedError",
        "JobLostError",
        "JobTimedOutError",
        "AnswerError",
    } <= retryable
    assert not {"UsageError", "AudioError", "PlanError", "PlatformError", "DeadlineError"} & retryable
