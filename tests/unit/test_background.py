"""Work in a thread: its result, its errors, and that a cancelled caller leaves only when it has stopped."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from fanscribe.background import in_thread


async def test_the_result_and_the_error_of_the_work_come_back() -> None:
    assert await in_thread(lambda stopped: stopped()) is False

    def fails(_stopped: Callable[[], bool]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_thread(fails)


async def test_a_cancelled_caller_waits_until_the_work_has_stopped() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(stopped: Callable[[], bool]) -> None:
        begun.set()
        while not stopped():
            threading.Event().wait(0.001)
        ended.set()

    caller = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
