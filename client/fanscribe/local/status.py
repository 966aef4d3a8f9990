"""What the platform shows of itself, and the way to stop it."""

import os
from typing import Any

import psutil
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.access import platform_of
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.platform import Platform
from fanscribe.local.wire import reply
from fanscribe.local.worker import Worker


def snapshot(platform: Platform) -> dict[str, Any]:
    """The whole state as JSON: memory in bytes, times in seconds."""
    limits, workers = platform.fleet.limits, list(platform.fleet.workers())
    return {
        "url": platform.url,
        "pid": os.getpid(),
        "uptime_s": round(platform.now - platform.started_at, 3),
        "memory": {
            "ram_limit": limits.ram_bytes,
            "ram_reserved": sum(worker.ram_bytes for worker in workers),
            "vram_limit": limits.vram_bytes,
            "vram_reserved": sum(worker.vram_bytes for worker in workers),
        },
        "endpoints": [_endpoint(platform, each) for each in platform.fleet.endpoints.values()],
    }


def _endpoint(platform: Platform, endpoint: Endpoint) -> dict[str, Any]:
    spec, queue = endpoint.spec, endpoint.queue
    return {
        "name": spec.name,
        "labels": dict(spec.labels),
        "queued": len(queue.waiting),
        "running": len(queue.running),
        "totals": dict(queue.totals),
        "throttled": endpoint.throttled,
        "fault": endpoint.fault,
        "min_workers": spec.min_workers,
        "max_workers": spec.max_workers,
        "ram_bytes": spec.ram_bytes,
        "workers": [_worker(platform, each) for each in endpoint.workers.values()],
    }


def _worker(platform: Platform, worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id,
        "state": worker.state,
        "external": worker.external,
        "pid": worker.pid,
        "uptime_s": round(platform.now - worker.started_at, 3),
        "rss": resident_bytes(worker.pid),
        "jobs": list(worker.jobs),
        "ending": worker.ending,
    }


def resident_bytes(pid: int | None) -> int | None:
    """Memory that a process holds now, in bytes; None when it is not ours or has gone."""
    if pid is None:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


async def show(request: Request) -> Response:
    """The snapshot."""
    return reply(snapshot(platform_of(request)))


async def shutdown(request: Request) -> Response:
    """Stop the platform once this reply is sent."""
    platform_of(request).shutdown_asked.set()
    return reply({"stopping": True})


async def alive(request: Request) -> Response:
    """Answers without a key, as the platform's own /ping."""
    return reply({})


def routes() -> list[Route]:
    """The routes of this part."""
    return [
        Route("/local/status", show, methods=["GET"]),
        Route("/local/shutdown", shutdown, methods=["POST"]),
        Route("/ping", alive, methods=["GET"]),
    ]
