"""From the body of a REST request to the record it asks for."""

from dataclasses import replace
from typing import Any

from fanscribe.local.management.account import Account, Refused
from fanscribe.local.management.bodies import (
    ContainerFields,
    EndpointChange,
    GpuFields,
    NewEndpoint,
    NewTemplate,
    NewVolume,
    QueueDelay,
    TemplateChange,
    VolumeChange,
    WorkerFields,
    invalid,
)
from fanscribe.local.management.records import (
    Container,
    Cpu,
    Endpoint,
    Gpu,
    Template,
    Volume,
)

_GPU_NAMES = {
    "pools": "pools",
    "excludedTypes": "excluded_types",
    "count": "count",
    "allowedCudaVersions": "allowed_cuda",
    "minCudaVersion": "min_cuda",
}


def new_endpoint(account: Account, body: NewEndpoint) -> Endpoint:
    """The endpoint that a body asks for. Raises Refused."""
    if body.type != "QUEUE":
        raise Refused(400, "type: the local platform serves QUEUE endpoints only")
    if "image" not in body.model_fields_set and not body.templateId:
        raise invalid("image: is required where there is no templateId")
    template = _serverless_template(account, body)
    start = Endpoint(account.new_id(), body.name, Container(""), account.now(), template_id=account.new_id())
    if "gpu" in body.model_fields_set and template is not None and template.allowed_cuda:
        given = body.gpu.model_fields_set
        if "allowedCudaVersions" not in given and "minCudaVersion" not in given:
            body.gpu.allowedCudaVersions = list(template.allowed_cuda)
    return changed_endpoint(account, start, body)


def changed_endpoint(account: Account, known: Endpoint, body: EndpointChange) -> Endpoint:
    """The endpoint with what the body gives; everything else stays. Raises Refused."""
    changes: dict[str, Any] = {}
    if "name" in body.model_fields_set:
        changes["name"] = body.name
    template = _serverless_template(account, body)
    changes["container"] = _container(known.container, body, template)
    changes |= _hardware(known, body)
    if "scaling" in body.model_fields_set:
        changes["scaler"] = body.scaling.type
        waits = isinstance(body.scaling, QueueDelay)
        changes["scaler_value"] = body.scaling.queueDelay if waits else body.scaling.requestCount  # type: ignore[union-attr]
    names = {"timeout": "timeout_ms", "flashboot": "flashboot"}
    changes |= {names[name]: value for name, value in body.given(*names).items()}
    lists = {"dataCenterIds": "data_centers", "networkVolumes": "volumes"}
    changes |= {lists[name]: tuple(value) for name, value in body.given(*lists).items()}
    wanted = replace(known, **changes)
    return _with_workers(wanted, body.workers) if "workers" in body.model_fields_set else wanted


def _with_workers(endpoint: Endpoint, workers: WorkerFields) -> Endpoint:
    given = workers.given("min", "max", "idleTimeout")
    if "idleTimeout" in given and endpoint.counts_requests:
        raise Refused(400, "workers.idleTimeout: does not go with REQUEST_COUNT scaling")
    names = {"min": "workers_min", "max": "workers_max", "idleTimeout": "idle_timeout_s"}
    return replace(endpoint, **{names[name]: value for name, value in given.items()})


def _hardware(known: Endpoint, body: EndpointChange) -> dict[str, Any]:
    """The hardware asked for: of a new endpoint any, of an existing one of the same kind."""
    cpu, gpu = "cpu" in body.model_fields_set, "gpu" in body.model_fields_set
    if cpu and gpu:
        raise Refused(400, "an endpoint runs on gpu or on cpu: exactly one of the two")
    if known.releases and ((cpu and known.gpu is not None) or (gpu and known.gpu is None)):
        raise Refused(400, "an endpoint stays on gpu or on cpu: make a new one for the other")
    if cpu:
        return {"cpu": tuple(Cpu(each.id, each.vcpuCount) for each in body.cpu)}
    return {"gpu": _gpu(known.gpu, body.gpu)} if gpu else {}


def _gpu(known: Gpu | None, body: GpuFields) -> Gpu:
    given = {_GPU_NAMES[name]: value for name, value in body.given(*_GPU_NAMES).items()}
    for name in ("allowed_cuda", "excluded_types", "pools"):
        if name in given:
            given[name] = tuple(given[name])
    # The two lists are one choice: new pools take the old exclusions away.
    if "pools" in given:
        given.setdefault("excluded_types", ())
    if body.allowedCudaVersions and known is None:
        given["allowed_cuda"] = tuple(body.allowedCudaVersions)
    return Gpu(**given) if known is None else replace(known, **given)


def _serverless_template(account: Account, body: EndpointChange) -> Template | None:
    if not body.templateId:
        return None
    template = account.template(body.templateId)
    if not template.serverless:
        raise invalid(f"templateId: {body.templateId} is no serverless template")
    return template


def _container(known: Container, body: ContainerFields, template: Template | None) -> Container:
    given = body.given("image", "args", "disk", "env", "ports", "registry")
    if "ports" in given:
        given["ports"] = tuple(given["ports"])
    if template is None:
        return replace(known, **given)
    if "env" in given:
        given["env"] = {**template.container.env, **given["env"]}
    return replace(template.container, **given)


def new_template(account: Account, body: NewTemplate) -> Template:
    """The template that a body asks for."""
    return changed_template(Template(account.new_id(), body.name, Container(body.image)), body)


def changed_template(known: Template, body: TemplateChange) -> Template:
    """The template with what the body gives; everything else stays."""
    names = {
        "name": "name",
        "public": "public",
        "serverless": "serverless",
        "category": "category",
        "startSsh": "start_ssh",
        "startJupyter": "start_jupyter",
    }
    changes = {names[name]: value for name, value in body.given(*names).items()}
    if "allowedCudaVersions" in body.model_fields_set:
        changes["allowed_cuda"] = tuple(body.allowedCudaVersions)
    if "persistent" in body.mounts.model_fields_set:
        changes["mount"] = (body.mounts.persistent.size, body.mounts.persistent.path)
    return replace(known, container=_container(known.container, body, None), **changes)


def new_volume(account: Account, body: NewVolume) -> Volume:
    """The network volume that a body asks for."""
    return Volume(account.new_id(), body.name, body.size, body.dataCenter, body.type)


def changed_volume(known: Volume, body: VolumeChange) -> Volume:
    """The network volume with what the body gives."""
    return replace(known, **body.given("name", "size"))
