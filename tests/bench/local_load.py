"""Load on the local platform: 1,000 echo jobs over 4 endpoints from 50 clients, and 10,000 for its memory.

`python tests/bench/local_load.py [--sdk] [--memory]`. The workers are small programs that speak the worker
protocol, so that what is measured is the platform; with `--sdk` one warm worker of the official SDK is measured
beside them.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import psutil

from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import MIB, EndpointSpec

WORKERS = Path(__file__).resolve().parent.parent / "data" / "local_workers"
ENDPOINTS, CLIENTS = 4, 50


def cpu_s(platform: RunningPlatform) -> float:
    """Seconds of CPU that the platform's process has used."""
    times = psutil.Process(platform.pid).cpu_times()
    return float(times.user + times.system)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def load(platform: RunningPlatform, jobs: int, clients: int) -> list[float]:
    """Run echo jobs from so many clients at once; returns the seconds each took."""
    left, taken = iter(range(jobs)), []
    headers = {"Authorization": platform.key}

    async def one_client(http: aiohttp.ClientSession) -> None:
        for number in left:
            began = time.perf_counter()
            url = f"{platform.url}/v2/e{number % ENDPOINTS}/runsync"
            async with http.post(url, json={"input": {"n": number}}) as answer:
                body = await answer.json()
            taken.append(time.perf_counter() - began)
            assert body["status"] == "COMPLETED", body

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
        await asyncio.gather(*(one_client(http) for _ in range(clients)))
    return taken


def measure_load(*, memory: bool) -> dict[str, Any]:
    """Figures of the platform alone."""
    command = (sys.executable, str(WORKERS / "quick.py"))
    specs = [
        EndpointSpec(f"e{number}", command, ram_bytes=60 * MIB, min_workers=1, idle_timeout_s=600)
        for number in range(ENDPOINTS)
    ]
    with start(specs, rate_limits=False) as platform:
        asyncio.run(load(platform, 100, 4))
        alone = asyncio.run(load(platform, 200, 1))
        before, began = cpu_s(platform), time.perf_counter()
        busy = asyncio.run(load(platform, 1000, CLIENTS))
        wall, cpu = time.perf_counter() - began, cpu_s(platform) - before
        if not memory:
            return load_figures(alone, busy, wall, cpu)
        process = psutil.Process(platform.pid)
        sizes = []
        for _ in range(10):
            asyncio.run(load(platform, 1000, CLIENTS))
            sizes.append(process.memory_info().rss / MIB)
        time.sleep(61)
        asyncio.run(load(platform, 10_000, CLIENTS))
        later = process.memory_info().rss / MIB
    return load_figures(alone, busy, wall, cpu) | {
        "platform RSS MiB after 1,000 .. 10,000 more jobs": [round(size, 1) for size in sizes],
        "platform RSS MiB after 10,000 more, the first ones forgotten after their minute": round(later, 1),
    }


def load_figures(alone: list[float], busy: list[float], wall_s: float, cpu_used_s: float) -> dict[str, Any]:
    """Times in milliseconds."""
    return {
        "one client: median ms": statistics.median(alone) * 1000,
        "one client: p99 ms": percentile(alone, 0.99) * 1000,
        "50 clients: jobs per second": len(busy) / wall_s,
        "50 clients: median ms": statistics.median(busy) * 1000,
        "50 clients: p99 ms": percentile(busy, 0.99) * 1000,
        "platform CPU per job ms": cpu_used_s / len(busy) * 1000,
    }


def measure_sdk(jobs: int = 20) -> dict[str, Any]:
    """The same echo on one warm worker of the SDK, each job after the worker's own pause of a second."""
    command = (sys.executable, str(WORKERS / "workers.py"), "plain")
    with start([EndpointSpec("e0", command, idle_timeout_s=600)]) as platform:
        headers = {"Authorization": platform.key}
        with httpx2.Client(base_url=platform.url, headers=headers, timeout=60) as http:
            taken = []
            for number in range(jobs + 1):
                began = time.perf_counter()
                http.post("/v2/e0/runsync", json={"input": {"n": number}})
                taken.append(time.perf_counter() - began)
                time.sleep(1.2)
    return {
        "SDK worker: median ms": statistics.median(taken[1:]) * 1000,
        "SDK worker: p99 ms": max(taken[1:]) * 1000,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sdk", action="store_true", help="also one warm worker of the SDK")
    parser.add_argument(
        "--memory", action="store_true", help="also 20,000 jobs more, for the memory (2 minutes)"
    )
    options = parser.parse_args()
    figures = measure_load(memory=options.memory)
    if options.sdk:
        figures |= measure_sdk()
    print(
        json.dumps(
            {name: round(v, 2) if isinstance(v, float) else v for name, v in figures.items()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
