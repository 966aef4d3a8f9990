"""An orchestrator worker that kills itself: python -m tests.dying_orchestrator, in place of fanscribe_orchestrator.

Deaths are files in the folder that FANSCRIBE_TEST_DEATHS names, each called `<order> <where> <when>`. A worker takes
the first one for its own. `where` is a boundary of the work, and `when` the how-manieth time that it is passed; or
`where` is `random`, and `when` the seconds after its first job. Then the process kills itself with SIGKILL: nothing is
cleaned up, and nobody is told. The file is in `died` afterwards.
"""

import functools
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanscribe.endpoint import Endpoint
from fanscribe.pipeline import attempts, run
from fanscribe.pipeline.divisions import Divisions
from fanscribe.pipeline.kept import Kept
from fanscribe_orchestrator.durable import Entry, Ledger
from fanscribe_orchestrator.handler import Orchestrator
from fanscribe_orchestrator.oversize import Outbox
from fanscribe_orchestrator.worker import serve

BEFORE: dict[str, tuple[Any, str]] = {
    "taken": (Orchestrator, "handle"),
    "fetched": (Ledger, "content"),
    "answered": (attempts, "read_answer"),
    "joined": (Entry, "keep"),
    "fitting": (Outbox, "fitted"),
}
AFTER: dict[str, tuple[Any, str]] = {
    "claimed": (Entry, "known"),
    "begun": (Entry, "_begin"),
    "divided": (Divisions, "applied"),
    "intended": (Kept, "intend"),
    "sent": (Endpoint, "submit"),
    "noted": (Kept, "submitted"),
    "kept": (Kept, "keep"),
    "decided": (Divisions, "keep_language"),
    "merged": (run, "join"),
    "remembered": (Entry, "keep"),
    "ready": (Orchestrator, "handle"),
}
TOLD = "told"
BOUNDARIES = (*BEFORE, *AFTER, TOLD)


class Death:
    """One death to come. `passed` counts the times that its boundary was reached."""

    def __init__(self, file: Path, died: Path) -> None:
        _, self.where, when = file.name.split(" ")
        self.when = float(when)
        self._file, self._died = file, died
        self._passed = 0
        self._lock = threading.Lock()

    def passed(self) -> None:
        """Die, if it is the time for it."""
        with self._lock:
            self._passed += 1
            if self._passed == self.when:
                self.come()

    def begun(self) -> None:
        """The first job is there."""
        if self.where == "random":
            threading.Timer(self.when, self.come).start()

    def come(self) -> None:
        """The end."""
        os.rename(self._file, self._died / self._file.name)
        os.kill(os.getpid(), signal.SIGKILL)


def claimed(folder: Path) -> Death | None:
    """The next death, for this process alone."""
    mine = folder / "claimed"
    mine.mkdir(exist_ok=True)
    for file in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            os.rename(file, mine / file.name)
        except FileNotFoundError:
            continue  # another worker was quicker
        (folder / "died").mkdir(exist_ok=True)
        return Death(mine / file.name, folder / "died")
    return None


def mark(
    owner: Any, name: str, *, before: Callable[[], None] | None, after: Callable[[], None] | None
) -> None:
    """Have a function call `before` and `after` each time that it is called."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def plain(*args: Any, **named: Any) -> Any:
        if before:
            before()
        result = inner(*args, **named)
        if after:
            after()
        return result

    @functools.wraps(inner)
    async def awaited(*args: Any, **named: Any) -> Any:
        if before:
            before()
        result = await inner(*args, **named)
        if after:
            after()
        return result

    setattr(owner, name, awaited if inspect.iscoroutinefunction(inner) else plain)


def main() -> None:
    """Serve until the death comes that was claimed, or the platform says so."""
    folder = Path(os.environ["FANSCRIBE_TEST_DEATHS"])
    left = list(Path(os.environ["TMPDIR"]).iterdir())
    assert not left, f"a worker begins with an empty scratch folder, and this one holds {left}"
    attempts.HEDGES = 0  # a job beside a straggler is paid on purpose; what is counted are all others
    death = claimed(folder)
    if death is not None:
        first = threading.Event()

        def begun() -> None:
            if not first.is_set():
                first.set()
                death.begun()

        mark(Orchestrator, "handle", before=begun, after=None)
        if death.where in BEFORE:
            mark(*BEFORE[death.where], before=death.passed, after=None)
        elif death.where in AFTER:
            mark(*AFTER[death.where], before=None, after=death.passed)
        elif death.where == TOLD:
            from runpod.serverless.modules import rp_job

            mark(rp_job, "send_result", before=None, after=death.passed)
    (folder / "lives").mkdir(exist_ok=True)
    (folder / "lives" / f"{time.time_ns()}-{os.getpid()}").touch()
    serve()


if __name__ == "__main__":
    main()
