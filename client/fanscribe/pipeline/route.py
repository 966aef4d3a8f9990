"""One endpoint as a run uses it: how many jobs it may have, how it fares, and which of its jobs straggle."""

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.pipeline.breaker import Breaker
from fanscribe.pipeline.cost import Capacity, hedge_after_s
from fanscribe.pipeline.job import Watched
from fanscribe.pipeline.sharing import Pool

if TYPE_CHECKING:
    from fanscribe.endpoint import Endpoint

PLATFORM_LIMIT = 200
"""Requests to /run that Runpod takes at once from one user and endpoint (its documented rate limits)."""

PEERS = 3
"""So many other jobs must have shown their speed before one of them is called slow."""

_EARLY_SHARE = 0.25
"""A job whose progress is known is judged from this share of its usual time on."""

_EARLY_RATIO = 2.0
"""What its progress foretells must be so many times the usual, since reports come unevenly."""

_REMEMBERED = 32
"""So many finished jobs tell what is usual; older ones may have met another load."""

_HOPELESS_RATIO, _HOPELESS_S = 3.0, 60.0
"""Without peers a job counts as lost after this many times its expected time, and so many seconds more."""


class Route:
    """The jobs of one run on one endpoint. `limit` is how many may be out at once, besides hedges.

    `pool` is what the run shares with others of this process, under the name `holder`.
    """

    def __init__(
        self,
        endpoint: DeployedEndpoint,
        api: "Endpoint",
        capacity: Capacity,
        limit: int,
        clock: Callable[[], float],
        pool: Pool | None = None,
        holder: Hashable = None,
    ) -> None:
        self.endpoint = endpoint
        self.api = api
        self.capacity = capacity
        self.limit = max(1, min(limit, PLATFORM_LIMIT))
        self.breaker = Breaker(clock)
        self.waiting = 0
        self.pool = pool
        self._holder = holder
        self._clock = clock
        self._slots = asyncio.Semaphore(self.limit)
        self._out: dict[int, tuple[Watched, float]] = {}
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)

    @asynccontextmanager
    async def slot(self, *, beside: bool = False) -> AsyncIterator[None]:
        """Wait for the right to have one more job out, first come, first served.

        `beside`: the caller holds a slot of another endpoint, so the requests of this process are not waited for.
        """
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        try:
            async with self._share(beside):
                yield
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _share(self, beside: bool) -> AsyncIterator[None]:
        if self.pool is None:
            yield
            return
        if beside:
            self.pool.take(self._holder)
        else:
            await self.pool.acquire(self._holder)
        try:
            yield
        finally:
            self.pool.release(self._holder)

    def out(self, watched: Watched, heard_s: float) -> None:
        """Count a job that was sent."""
        self._out[id(watched)] = (watched, self.capacity.task_s(heard_s))

    def back(self, watched: Watched, *, answered: bool) -> None:
        """Count it no longer; how long an answer took tells what is usual."""
        _, expected_s = self._out.pop(id(watched))
        if answered and not watched.resumed and watched.taken_at is not None and expected_s > 0:
            self._ratios.append((self._clock() - watched.taken_at) / expected_s)

    @property
    def spare(self) -> bool:
        """Whether a worker is likely to be free: nothing waits, and fewer jobs are out than there may be workers."""
        if self.pool is not None and (self.pool.waiting or self.pool.out >= self.capacity.workers_max):
            return False
        return not self.waiting and len(self._out) < self.capacity.workers_max

    def expected_s(self, heard_s: float) -> float:
        """From sending a job to its answer, when a worker is free for it or has to be started."""
        expected = self.capacity.task_s(heard_s)
        started = self.capacity.workers_warm or self._ratios
        return expected if started else expected + self.capacity.cold_s

    def straggles(self, watched: Watched, heard_s: float) -> bool:
        """Whether a job takes so much longer than its peers that another one beside it is worth its price."""
        expected_s = self.capacity.task_s(heard_s)
        now = self._clock()
        if now - watched.sent_at > _HOPELESS_RATIO * self.expected_s(heard_s) + _HOPELESS_S:
            return True
        if watched.taken_at is None or not self.spare:
            return False
        running_s = now - watched.taken_at
        ratios = list(self._ratios)
        if len(ratios) < PEERS:
            ratios += self._foretold(watched)
        if len(ratios) < PEERS:
            return False
        if running_s > hedge_after_s(expected_s, ratios):
            return True
        usual_s = expected_s * max(statistics.median(ratios), 0.5)
        total_s = _total_s(watched, now)
        early = running_s >= _EARLY_SHARE * usual_s
        return early and total_s is not None and total_s > _EARLY_RATIO * usual_s

    def _foretold(self, but: Watched) -> Iterator[float]:
        """How many times their expected seconds the jobs that run will take, as far as they have told."""
        now = self._clock()
        for watched, expected_s in self._out.values():
            total_s = _total_s(watched, now)
            if watched is not but and total_s is not None and expected_s > 0:
                yield total_s / expected_s


def _total_s(watched: Watched, now: float) -> float | None:
    """The seconds that a running job will have taken, by the share it reported when it was last looked at."""
    progress = watched.progress
    if watched.taken_at is None or watched.resumed:
        return None
    if progress is None or progress.phase != "running" or progress.share <= 0:
        return None
    return max((watched.looked_at - watched.taken_at) / progress.share, now - watched.taken_at)
