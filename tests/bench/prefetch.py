"""What a plain SDK worker wastes between queued jobs, and what one that fetches ahead does not."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx2
from tests.bench.timing import Row
from tests.simulated import simulated_variant

from fanscribe.catalogue import DeployedEndpoint, Workers
from fanscribe.deploy.local import spec_of
from fanscribe.local.process import start

JOBS, WORKERS, JOB_S = 60, 3, 2.0
_KEY = "bench"


@dataclass(frozen=True, slots=True)
class _Job:
    worker: str
    taken_s: float
    done_s: float
    engine_s: float


def prefetch() -> list[Row]:
    """60 queued jobs of 2 s on 3 real SDK workers: seconds from first take to last done over engine seconds."""
    plain, ahead = (_paid_over_engine(prefetch) for prefetch in (False, True))
    detail = f"{JOBS} jobs of {JOB_S:g} s on {WORKERS} workers of the Runpod SDK; without fetching ahead {plain:.2f}"
    return [Row("queued jobs, prefetching: paid / engine seconds", ahead, 1.10, detail)]


def _paid_over_engine(prefetch: bool) -> float:
    variant = simulated_variant(load_s=0.1, rtf=0.0, overhead_s=JOB_S)
    endpoint = DeployedEndpoint(
        "words", "words", variant, Workers(min=WORKERS, max=WORKERS), 60, prefetch=prefetch
    )
    with start([spec_of(endpoint)], key=_KEY) as running:
        jobs = asyncio.run(_all(f"{running.url}/v2/words"))
    workers = {each.worker for each in jobs}
    paid = sum(
        max(each.done_s for each in jobs if each.worker == worker)
        - min(each.taken_s for each in jobs if each.worker == worker)
        for worker in workers
    )
    return paid / sum(each.engine_s for each in jobs)


async def _all(url: str) -> list[_Job]:
    headers = {"Authorization": f"Bearer {_KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        while (await http.get(f"{url}/health")).json()["workers"]["ready"] < WORKERS:
            await asyncio.sleep(0.2)
        begun = time.monotonic()
        silence = "data:audio/flac;base64," + _silence()
        sent = await asyncio.gather(
            *(http.post(f"{url}/run", json={"input": {"audio": silence}}) for _ in range(JOBS))
        )
        return await asyncio.gather(*(_ended(http, url, each.json()["id"], begun) for each in sent))


async def _ended(http: httpx2.AsyncClient, url: str, job: str, begun: float) -> _Job:
    state: dict[str, Any] = {"status": "IN_QUEUE"}
    while state["status"] in ("IN_QUEUE", "IN_PROGRESS"):
        await asyncio.sleep(0.5)
        state = (await http.get(f"{url}/status/{job}")).json()
    assert state["status"] == "COMPLETED", state
    taken_s = state["delayTime"] / 1000  # all were sent at the same moment, to some milliseconds
    done_s = taken_s + state["executionTime"] / 1000
    return _Job(state["workerId"], taken_s, done_s, state["output"]["timing"]["inference_s"])


def _silence() -> str:
    import base64
    import io

    import numpy as np

    from fanscribe.media.flac import FlacWriter

    target = io.BytesIO()
    writer = FlacWriter(target)
    writer.write(np.zeros(16_000, np.float32))
    writer.close()
    return base64.b64encode(target.getvalue()).decode()
