"""What a run tells while it works."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fanscribe.contracts.task import Stage


class State(StrEnum):
    """Where a task stands, in the order in which it goes through them."""

    PREPARING = "preparing"
    SENDING = "sending"
    QUEUED = "queued"
    STARTING = "starting"
    FETCHING = "fetching"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


STATE_OF_PHASE = {
    "fetching": State.FETCHING,
    "downloading": State.LOADING,
    "loading": State.LOADING,
    "running": State.RUNNING,
}
"""By the phase that a worker reports (`fanscribe.contracts.task.Progress`)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one task. `share` is the part of the state's own work that is done, 0 to 1."""

    task: str
    stage: Stage
    state: State
    share: float = 0.0
    message: str = ""


Listener = Callable[[Event], None]
"""Takes the events of a run, in its event loop; it must return at once."""


def ignore(event: Event) -> None:
    """The listener of a caller who does not want to know."""
