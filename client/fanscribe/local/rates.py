"""The platform's rate limits: requests per ten seconds and at a time, by kind of operation and endpoint."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests in a window of ten seconds, and how many at a time (None: no limit)."""

    per_window: int
    at_once: int | None


# As documented by the platform for one user and one endpoint.
PLATFORM_LIMITS: Mapping[str, RateLimit] = {
    "run": RateLimit(1000, 200),
    "runsync": RateLimit(2000, 400),
    "status": RateLimit(2000, 400),
    "stream": RateLimit(2000, 400),
    "cancel": RateLimit(100, 20),
    "purge-queue": RateLimit(2, None),
}


class TooManyRequestsError(RuntimeError):
    """A limit is reached; `retry_after_s` says when to come back, in seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimiter:
    """Counts requests by endpoint and operation in windows of ten seconds that start with the first request."""

    def __init__(self, clock: Callable[[], float], limits: Mapping[str, RateLimit] = PLATFORM_LIMITS) -> None:
        self._clock = clock
        self._limits = limits
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self._open: dict[tuple[str, str], int] = {}

    @contextmanager
    def request(self, endpoint: str, operation: str) -> Iterator[None]:
        """Count one request for as long as the block runs. Raises TooManyRequestsError."""
        limit = self._limits.get(operation)
        if limit is None:
            yield
            return
        key, now = (endpoint, operation), self._clock()
        start, count = self._windows.get(key, (now, 0))
        if now - start >= WINDOW_S:
            start, count = now, 0
        if count >= limit.per_window:
            text = f"more than {limit.per_window} {operation} requests in {WINDOW_S:.0f} s"
            raise TooManyRequestsError(text, start + WINDOW_S - now)
        if limit.at_once is not None and self._open.get(key, 0) >= limit.at_once:
            raise TooManyRequestsError(f"more than {limit.at_once} {operation} requests at a time", 1.0)
        self._windows[key] = (start, count + 1)
        self._open[key] = self._open.get(key, 0) + 1
        try:
            yield
        finally:
            self._open[key] -= 1
