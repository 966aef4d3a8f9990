"""The model on its way into memory, in a thread of its own, while everything else starts."""

import threading
import time
from collections.abc import Callable

from fanscribe.contracts.task import Progress
from fanscribe_handlers.engine import Context

_LOOK_S = 0.05  # seconds between two looks at a cancellation while waiting


class Loading:
    """One load. `load` does it and gets a function that takes its progress.

    `seconds` is how long the load took, in seconds, once it ended.
    """

    def __init__(
        self, load: Callable[[Callable[[Progress], None]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._ended = threading.Event()
        self._progress = Progress(phase="loading")
        self._error: BaseException | None = None
        self.seconds = 0.0
        threading.Thread(target=self._run, name="model-load", daemon=True).start()

    @property
    def failed(self) -> bool:
        """Whether the load ended with an error."""
        return self._ended.is_set() and self._error is not None

    def wait(self, context: Context, tell: Callable[[Progress], None]) -> None:
        """Wait for the end of the load and report on it meanwhile. Raises its error, or Cancelled."""
        while not self._ended.wait(_LOOK_S):
            context.check()
            tell(self._progress)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        begun = self._clock()
        try:
            self._load(self._note)
        except BaseException as error:
            self._error = error
        finally:
            self.seconds = self._clock() - begun
            self._ended.set()

    def _note(self, progress: Progress) -> None:
        self._progress = progress
