"""Blocking work in a thread, which stops when the caller is cancelled."""

import asyncio
import contextlib
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """The result of `work`, run in a thread. It is given a function that says whether it should stop.

    A cancelled caller waits until the work has stopped, so that nothing uses its files any more.
    """
    stopped = Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stopped.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        with contextlib.suppress(Exception):
            await running
        raise
