"""Records and running workers as the JSON of REST answers."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from fanscribe.local.endpoint import Endpoint as Running
from fanscribe.local.management.account import USER_ID
from fanscribe.local.management.catalogue import memory_gb
from fanscribe.local.management.records import Container, Endpoint, Registry, Template, Volume
from fanscribe.local.worker import Worker

_OPERATIONS = {
    "run": "run",
    "runSync": "runsync",
    "status": "status/{job_id}",
    "stream": "stream/{job_id}",
    "cancel": "cancel/{job_id}",
    "retry": "retry/{job_id}",
    "purgeQueue": "purge-queue",
    "health": "health",
}
_STATUS = {"running": "RUNNING", "draining": "RUNNING", "idle": "IDLE", "initializing": "INITIALIZING"}


def moment(when: datetime) -> str:
    """A time as RFC 3339, in UTC."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def endpoint_view(endpoint: Endpoint, url: str) -> dict[str, Any]:
    """An endpoint. `url` is the platform's."""
    shown: dict[str, Any] = {
        "id": endpoint.id,
        "name": endpoint.name,
        "type": "QUEUE",
        "requestUrls": {name: f"{url}/v2/{endpoint.id}/{path}" for name, path in _OPERATIONS.items()},
        **_container_view(endpoint.container),
    }
    if endpoint.gpu is not None:
        gpu = endpoint.gpu
        shown["gpu"] = {
            "pools": list(gpu.pools),
            "count": gpu.count,
            "allowedCudaVersions": list(gpu.allowed_cuda),
            "minCudaVersion": gpu.min_cuda or None,
        }
        if gpu.excluded_types:
            shown["gpu"]["excludedTypes"] = list(gpu.excluded_types)
    else:
        shown["cpu"] = [
            {"id": each.flavor, "vcpuCount": each.vcpus, "memory": memory_gb(each)} for each in endpoint.cpu
        ]
    workers = {"min": endpoint.workers_min, "max": endpoint.workers_max}
    scaling: dict[str, Any] = {"type": endpoint.scaler}
    if endpoint.counts_requests:
        scaling["requestCount"] = int(endpoint.scaler_value)
    else:
        workers["idleTimeout"] = endpoint.idle_timeout_s
        scaling["queueDelay"] = endpoint.scaler_value
    return {
        **shown,
        "workers": workers,
        "scaling": scaling,
        "dataCenterIds": list(endpoint.data_centers),
        "networkVolumes": list(endpoint.volumes),
        "timeout": endpoint.timeout_ms,
        "flashboot": endpoint.flashboot,
        "createdAt": moment(endpoint.created_at),
    }


def template_view(template: Template) -> dict[str, Any]:
    """A template."""
    mounts = {}
    if template.mount is not None:
        mounts = {"persistent": {"size": template.mount[0], "path": template.mount[1]}}
    return {
        "id": template.id,
        "name": template.name,
        **_container_view(template.container),
        "mounts": mounts,
        "serverless": template.serverless,
        "public": template.public,
        "category": template.category,
        "startSsh": template.start_ssh,
        "startJupyter": template.start_jupyter,
        "allowedCudaVersions": list(template.allowed_cuda),
    }


def volume_view(volume: Volume) -> dict[str, Any]:
    """A network volume."""
    return {
        "id": volume.id,
        "name": volume.name,
        "size": volume.size,
        "dataCenter": volume.data_center,
        "type": volume.type,
    }


def registry_view(registry: Registry) -> dict[str, Any]:
    """A registry credential: never more than its name."""
    return {"id": registry.id, "name": registry.name}


def workers_view(endpoint: Endpoint, running: Running, now: float, wall: datetime) -> dict[str, Any]:
    """The workers there are, and those that wait for memory or cannot come up. `now` is the platform's clock."""
    images = images_by_version(endpoint)
    shown = [_worker_view(each, endpoint, images, now, wall) for each in running.workers.values()]
    shown += [
        {"id": f"{endpoint.id}-{number}", "status": status, "gpuCount": 0, "isStale": False}
        | {"version": endpoint.version, "image": endpoint.container.image}
        | {"uptimeSeconds": None, "gpuTypeId": None, "dataCenterId": None, "startedAt": None}
        for number, status in enumerate(_absent(running))
    ]
    counts = Counter(each["status"] for each in shown)
    names = ("running", "idle", "initializing", "throttled", "unhealthy")
    return {
        "workers": shown,
        "summary": {**{name: counts[name.upper()] for name in names}, "total": len(shown)},
        "endpointVersion": endpoint.version,
    }


def releases_view(endpoint: Endpoint, running: Running) -> dict[str, Any]:
    """The releases, newest first, and how far the newest has got."""
    versions = Counter(worker.release for worker in running.workers.values())
    total, latest = len(running.workers), versions[endpoint.version]
    return {
        "endpointVersion": endpoint.version,
        "rollout": {
            "inProgress": latest < total,
            "workersOnLatest": latest,
            "workersTotal": total,
            "percentOnLatest": 100 * latest // total if total else 0,
        },
        "releases": [
            {
                "id": each.id,
                "version": each.version,
                "source": "MANUAL",
                "buildId": None,
                "createdByUserId": USER_ID,
                "workerCount": versions[each.version],
                "createdAt": moment(each.created_at),
                "diff": [{"field": one.field, "old": one.old, "new": one.new} for one in each.changes],
            }
            for each in endpoint.releases
        ],
    }


def images_by_version(endpoint: Endpoint) -> dict[int, str]:
    """The image that each release ran."""
    image, found = endpoint.container.image, {}
    for release in endpoint.releases:
        found[release.version] = image
        image = next((one.old for one in release.changes if one.field == "template.imageName"), image)
    return found


def _container_view(container: Container) -> dict[str, Any]:
    return {
        "image": container.image,
        "args": container.args,
        "disk": container.disk,
        "ports": list(container.ports),
        "env": dict(container.env),
        "registry": container.registry,
    }


def _worker_view(
    worker: Worker, endpoint: Endpoint, images: dict[int, str], now: float, wall: datetime
) -> dict[str, Any]:
    uptime_s = max(0.0, now - worker.started_at)
    return {
        "id": worker.id,
        "status": _STATUS[worker.state],
        "isStale": worker.release != endpoint.version,
        "version": worker.release,
        "gpuCount": endpoint.gpu.count if endpoint.gpu and worker.vram_bytes else 0,
        "image": None if worker.external else images.get(worker.release),
        "uptimeSeconds": int(uptime_s),
        "gpuTypeId": None,
        "dataCenterId": None,
        "startedAt": moment(datetime.fromtimestamp(wall.timestamp() - uptime_s, UTC)),
    }


def _absent(running: Running) -> list[str]:
    """The states of workers that are wanted and not there."""
    spec, waits = running.spec, bool(running.queue.waiting)
    wanted = max(spec.min_workers, min(int(waits), spec.max_workers))
    missing = max(0, wanted - len(running.workers))
    if spec.blocked:
        return ["UNHEALTHY"] * missing
    if running.throttled:
        return ["THROTTLED"] * max(1, missing)
    return ["UNHEALTHY" if running.fault else "INITIALIZING"] * missing
