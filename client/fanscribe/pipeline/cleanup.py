"""Cleaning up behind a call that is being cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any

TIMEOUT_S = 5.0
"""How long leaving may take: the platform is told, but not waited for without end."""


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end or for TIMEOUT_S, whichever is first, also while the caller is being cancelled.

    A cancellation that comes meanwhile is raised when the work has ended. Raises what `work` raises, and
    TimeoutError.
    """

    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await work

    running = asyncio.ensure_future(bounded())
    cancelled = False
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled = True
        except Exception:
            break
    if cancelled:
        running.exception()  # seen, so that it is not reported as lost
        raise asyncio.CancelledError
    running.result()
