"""Progress on its way to the platform: not more often than anybody looks."""

import time
from collections.abc import Callable
from typing import Any

from fanscribe.contracts.task import Progress

INTERVAL_S = 0.25
"""Seconds between two reports of one phase; each costs the SDK a thread and a connection."""

Send = Callable[[dict[str, Any], dict[str, Any]], None]
"""Takes a job and a progress object (the SDK's progress_update)."""


class Reports:
    """The reports of one job: a new phase goes out at once, the rest at most every INTERVAL_S."""

    def __init__(self, send: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._last: Progress | None = None
        self._last_at = 0.0

    def tell(self, progress: Progress) -> None:
        """Pass a report on, or drop it when it says nothing new or comes too soon after the last one."""
        now = self._clock()
        if self._last is not None:
            same = (progress.phase, progress.message) == (self._last.phase, self._last.message)
            if same and (progress.share <= self._last.share or now - self._last_at < INTERVAL_S):
                return
        self._last, self._last_at = progress, now
        self._send(progress)
