"""What a job says while it is under way, and to whom."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Job = dict[str, Any]

_AFTER_FAILURE_S = 5.0

_log = logging.getLogger(__name__)


async def _unheard(job: Job, said: dict[str, Any]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """The platform's ears for a job: a progress report takes the place of the one before, a chunk follows it.

    Neither raises: what cannot be said is logged by whoever sends it.
    """

    progress: Callable[[Job, dict[str, Any]], Awaitable[None]] = _unheard
    chunk: Callable[[Job, dict[str, Any]], Awaitable[None]] = _unheard


class Repeating:
    """A task that does `work` again whenever `stir` was called meanwhile, with a pause between two turns.

    `work` gives the seconds to pause. As a context it ends with the block, in the midst of `work` if need be.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[float]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._work = work
        self._sleep = sleep
        self._stirred = asyncio.Event()
        self._working = asyncio.Lock()
        self._resting = False
        self._task: asyncio.Task[None] | None = None

    def stir(self) -> None:
        """There is something to do."""
        self._stirred.set()

    async def rest(self) -> None:
        """Begin no further turn; returns when the one under way has ended."""
        self._resting = True
        async with self._working:
            pass

    async def __aenter__(self) -> "Repeating":
        """Begin."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait(
            {self._task}
        )  # not the task itself: that we are cancelled meanwhile must not be lost

    async def _run(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            async with self._working:
                if self._resting:
                    return
                pause_s = await self._turn()
            await self._sleep(pause_s)

    async def _turn(self) -> float:
        try:
            return await self._work()
        except Exception:  # whoever only looks on must not bring down the request
            _log.exception("what is told of a request while it is under way could not be made")
            return _AFTER_FAILURE_S
