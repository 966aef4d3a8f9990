"""How long a request may take: what its caller allows, and always less than what the platform allows the job."""

import asyncio
from collections.abc import Callable
from typing import Any

_SHARE, _LEAST_S, _MOST_S = 0.05, 8.0, 60.0
"""What is kept back of the platform's time-out: child jobs are cancelled, answers merged, and the result is sent."""

_MOMENT_S = 0.5


class Deadline:
    """The deadlines of one request, as times of the event loop's clock, counted from now.

    At `soft` what is not done becomes gaps. At `last`, some seconds later, even that is given up. `policy` is the
    job's own, if the platform passes it on.
    """

    def __init__(
        self,
        execution_timeout_s: float,
        deadline_s: float | None,
        policy: Any = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        ends_s = min(execution_timeout_s, _of_policy(policy) or execution_timeout_s)
        reserve_s = reserve_of(ends_s)
        self.allowed_s = min(ends_s - reserve_s, deadline_s if deadline_s is not None else ends_s)
        self.soft = self._clock() + self.allowed_s
        self.last = self.soft + 0.75 * reserve_s

    @property
    def closing_s(self) -> float:
        """Seconds until `last`, for passing an answer on; always a moment, which the platform's time-out still has."""
        return max(self.last - self._clock(), _MOMENT_S)

    @property
    def left_s(self) -> float:
        """Seconds until `soft`; always a little more than none."""
        return max(self.soft - self._clock(), 0.001)


def reserve_of(timeout_s: float) -> float:
    """The seconds that are kept back of the platform's time-out; never more than half of it."""
    return min(max(_SHARE * timeout_s, _LEAST_S), _MOST_S, timeout_s / 2)


def _of_policy(policy: Any) -> float | None:
    """The execution time-out of a job's policy, in seconds; it comes in milliseconds."""
    milliseconds = policy.get("executionTimeout") if isinstance(policy, dict) else None
    if isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool) and milliseconds > 0:
        return milliseconds / 1000
    return None
