"""The management API's JSON <-> EndpointState. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from fanscribe.contracts.errors import AnswerError
from fanscribe.deploy.state import CPU, GPU, UNKNOWN, EndpointState, LiveEndpoint, LiveVolume, Unknown

_GPU_FIELDS = {"gpus", "excluded_gpus", "gpu_count", "min_cuda", "cuda_versions"}
_WORKER_FIELDS = {"workers.min", "workers.max", "idle_timeout_s"}


def live_endpoint(body: Mapping[str, Any], models: Mapping[str, tuple[str, ...]] | None) -> LiveEndpoint:
    """An endpoint as the platform describes it; `models` are the cached models by endpoint id, None: not told.

    What the answer leaves out is unknown. Raises AnswerError for one that cannot be read.
    """
    try:
        identity = str(body["id"])
        model = UNKNOWN if models is None else models.get(identity, ())
        return LiveEndpoint(identity, _state(body, model), str(body.get("createdAt") or ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerError(
            f"the platform describes an endpoint in a way that cannot be read: {error!r}"
        ) from error


def _state(body: Mapping[str, Any], model: tuple[str, ...] | Unknown) -> EndpointState:
    workers, gpu, cpu = body["workers"], body.get("gpu") or {}, body.get("cpu") or ()
    timeout, scaling = body.get("timeout"), body["scaling"]
    delay = scaling["type"] == "QUEUE_DELAY"
    return EndpointState(
        name=str(body["name"]),
        kind=CPU if cpu else GPU,
        image=str(body.get("image") or ""),
        env={str(name): str(value) for name, value in (body.get("env") or {}).items()},
        workers_min=int(workers["min"]),
        workers_max=int(workers["max"]),
        idle_timeout_s=workers.get("idleTimeout", UNKNOWN if delay else None),
        execution_timeout_s=UNKNOWN if timeout is None else float(timeout) / 1000,
        scaling=f"queue_delay_s={scaling['queueDelay']:g}"
        if delay
        else f"jobs_per_worker={scaling['requestCount']}",
        flashboot=body.get("flashboot", UNKNOWN),
        disk_gb=body["disk"] if body.get("disk") is not None else UNKNOWN,
        gpus=tuple(gpu.get("pools") or ()),
        excluded_gpus=tuple(sorted(gpu.get("excludedTypes") or ())),
        gpu_count=int(gpu.get("count") or 1),
        min_cuda=gpu.get("minCudaVersion") or None,
        cuda_versions=tuple(sorted(gpu.get("allowedCudaVersions") or ())),
        cpu=tuple(f"{each['id']}-{each['vcpuCount']}" for each in cpu),
        data_centres=tuple(sorted(body.get("dataCenterIds") or ())),
        volumes=tuple(sorted(body.get("networkVolumes") or ())),
        args=str(body.get("args") or ""),
        ports=tuple(body.get("ports") or ()),
        credential=body.get("registry", UNKNOWN),
        cached_model=model,
        routing=str(body.get("type") or "QUEUE"),
    )


def live_volume(body: Mapping[str, Any]) -> LiveVolume:
    """A network volume as the platform describes it. Raises AnswerError for one that cannot be read."""
    try:
        return LiveVolume(str(body["id"]), str(body["name"]), str(body["dataCenter"]), int(body["size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(
            f"the platform describes a volume in a way that cannot be read: {error!r}"
        ) from error


def create_body(state: EndpointState) -> dict[str, Any]:
    """What POST /serverless takes. The cached model is no part of it: REST has no field for it."""
    body: dict[str, Any] = {
        "name": state.name,
        "type": state.routing,
        "image": state.image,
        "env": dict(state.env),
        "workers": _workers(state),
        "scaling": _scaling(state.scaling),
        "timeout": _milliseconds(state),
        "flashboot": state.flashboot,
        "disk": state.disk_gb,
        "dataCenterIds": list(state.data_centres),
        "networkVolumes": list(state.volumes),
    }
    if state.credential:
        body["registry"] = state.credential
    if state.kind == CPU:
        body["cpu"] = _cpu(state.cpu)
        return body
    body["gpu"] = {"pools": list(state.gpus), "count": state.gpu_count}
    if state.excluded_gpus:
        body["gpu"]["excludedTypes"] = list(state.excluded_gpus)
    if state.min_cuda:
        body["gpu"]["minCudaVersion"] = state.min_cuda
    return body


def patch_body(state: EndpointState, changed: Iterable[str]) -> dict[str, Any]:
    """What PATCH /serverless/{id} takes to bring these fields to what `state` says; nothing else is mentioned."""
    names = set(changed)
    body: dict[str, Any] = {}
    simple: dict[str, tuple[str, Any]] = {
        "name": ("name", state.name),
        "image": ("image", state.image),
        "args": ("args", state.args),
        "ports": ("ports", list(state.ports)),
        "disk_gb": ("disk", state.disk_gb),
        "credential": ("registry", state.credential),
        "scaling": ("scaling", _scaling(state.scaling)),
        "flashboot": ("flashboot", state.flashboot),
        "data_centres": ("dataCenterIds", list(state.data_centres)),
        "volumes": ("networkVolumes", list(state.volumes)),
    }
    for name in sorted(names):
        if name in simple:
            key, value = simple[name]
            body[key] = value
        elif name.startswith("env."):
            body["env"] = dict(state.env)
        elif name in _WORKER_FIELDS:
            body["workers"] = _workers(state)
        elif name == "execution_timeout_s":
            body["timeout"] = _milliseconds(state)
        elif name == "cpu":
            body["cpu"] = _cpu(state.cpu)
    if gpu := _gpu_patch(state, names & _GPU_FIELDS):
        body["gpu"] = gpu
    return body


def _gpu_patch(state: EndpointState, names: set[str]) -> dict[str, Any]:
    gpu: dict[str, Any] = {}
    if names & {"gpus", "excluded_gpus"}:
        # The two are one selection: pools without exclusions would clear them.
        gpu |= {"pools": list(state.gpus), "excludedTypes": list(state.excluded_gpus)}
    if "gpu_count" in names:
        gpu["count"] = state.gpu_count
    if "min_cuda" in names:
        gpu["minCudaVersion"] = state.min_cuda or ""
    if "cuda_versions" in names:
        gpu["allowedCudaVersions"] = list(state.cuda_versions)
    return gpu


def _workers(state: EndpointState) -> dict[str, Any]:
    idle = {} if state.idle_timeout_s is None else {"idleTimeout": state.idle_timeout_s}
    return {"min": state.workers_min, "max": state.workers_max, **idle}


def _scaling(text: str) -> dict[str, Any]:
    kind, _, value = text.partition("=")
    if kind == "queue_delay_s":
        return {"type": "QUEUE_DELAY", "queueDelay": float(value)}
    return {"type": "REQUEST_COUNT", "requestCount": int(value)}


def _cpu(names: Iterable[str]) -> list[dict[str, Any]]:
    pairs = (each.rpartition("-") for each in names)
    return [{"id": flavour, "vcpuCount": int(vcpus)} for flavour, _, vcpus in pairs]


def _milliseconds(state: EndpointState) -> int:
    assert not isinstance(state.execution_timeout_s, Unknown)
    return round(state.execution_timeout_s * 1000)
