"""What went wrong, as the job's error: a code of the contract, and a sentence without secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fanscribe.contracts.errors import (
    RETRYABLE_CODES,
    AudioError,
    AudioRefusedError,
    AudioUnreachableError,
    DeadlineError,
    ErrorCode,
    FanscribeError,
    JobTimedOutError,
    PlanError,
    TaskError,
    TaskFailedError,
    UsageError,
)
from fanscribe.job_input import Refused


@dataclass(frozen=True, slots=True)
class Said:
    """What the caller is told; `unexpected`: the trace belongs into the log."""

    error: TaskError
    unexpected: bool = False


def failure(error: TaskError, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """What the handler returns for a refused or failed request."""
    return {"error": without(secrets, error).model_dump_json()}


def without(secrets: Sequence[str], error: TaskError) -> TaskError:
    """The error, its message without any secret."""
    return error.model_copy(update={"message": scrubbed(error.message, secrets)})


def error_of(error: Exception) -> Said:
    """The code and the sentence that stand for an error of the pipeline or of ours."""
    match error:
        case Refused():
            return _error(error.code, str(error))
        case TaskFailedError():
            return Said(error.error)
        case AudioUnreachableError():
            return _error(ErrorCode.AUDIO_UNREACHABLE, str(error), retryable=error.retryable)
        case AudioRefusedError():
            return _error(ErrorCode.INVALID_INPUT, f"field audio: {error}")
        case AudioError():
            return _error(ErrorCode.AUDIO_UNREADABLE, str(error))
        case PlanError():
            return _error(ErrorCode.MODEL_MISSING, _of_fields(str(error)))
        case UsageError():
            return _error(ErrorCode.INVALID_INPUT, _of_fields(str(error)))
        case DeadlineError() | JobTimedOutError():
            return _error(ErrorCode.TIMEOUT, str(error))
        case FanscribeError():
            return _error(ErrorCode.MODEL_ERROR, str(error), retryable=error.retryable)
        case MemoryError():
            return _error(
                ErrorCode.OUT_OF_MEMORY, "the orchestrator ran out of memory: send fewer requests at once"
            )
        case _:
            return _error(
                ErrorCode.MODEL_ERROR,
                f"the orchestrator failed with {type(error).__name__}: its worker's log has the trace",
                unexpected=True,
            )


def scrubbed(message: str, secrets: Sequence[str]) -> str:
    """The message without any secret, should one have come into it by way of a library."""
    for secret in secrets:
        if secret:
            message = message.replace(secret, "***")
    return message


def _error(code: ErrorCode, message: str, *, retryable: bool | None = None, unexpected: bool = False) -> Said:
    if retryable is None:
        retryable = code in RETRYABLE_CODES
    return Said(TaskError(code=code, message=message, retryable=retryable), unexpected)


def _of_fields(message: str) -> str:
    """A message about an option of the command line, about the field of that name."""
    return f"field {message[2:]}" if message.startswith("--") else message
