"""Cleaning up goes on while the caller is cancelled, and has an end."""

import asyncio

import pytest

from fanscribe.pipeline import cleanup
from fanscribe.pipeline.cleanup import to_its_end


async def test_work_ends_although_the_caller_is_cancelled_again_and_again() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    caller = asyncio.create_task(to_its_end(work()))
    await begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_its_end(work())


async def test_work_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "TIMEOUT_S", 0.01)
    with pytest.raises(TimeoutError):
        await to_its_end(asyncio.Event().wait())  # type: ignore[arg-type]
