"""One job: what was asked, where it stands, what came back. Times are seconds of the platform's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The platform's words for where a job stands; the last four are final."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT})

# A job goes back to the queue when its worker is lost, and from FAILED or TIMED_OUT when its owner asks so.
MOVES: Mapping[Status, frozenset[Status]] = {
    Status.IN_QUEUE: frozenset({Status.IN_PROGRESS, Status.FAILED, Status.CANCELLED}),
    Status.IN_PROGRESS: FINAL | {Status.IN_QUEUE},
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.IN_QUEUE}),
    Status.CANCELLED: frozenset(),
    Status.TIMED_OUT: frozenset({Status.IN_QUEUE}),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one job, in seconds."""

    execution_timeout_s: float
    ttl_s: float
    low_priority: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A job. Input, output and stream chunks are kept as JSON text in bytes, as compact as they came."""

    id: str
    input_json: bytes
    policy: Policy
    submitted_at: float
    sync: bool = False
    webhook: str | None = None
    passed_on: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the request that the worker gets as they are (s3Config, policy)."""
    status: Status = Status.IN_QUEUE
    queued_at: float = 0.0
    taken_at: float | None = None
    ended_at: float | None = None
    worker_id: str | None = None
    output_json: bytes | None = None
    error: str | None = None
    retries: int = 0
    chunks: list[bytes] = field(default_factory=list)
    gone: bool = False
    """Whether the platform knows it no more."""
    turn: int = 0
    """Counts the moves of the job, so that a timer set before a move is known to be stale."""

    @property
    def final(self) -> bool:
        """Whether the job has come to its end."""
        return self.status in FINAL

    def move(self, status: Status) -> None:
        """Go to another status; raises ValueError for a way that does not exist."""
        if status not in MOVES[self.status]:
            raise ValueError(f"job {self.id} cannot go from {self.status} to {status}")
        self.status = status
        self.turn += 1

    def size_bytes(self) -> int:
        """Bytes of input, output and chunks that it holds."""
        return len(self.input_json) + len(self.output_json or b"") + sum(map(len, self.chunks))

    def delay_ms(self) -> int | None:
        """Milliseconds from submission to the hand-out to a worker; None while it was never taken."""
        return None if self.taken_at is None else max(0, round((self.taken_at - self.submitted_at) * 1000))

    def execution_ms(self) -> int | None:
        """Milliseconds from hand-out to the end; None before the end or when it was never taken."""
        if self.taken_at is None or self.ended_at is None:
            return None
        return max(0, round((self.ended_at - self.taken_at) * 1000))
