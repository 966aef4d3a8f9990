"""Progress of a run on the terminal: one line a task, or plain lines where stderr is no terminal."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fanscribe.pipeline.events import Event, State

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WORDS = {
    State.PREPARING: "reading audio",
    State.SENDING: "sending",
    State.QUEUED: "waiting for a worker",
    State.STARTING: "worker starting",
    State.FETCHING: "worker reading audio",
    State.LOADING: "model loading",
    State.RUNNING: "running",
    State.DONE: "done",
    State.FAILED: "failed",
}


class Display:
    """Shows the events of one or more runs on stderr; use it as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Progress | None = None
        self._rows: dict[tuple[str, str], TaskID] = {}
        self._said: dict[tuple[str, str], State] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[state]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing and clear the lines."""
        if self._live is not None:
            self._live.stop()

    def show(self, name: str, event: Event) -> None:
        """Show one event of the run on the file `name`."""
        if self._quiet:
            return
        key = (name, event.task)
        words = _WORDS[event.state]
        if event.state in (State.FAILED, State.LOADING) and event.message:
            words = f"{words}: {event.message}"
        if self._live is None:
            if self._said.get(key) is not event.state:
                self._said[key] = event.state
                print(f"{name}: {event.task}: {words}", file=sys.stderr, flush=True)
            return
        if key not in self._rows:
            self._rows[key] = self._live.add_task(f"{_short(name)} {event.task}", total=1.0, state="")
        self._live.update(self._rows[key], completed=event.share, state=words)


def _short(name: str, width: int = 28) -> str:
    last = name.rstrip("/").rsplit("/", 1)[-1]
    return last if len(last) <= width else f"{last[: width - 1]}…"
