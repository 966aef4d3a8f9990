"""What the requests of one process share: the jobs that an endpoint may have at once, and the decoding.

Without it each request would send as many jobs as the endpoint has workers, and they would wait on the platform,
where nobody can put them in a fair order, and where waiting looks like straggling.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass

POSTING = 4
"""Submissions to one endpoint whose bodies are in memory at once: up to 10 MB each, three times over."""


@dataclass(slots=True)
class _Ticket:
    holder: Hashable
    turn: int
    granted: "asyncio.Future[None]"


class Pool:
    """The jobs that all requests together may have out on one endpoint, besides hedges: at most `limit`.

    A free place goes to the request with the fewest jobs out; among those to the one that was served longest ago,
    or came first. So a recording of a hundred chunks does not hold up one of a single chunk, and every request
    gets its turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.posting = asyncio.Semaphore(POSTING)
        self._waiting: list[_Ticket] = []
        self._out: dict[Hashable, int] = {}
        self._served: dict[Hashable, int] = {}
        self._turn = 0

    @property
    def out(self) -> int:
        """How many places are taken."""
        return sum(self._out.values())

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def acquire(self, holder: Hashable) -> None:
        """Wait for a place. `holder` stands for the request."""
        self._turn += 1
        self._served.setdefault(holder, self._turn)
        ticket = _Ticket(holder, self._turn, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._grant()
        try:
            await ticket.granted
        except asyncio.CancelledError:
            if ticket.granted.cancelled():  # and whoever gave places away meanwhile may have struck it off
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                self._forget(holder)
            else:
                self.release(holder)  # the place came while we were being cancelled
            raise

    def take(self, holder: Hashable) -> None:
        """Take a place at once, also beyond the limit.

        For work that holds a place elsewhere: two requests that each wait for the other's place would wait for ever.
        """
        self._turn += 1
        self._out[holder] = self._out.get(holder, 0) + 1
        self._served[holder] = self._turn

    def release(self, holder: Hashable) -> None:
        """Give a place back."""
        self._out[holder] -= 1
        self._forget(holder)
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.out < self.limit:
            ticket = min(
                self._waiting,
                key=lambda each: (self._out.get(each.holder, 0), self._served[each.holder], each.turn),
            )
            self._waiting.remove(ticket)
            if not ticket.granted.done():
                self.take(ticket.holder)
                ticket.granted.set_result(None)

    def _forget(self, holder: Hashable) -> None:
        if not self._out.get(holder):
            self._out.pop(holder, None)
            if all(each.holder is not holder for each in self._waiting):
                self._served.pop(holder, None)


class Sharing:
    """The pools of all endpoints, by name, and how many recordings may be decoded at once.

    For the one event loop in which it is first used.
    """

    def __init__(self, decodes: int) -> None:
        self.decoding = asyncio.Semaphore(decodes)
        self._pools: dict[str, Pool] = {}

    def pool(self, endpoint: str, limit: int) -> Pool:
        """The pool of an endpoint, which is made when it is first asked for; a larger limit than before counts."""
        pool = self._pools.setdefault(endpoint, Pool(limit))
        pool.limit = max(pool.limit, limit)
        return pool
