"""The platform's own words for a job (Runpod serverless, queue-based endpoints)."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fanscribe.contracts.errors import (
    JobCancelledError,
    JobError,
    JobTimedOutError,
    TaskError,
    TaskFailedError,
)


class JobStatus(StrEnum):
    """States of a job; the last four are final."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def final(self) -> bool:
        """Whether the platform will never change this status again."""
        return self not in (JobStatus.IN_QUEUE, JobStatus.IN_PROGRESS)


class JobState(BaseModel):
    """The body of /run, /runsync and /status. Times in milliseconds, as the platform sends them."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    id: str
    status: JobStatus
    delay_ms: int | None = Field(None, alias="delayTime")
    execution_ms: int | None = Field(None, alias="executionTime")
    worker_id: str | None = Field(None, alias="workerId")
    output: Any = None
    error: Any = None


def error_of(state: JobState, endpoint: str) -> JobError | None:
    """The error that a final status stands for; None for COMPLETED and for statuses that are not final."""
    match state.status:
        case JobStatus.FAILED:
            return TaskFailedError(TaskError.parse(state.error), endpoint, state.id)
        case JobStatus.CANCELLED:
            return JobCancelledError(f"job {state.id} on {endpoint} was cancelled", endpoint, state.id)
        case JobStatus.TIMED_OUT:
            return JobTimedOutError(
                f"job {state.id} on {endpoint} ran into the platform's time limit", endpoint, state.id
            )
        case _:
            return None
