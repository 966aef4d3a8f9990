"""The state of the platform as one JSON object."""

import os
from typing import Any

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.platform import Platform
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
        "restarts": platform.restarts,
        "webhooks": {"delivered": platform.webhooks.delivered, "given_up": platform.webhooks.given_up},
        "faults": [rule.to_json() for rule in platform.faults.rules],
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
        "delay_s": round(queue.delay_s, 3),
        "execution_s": round(queue.execution_s, 3),
        "timed_jobs": queue.timed_jobs,
        "throttled": endpoint.throttled,
        "fault": endpoint.trouble,
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
        "rss": worker.memory_bytes,
        "vram": worker.gpu_bytes,
        "jobs": list(worker.jobs),
        "ending": worker.ending,
    }
