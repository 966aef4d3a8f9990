"""The local platform under load: every job answered, little CPU for each, memory that does not grow with them."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import MIB, EndpointSpec

QUICK = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "quick.py"
ENDPOINTS, CLIENTS = 4, 50


@pytest.fixture
def platform() -> Iterator[RunningPlatform]:
    command = (sys.executable, "-S", str(QUICK))
    specs = [
        EndpointSpec(f"e{number}", command, ram_bytes=60 * MIB, min_workers=1, idle_timeout_s=600)
        for number in range(ENDPOINTS)
    ]
    with start(specs, rate_limits=False, keep_results_s=1.0) as running:
        yield running


async def load(platform: RunningPlatform, jobs: int) -> list[str]:
    left, answered = iter(range(jobs)), []

    async def one_client(http: aiohttp.ClientSession) -> None:
        for number in left:
            async with http.post(
                f"{platform.url}/v2/e{number % ENDPOINTS}/runsync", json={"input": {}}
            ) as answer:
                body = await answer.json()
            assert (body["status"], body["output"]) == ("COMPLETED", "echo")
            answered.append(body["id"])

    async with aiohttp.ClientSession(
        headers={"Authorization": platform.key}, connector=aiohttp.TCPConnector(limit=CLIENTS)
    ) as http:
        await asyncio.gather(*(one_client(http) for _ in range(CLIENTS)))
    return answered


def test_a_thousand_jobs_over_four_endpoints_from_fifty_clients(platform: RunningPlatform) -> None:
    asyncio.run(load(platform, 40))
    process = psutil.Process(platform.pid)
    before = process.cpu_times()
    answered = asyncio.run(load(platform, 1000))
    after = process.cpu_times()
    assert len(set(answered)) == 1000
    # 0.6 ms measured on two shared cores.
    assert after.user + after.system - before.user - before.system < 3.0
    totals = [each["totals"] for each in platform.status()["endpoints"]]
    assert sum(each["COMPLETED"] for each in totals) == 1040
    assert not any(each.get("retried") for each in totals)


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_jobs(platform: RunningPlatform) -> None:
    process = psutil.Process(platform.pid)
    sizes = []
    for _ in range(5):
        asyncio.run(load(platform, 2000))
        sizes.append(process.memory_info().rss)
    # The first rounds fill the allocator's pools.
    assert sizes[-1] - sizes[1] < 4 * MIB
