"""Every error of the pipeline as a code of the contract, without secrets."""

import json

import pytest

from fanscribe.contracts.errors import (
    AnswerError,
    AudioError,
    AudioRefusedError,
    AudioUnreachableError,
    AuthenticationError,
    DeadlineError,
    ErrorCode,
    JobLostError,
    JobTimedOutError,
    PlanError,
    TaskError,
    TaskFailedError,
    TransportError,
    UsageError,
)
from fanscribe.job_input import Refused
from fanscribe_orchestrator.failures import error_of, failure

OURS = TaskError(code=ErrorCode.OUT_OF_MEMORY, message="too long", retryable=False)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (Refused(ErrorCode.RESULT_TOO_LARGE, "x"), ErrorCode.RESULT_TOO_LARGE, False),
        (TaskFailedError(OURS), ErrorCode.OUT_OF_MEMORY, False),
        (AudioUnreachableError("x"), ErrorCode.AUDIO_UNREACHABLE, True),
        (AudioUnreachableError("x", retryable=False), ErrorCode.AUDIO_UNREACHABLE, False),
        (AudioRefusedError("x"), ErrorCode.INVALID_INPUT, False),
        (AudioError("x"), ErrorCode.AUDIO_UNREADABLE, False),
        (PlanError("x"), ErrorCode.MODEL_MISSING, False),
        (UsageError("x"), ErrorCode.INVALID_INPUT, False),
        (DeadlineError("x"), ErrorCode.TIMEOUT, True),
        (JobTimedOutError("x"), ErrorCode.TIMEOUT, True),
        (JobLostError("x"), ErrorCode.MODEL_ERROR, True),
        (TransportError("x"), ErrorCode.MODEL_ERROR, True),
        (AnswerError("x"), ErrorCode.MODEL_ERROR, True),
        (AuthenticationError("x"), ErrorCode.MODEL_ERROR, False),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY, False),
    ],
)
def test_codes(error: Exception, code: ErrorCode, retryable: bool) -> None:
    said = error_of(error)
    assert (said.error.code, said.error.retryable, said.unexpected) == (code, retryable, False)


def test_what_nobody_expected_is_named_and_not_quoted() -> None:
    said = error_of(KeyError("somebody's words"))
    assert said.unexpected
    assert said.error.message == "the orchestrator failed with KeyError: its worker's log has the trace"


def test_an_option_of_the_command_line_is_a_field_here() -> None:
    assert error_of(UsageError("--model x: unknown model")).error.message == "field model x: unknown model"
    assert error_of(AudioRefusedError("no")).error.message == "field audio: no"


def test_no_secret_leaves() -> None:
    error = TaskError(code=ErrorCode.MODEL_ERROR, message="Bearer rpa_key was refused")
    said = json.loads(failure(error, ["rpa_key", ""])["error"])
    assert said == {"code": "MODEL_ERROR", "message": "Bearer *** was refused", "retryable": False}
