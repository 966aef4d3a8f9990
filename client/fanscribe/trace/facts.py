"""What a run notes of itself while it works, as intervals that have ended. Times are the run's clock, in seconds.

Neither sound nor text nor the wording of errors is among it, nor anything that could be a secret.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from fanscribe.contracts.errors import JobCancelledError, TaskFailedError
from fanscribe.contracts.task import Timing


class Status(StrEnum):
    """How something ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


class Role(StrEnum):
    """Why a job was made: as the task's first, after one that failed, beside one that straggled; or it was there
    already, sent by an earlier run.
    """

    FIRST = "first"
    RETRY = "retry"
    HEDGE = "hedge"
    ATTACHED = "attached"


@dataclass(frozen=True, slots=True)
class StepFacts:
    """Work of this process itself: plan, prepare, merge."""

    name: str
    began: float
    ended: float
    status: Status = Status.OK
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job. `submitted` is when its id came back, `taken` when it was seen to be with a worker, within two looks.

    `delay_s` and `execution_s` are the platform's own: waiting, and with the worker. `timing` is the worker's, there
    only with an answer. `doing` is what it last reported to do (fetching, downloading, loading, running). `starting`: a
    worker was seen to start while it waited.
    """

    endpoint: str
    variant: str
    role: Role
    began: float
    ended: float
    status: Status
    submitted: float | None = None
    taken: float | None = None
    job_id: str = ""
    worker_id: str = ""
    delay_s: float | None = None
    execution_s: float | None = None
    timing: Timing | None = None
    doing: str = ""
    starting: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task with its jobs. `stage_id` names its stage and channel; `start_s`, `end_s` are seconds of the audio."""

    id: str
    stage_id: str
    stage: str
    start_s: float
    end_s: float
    began: float
    ended: float
    status: Status
    jobs: tuple[JobFacts, ...] = ()
    reused: bool = False
    unconfirmed: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request. `wall_s` is the time of day at `began`, in seconds since 1970."""

    wall_s: float
    began: float
    ended: float
    status: Status = Status.OK
    error: str = ""
    about: dict[str, str | int | float | bool] = field(default_factory=dict)
    steps: tuple[StepFacts, ...] = ()
    tasks: tuple[TaskFacts, ...] = ()


def status_of(error: BaseException | None) -> Status:
    """How something ended that raised this: it failed, or it was told to stop."""
    if error is None:
        return Status.OK
    stopped = not isinstance(error, Exception) or isinstance(error, JobCancelledError)
    return Status.CANCELLED if stopped else Status.ERROR


def error_name(error: BaseException | None) -> str:
    """What is told of an error: its class, and the worker's code. Its wording may hold what a trace must not."""
    if error is None or not isinstance(error, Exception):
        return ""
    name = type(error).__name__
    return f"{name} {error.error.code.value}" if isinstance(error, TaskFailedError) else name
