"""Everything that can go wrong, as one tree.

FanscribeError
├── UsageError                 the request itself is wrong; nothing was sent
│   ├── AudioError             the audio cannot be used (missing, empty, not audio, too short, too large)
│   │   ├── AudioUnreachableError  its URL could not be read: network, HTTP 4xx or 5xx, too slow
│   │   └── AudioRefusedError      its address, scheme or size is not allowed; nothing more was read
│   ├── CatalogueError         variant files or endpoints.toml are wrong; carries every fault found
│   └── PlanError              no deployed endpoint can serve the request
├── TransportError             the platform could not be reached, or did not answer in time
│   ├── RateLimitedError       the platform asked to slow down (HTTP 429)
│   └── UnconfirmedError       a job was sent, and it is not known whether the platform took it
├── PlatformError              the platform answered and refused
│   ├── AuthenticationError    HTTP 401 or 403
│   ├── NotFoundError          unknown endpoint, or a job that is unknown or expired (HTTP 404)
│   └── PayloadTooLargeError   the request is above the platform's size limit
├── JobError                   the job was accepted and ended without a result
│   ├── TaskFailedError        FAILED: the worker refused or failed the task; carries its ErrorCode
│   ├── JobCancelledError      CANCELLED
│   ├── JobTimedOutError       TIMED_OUT: the platform's execution time-out or time to live
│   └── JobLostError           the platform no longer knows the job
├── AnswerError                the job completed, but its output does not fit the contract
├── StoppedError               the caller told the call to stop, and it did
└── DeadlineError              the caller's own deadline passed

`retryable` says whether the same call may succeed when it is repeated unchanged.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ValidationError


class ErrorCode(StrEnum):
    """What a worker says in the `code` of a refused or failed task."""

    INVALID_INPUT = "INVALID_INPUT"
    AUDIO_UNREACHABLE = "AUDIO_UNREACHABLE"
    AUDIO_UNREADABLE = "AUDIO_UNREADABLE"
    MODEL_MISSING = "MODEL_MISSING"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    MODEL_ERROR = "MODEL_ERROR"
    TIMEOUT = "TIMEOUT"
    CONTRACT_MISMATCH = "CONTRACT_MISMATCH"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"


RETRYABLE_CODES = frozenset({ErrorCode.AUDIO_UNREACHABLE, ErrorCode.MODEL_ERROR, ErrorCode.TIMEOUT})
"""Codes for which another attempt, perhaps on another worker, may succeed."""


class TaskError(BaseModel):
    """The JSON object that a worker puts, as text, in the platform's `error` field."""

    code: ErrorCode
    message: str
    retryable: bool = False

    @classmethod
    def parse(cls, error: object) -> "TaskError":
        """Read the `error` of a FAILED job; anything that is not ours becomes a MODEL_ERROR with its text."""
        text = error if isinstance(error, str) else repr(error)
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls(code=ErrorCode.MODEL_ERROR, message=text[:2000], retryable=True)


class FanscribeError(Exception):
    """Base of every error that fanscribe raises on purpose."""

    retryable: bool = False


class UsageError(FanscribeError):
    """The request is wrong: an option, a field or a file. The message names it."""


class AudioError(UsageError):
    """The audio cannot be used; the message names the file or URL."""


class AudioUnreachableError(AudioError):
    """The audio could not be fetched. The message names the URL without its query and user.

    Not worth another attempt when the server said for good that it has no such thing (most of HTTP 4xx).
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class AudioRefusedError(AudioError):
    """The policy forbids to fetch the audio: private address, scheme, size, or a redirect to such a place."""


class CatalogueError(UsageError):
    """Variant files or endpoints.toml are wrong. `faults` holds every fault, each with file and key."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class PlanError(UsageError):
    """No deployed endpoint can serve the request; the message says which variant could."""


class TransportError(FanscribeError):
    """The platform could not be reached or broke off."""

    retryable = True


class RateLimitedError(TransportError):
    """HTTP 429. `retry_after_s` is what the platform asked for, in seconds, or None."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnconfirmedError(TransportError):
    """A job was sent and no id came back: it may run, and cost, without anybody who waits for it."""


class PlatformError(FanscribeError):
    """The platform refused the call. `status_code` is the HTTP status."""

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class AuthenticationError(PlatformError):
    """The API key is missing, wrong, or may not do this."""


class NotFoundError(PlatformError):
    """The endpoint or the job is unknown to the platform."""


class PayloadTooLargeError(PlatformError):
    """The request is larger than the platform takes."""


class JobError(FanscribeError):
    """A job ended without a result. `endpoint` and `job_id` say which."""

    def __init__(self, message: str, endpoint: str = "", job_id: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.job_id = job_id


class TaskFailedError(JobError):
    """The worker refused or failed the task; `error` is what it said."""

    def __init__(self, error: TaskError, endpoint: str = "", job_id: str = "") -> None:
        super().__init__(f"{error.code}: {error.message}", endpoint, job_id)
        self.error = error
        self.retryable = error.retryable


class JobCancelledError(JobError):
    """The job was cancelled, by us or by somebody else."""


class JobTimedOutError(JobError):
    """The platform ended the job at its execution time-out or time to live."""

    retryable = True


class JobLostError(JobError):
    """The platform no longer knows the job (expired, or the platform was restarted)."""

    retryable = True


class AnswerError(FanscribeError):
    """A job completed, but what it returned does not fit the contract."""

    retryable = True


class StoppedError(FanscribeError):
    """The caller's `stopped` answered true; what was written until then is incomplete."""


class DeadlineError(FanscribeError):
    """The caller's deadline passed before the work was done."""
