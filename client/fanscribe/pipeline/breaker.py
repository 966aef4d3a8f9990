"""A circuit breaker: after failures in a row an endpoint is left alone for a while."""

from collections.abc import Callable

FAILURES = 5
"""So many failures in a row, with no success between them, and the endpoint is taken for broken."""

RESTS_S = (2.0, 8.0, 30.0)
"""How long a broken endpoint is left alone before one job may try it again: first, second, third time."""


class Breaker:
    """What a run knows of one endpoint's health. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._trials = 0
        self._trying = False
        self._rest_ends = 0.0

    @property
    def closed(self) -> bool:
        """Whether jobs go through."""
        return self._failures < FAILURES

    @property
    def given_up(self) -> bool:
        """Whether it failed again after each rest: nothing more is to be expected of it."""
        return self._trials >= len(RESTS_S)

    @property
    def rest_s(self) -> float:
        """Seconds until a job may try the endpoint again; 0 when one may."""
        return 0.0 if self.closed else max(self._rest_ends - self._clock(), 0.0)

    def admit(self) -> bool:
        """Whether a job may go out now. While the breaker is open, one job after each rest may try."""
        if self.closed:
            return True
        if self._trying or self.given_up or self.rest_s > 0:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """A job was answered: all is well again."""
        self._failures = self._trials = 0
        self._trying = False

    def failed(self) -> None:
        """A job failed for a reason that may be the endpoint's."""
        self._failures += 1
        if self._trying:
            self._trying = False
            self._trials += 1
        elif self._failures != FAILURES:
            return  # jobs that were out before it opened tell nothing new
        if not self.given_up:
            self._rest_ends = self._clock() + RESTS_S[self._trials]

    def released(self) -> None:
        """The job that tried was stopped before it told anything."""
        self._trying = False
