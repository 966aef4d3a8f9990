"""Clients without any platform: their ends, their deadlines, and what they refuse."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe import AsyncClient, Client, DeadlineError, Transcript, UsageError
from fanscribe.client import AsyncHandle
from fanscribe.pipeline.platform import Platform


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Transcriptions that go on until they are cancelled; gives the list of what happened to them."""
    log: list[str] = []

    async def wait(*_arguments: Any) -> Transcript:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        raise AssertionError("unreachable")

    class Connected:
        catalogue = None
        platform = Platform(httpx2.AsyncClient(), "http://nowhere.invalid/v2", "key")

        async def close(self) -> None:
            log.append("closed")

    async def connect(*_arguments: Any, **_options: Any) -> Connected:
        return Connected()

    monkeypatch.setattr("fanscribe.client.transcribe", wait)
    monkeypatch.setattr("fanscribe.client.connect", connect)
    return log


async def test_leaving_the_block_stops_what_was_submitted(tone: Path, endless: list[str]) -> None:
    async with AsyncClient() as client:
        handle = await client.submit(tone)
        while not endless:
            await asyncio.sleep(0)
    assert endless == ["begun", "cancelled", "closed"]
    assert handle.done


async def test_the_deadline_covers_the_whole_call(tone: Path, endless: list[str]) -> None:
    async with AsyncClient() as client:
        with pytest.raises(DeadlineError, match=r"not done within the deadline of 0\.05 s"):
            await client.transcribe(tone, deadline_s=0.05)
    assert endless == ["begun", "cancelled", "closed"]


async def test_cancelling_waits_until_the_work_has_stopped(tone: Path, endless: list[str]) -> None:
    async with AsyncClient() as client:
        handle: AsyncHandle = await client.submit(tone)
        while not endless:
            await asyncio.sleep(0)
        await handle.cancel()
        assert endless == ["begun", "cancelled"]
        with pytest.raises(asyncio.CancelledError):
            await handle.result()


def test_a_client_that_nobody_closed_does_not_hold_up_the_end_of_the_process() -> None:
    code = (
        "import asyncio\nfrom fanscribe import Client\nclient = Client(platform='local')\n"
        "client._loop.run(asyncio.sleep(0))\nprint('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "done\n"
    assert done.stderr == ""


def test_a_call_from_the_clients_own_thread_is_refused_rather_than_waiting_for_itself() -> None:
    with Client(platform="local") as client:

        async def inside() -> None:
            client._loop.run(asyncio.sleep(0))

        with pytest.raises(RuntimeError, match="on_progress"):
            client._loop.run(inside())


def test_a_closed_client_can_be_used_again() -> None:
    client = Client(platform="local")
    for _ in range(2):
        assert client._loop.run(asyncio.sleep(0, "x")) == "x"
        client.close()
        client.close()


def test_an_unknown_platform_is_named() -> None:
    with pytest.raises(UsageError, match="platform 'moon': choose one of auto, local, runpod"):
        AsyncClient(platform="moon")
