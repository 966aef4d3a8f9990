"""From the inputs of GraphQL mutations to records, with the older API's defaults and its traps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fanscribe.local.management.account import Account, Refused
from fanscribe.local.management.catalogue import FLAVORS
from fanscribe.local.management.records import OFF, Container, Cpu, Endpoint, Gpu, Template
from fanscribe.local.spec import QUEUE_DELAY, REQUEST_COUNT

SHORTEST_NAME = 3
DEFAULT_TIMEOUT_MS = 600_000


def endpoint_from(account: Account, given: Mapping[str, Any]) -> Endpoint:
    """The endpoint that `saveEndpoint` asks for. Raises Refused.

    What an update leaves out of workers, scaling, timeouts and placement falls back to its default; name,
    container, hardware and cached models stay.
    """
    if given.get("type") not in (None, "QB"):
        raise Refused(400, "type: the local platform serves QB endpoints only")
    known = account.endpoint(given["id"]) if given.get("id") else None
    start = known or Endpoint(
        account.new_id(), given.get("name") or "", Container(""), account.now(), account.new_id()
    )
    name = given.get("name") or start.name
    if len(name) < SHORTEST_NAME:
        raise Refused(400, f"name: must have {SHORTEST_NAME} characters or more")
    scaler = given.get("scalerType") or QUEUE_DELAY
    if scaler not in (QUEUE_DELAY, REQUEST_COUNT):
        raise Refused(400, f"scalerType: must be {QUEUE_DELAY} or {REQUEST_COUNT}")
    template_id, container = container_of(account, start, given)
    return replace(
        start,
        name=name,
        template_id=template_id,
        container=container,
        **_hardware(start, given),
        workers_min=_number(given, "workersMin", 0, 0),
        workers_max=_number(given, "workersMax", 0, 3),
        idle_timeout_s=_number(given, "idleTimeout", 1, 10),
        scaler=scaler,
        scaler_value=float(_number(given, "scalerValue", 1, 4)),
        timeout_ms=_number(given, "executionTimeoutMs", 0, DEFAULT_TIMEOUT_MS),
        flashboot=given.get("flashBootType") or OFF,
        data_centers=_listed(given.get("locations")),
        volumes=_volumes(given),
        models=start.models if given.get("modelReferences") is None else tuple(given["modelReferences"]),
    )


def container_of(account: Account, known: Endpoint, given: Mapping[str, Any]) -> tuple[str, Container]:
    """The template an endpoint is bound to and its container, by `template` or `templateId`. Raises Refused."""
    inline, template_id = given.get("template"), given.get("templateId")
    if inline is not None:
        return known.template_id, container_from(inline)
    if not template_id or template_id == known.template_id:
        if not known.container.image:
            raise Refused(400, "an endpoint needs a templateId or a template")
        return known.template_id, known.container
    template = account.template(template_id)
    if not template.serverless:
        raise Refused(400, f"template {template_id} is no serverless template")
    bound = account.bound_to(template_id)
    if bound is not None and bound.id != known.id:
        raise Refused(400, f"template {template_id} is bound to endpoint {bound.id} already")
    return template_id, template.container


def container_from(given: Mapping[str, Any]) -> Container:
    """The container settings in a template's input."""
    env = {each["key"]: each["value"] for each in given.get("env") or ()}
    disk = _number(given, "containerDiskInGb", 1, 20)
    ports = _listed(given.get("ports"))
    registry = given.get("containerRegistryAuthId") or None
    return Container(given["imageName"], given.get("dockerArgs") or "", disk, env, ports, registry)


def template_from(account: Account, given: Mapping[str, Any]) -> Template:
    """The template that `saveTemplate` asks for. Raises Refused."""
    known = account.template(given["id"]) if given.get("id") else None
    same = [each for each in account.holdings.templates.values() if each.name == given["name"]]
    if any(known is None or each.id != known.id for each in same):
        raise Refused(400, f"name: there is a template {given['name']} already")
    volume_gb = given.get("volumeInGb") or 0
    if given.get("isServerless") and volume_gb:
        raise Refused(400, "volumeInGb: a serverless template has no volume; send 0")
    start = known or Template(account.new_id(), given["name"], Container(""))
    return replace(
        start,
        name=given["name"],
        container=container_from(given),
        serverless=bool(given.get("isServerless")),
        public=bool(given.get("isPublic")),
        start_ssh=given.get("startSsh") is not False,
        start_jupyter=given.get("startJupyter") is not False,
        mount=(volume_gb, given.get("volumeMountPath") or "/workspace") if volume_gb else None,
    )


def _hardware(known: Endpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    gpu_ids, instances = given.get("gpuIds"), given.get("instanceIds")
    if gpu_ids and instances:
        raise Refused(400, "an endpoint runs on gpuIds or on instanceIds: exactly one of the two")
    if known.releases and ((gpu_ids and known.gpu is None) or (instances and known.gpu is not None)):
        raise Refused(400, "an endpoint stays on gpu or on cpu: make a new one for the other")
    if instances:
        return {"cpu": tuple(_cpu(each) for each in instances)}
    gpu = known.gpu
    if gpu_ids:
        chosen = _listed(gpu_ids)
        pools = tuple(each for each in chosen if not each.startswith("-"))
        excluded = tuple(each.removeprefix("-") for each in chosen if each.startswith("-"))
        gpu = replace(gpu or Gpu(pools), pools=pools, excluded_types=excluded)
    if gpu is None:
        return {}
    gpu = replace(gpu, count=_number(given, "gpuCount", 1, 1))
    if given.get("allowedCudaVersions") is not None:
        gpu = replace(gpu, allowed_cuda=_listed(given["allowedCudaVersions"]))
    if given.get("minCudaVersion") is not None:
        gpu = replace(gpu, min_cuda=given["minCudaVersion"])
    return {"gpu": gpu}


def _cpu(instance: str) -> Cpu:
    flavor, _, rest = instance.partition("-")
    vcpus, _, memory = rest.partition("-")
    if flavor in FLAVORS and vcpus.isdecimal() and memory == str(int(vcpus) * FLAVORS[flavor]):
        return Cpu(flavor, int(vcpus))
    raise Refused(400, f"instanceIds: {instance} is no instance; one is cpu3g-4-16")


def _volumes(given: Mapping[str, Any]) -> tuple[str, ...]:
    several = tuple(each["networkVolumeId"] for each in given.get("networkVolumeIds") or ())
    return several or ((given["networkVolumeId"],) if given.get("networkVolumeId") else ())


def _number(given: Mapping[str, Any], name: str, least: int, default: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if value < least:
        raise Refused(400, f"{name}: must be {least} or more")
    return int(value)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part for each in (text or "").split(",") if (part := each.strip()))
