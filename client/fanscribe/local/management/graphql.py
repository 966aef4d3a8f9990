"""The GraphQL route: parsed, validated and carried out by the reference implementation of the language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.management.account import USER_ID, Account, Refused
from fanscribe.local.management.catalogue import POOLS, gpu_ids, instance_id
from fanscribe.local.management.gate import admit, through
from fanscribe.local.management.inputs import container_of, endpoint_from, template_from
from fanscribe.local.management.records import Container, Endpoint, Registry, Template, Volume
from fanscribe.local.management.schema import SDL
from fanscribe.local.management.service import Management
from fanscribe.local.management.views import moment
from fanscribe.local.wire import MB, parse, read_body, reply

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema

Root = Mapping[str, Callable[..., Any]]


async def answer(request: Request) -> Response:
    """Carry out one document."""
    management: Management = request.app.state.management
    if (refused := admit(request, management.platform, _refuse, query_key=True)) is not None:
        return refused
    try:
        body = parse(await read_body(request, MB))
    except HTTPException as error:
        return _refuse(error.status_code, error.detail)
    query = body.get("query") if isinstance(body, dict) else None
    variables = body.get("variables") if isinstance(body, dict) else None
    if not isinstance(query, str) or not isinstance(variables, dict | None):
        return _refuse(400, 'the body must be a JSON object with a "query" and perhaps "variables"')

    from graphql import GraphQLSyntaxError
    from graphql import parse as parsed

    try:
        document = parsed(query, no_location=True)
    except GraphQLSyntaxError as error:
        return _refuse(400, error.message)
    operation, write = _operation(document)
    management.calls.count(operation, write=write)

    async def carry_out() -> tuple[Response, bool]:
        return _carried_out(management, document, variables, body.get("operationName"))

    target = _target(variables)
    return await through(management.platform, operation, target, carry_out, _refuse)


def _carried_out(
    management: Management, document: "DocumentNode", variables: dict[str, Any] | None, name: Any
) -> tuple[Response, bool]:
    from graphql import execute_sync, validate

    schema = _schema()
    faults = validate(schema, document)
    if faults:
        return reply({"errors": [{"message": each.message} for each in faults]}, 400), False
    chosen = name if isinstance(name, str) else None
    answers = root(management.account, management.settings.secrets.names)
    result = execute_sync(schema, document, answers, variable_values=variables, operation_name=chosen)
    said: dict[str, Any] = {"data": result.data}
    if result.errors:
        for error in result.errors:
            if error.original_error is not None and not isinstance(error.original_error, Refused):
                raise error.original_error
        said["errors"] = [
            {"message": each.message, **({"path": each.path} if each.path else {})} for each in result.errors
        ]
    return reply(said), not result.errors


def root(account: Account, secret_names: Sequence[str]) -> Root:
    """What the fields of queries and mutations are answered with."""

    def save_endpoint(info: Any, input: dict[str, Any]) -> dict[str, Any]:
        return _endpoint(account, account.save_endpoint(endpoint_from(account, input)))

    def update_template(info: Any, input: dict[str, Any]) -> dict[str, Any]:
        known = account.endpoint(input["endpointId"])
        template_id, container = container_of(account, known, input)
        wanted = replace(known, template_id=template_id, container=container)
        return _endpoint(account, account.save_endpoint(wanted))

    def save_template(info: Any, input: dict[str, Any]) -> dict[str, Any]:
        template = account.save_template(template_from(account, input))
        bound = account.bound_to(template.id)
        if bound is not None:
            account.save_endpoint(replace(bound, container=template.container))
        return _template(template)

    def delete_template(info: Any, templateName: str) -> None:  # noqa: N803 - the schema's name
        for template in account.holdings.templates.values():
            if template.name == templateName:
                account.delete_template(template.id)
                return
        raise Refused(404, f"template {templateName} does not exist in this account")

    def save_registry(info: Any, input: dict[str, Any]) -> dict[str, Any]:
        made = account.save_registry(Registry(account.new_id(), input["name"]))
        return {"id": made.id, "name": made.name}

    def delete_registry(info: Any, registryAuthId: str) -> None:  # noqa: N803
        account.delete_registry(registryAuthId)

    def pod_template(info: Any, id: str) -> dict[str, Any]:
        bound = account.bound_to(id)
        return _template_of(account, bound) if bound is not None else _template(account.template(id))

    return {
        "myself": lambda info: _user(account, secret_names),
        "serverlessGpuPools": lambda info: [
            {"id": pool, "gpuTypeIds": list(types)} for pool, types in POOLS.items()
        ],
        "podTemplate": pod_template,
        "saveEndpoint": save_endpoint,
        "deleteEndpoint": lambda info, id: account.delete_endpoint(id),
        "updateEndpointTemplate": update_template,
        "saveTemplate": save_template,
        "deleteTemplate": delete_template,
        "saveRegistryAuth": save_registry,
        "deleteRegistryAuth": delete_registry,
    }


def _user(account: Account, secret_names: Sequence[str]) -> dict[str, Any]:
    held = account.holdings
    return {
        "id": USER_ID,
        "email": None,
        "maxServerlessConcurrency": account.worker_limit,
        "secrets": [{"id": name, "name": name} for name in secret_names],
        "endpoints": [_endpoint(account, each) for each in held.endpoints.values()],
        "endpoint": lambda info, id=None: _endpoint(account, account.endpoint(id or "")),
        "podTemplates": [_template(each) for each in held.templates.values()],
        "networkVolumes": [_volume(each) for each in held.volumes.values()],
        "containerRegistryCreds": [{"id": each.id, "name": each.name} for each in held.registries.values()],
    }


def _endpoint(account: Account, endpoint: Endpoint) -> dict[str, Any]:
    gpu, volumes = endpoint.gpu, [account.volume(each) for each in endpoint.volumes]
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "type": "QB",
        "userId": USER_ID,
        "version": endpoint.version,
        "createdAt": moment(endpoint.created_at),
        "aiKey": None,
        "templateId": endpoint.template_id,
        "template": _template_of(account, endpoint),
        "env": _env(endpoint.container),
        "gpuIds": gpu_ids(gpu),
        "gpuCount": gpu.count if gpu else 0,
        "instanceIds": [instance_id(each) for each in endpoint.cpu],
        "computeType": "GPU" if gpu else "CPU",
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "workersStandby": 0,
        "locations": ",".join(endpoint.data_centers),
        "networkVolumeId": volumes[0].id if volumes else None,
        "networkVolumeIds": [
            {"networkVolumeId": each.id, "dataCenterId": each.data_center} for each in volumes
        ],
        "networkVolume": _volume(volumes[0]) if volumes else None,
        "idleTimeout": endpoint.idle_timeout_s,
        "scalerType": endpoint.scaler,
        "scalerValue": max(1, round(endpoint.scaler_value)),
        "executionTimeoutMs": endpoint.timeout_ms,
        "minCudaVersion": gpu.min_cuda if gpu else "",
        "allowedCudaVersions": ",".join(gpu.allowed_cuda) if gpu else "",
        "flashBootType": endpoint.flashboot,
        "modelReferences": list(endpoint.models),
    }


def _template_of(account: Account, endpoint: Endpoint) -> dict[str, Any]:
    """The template an endpoint is bound to; one made by REST has none but its own container."""
    bound = account.holdings.templates.get(endpoint.template_id)
    name = f"{endpoint.name}__template__{endpoint.template_id}" if bound is None else bound.name
    shown = Template(endpoint.template_id, name, endpoint.container, serverless=True)
    return _template(shown)


def _template(template: Template) -> dict[str, Any]:
    container, (size, path) = template.container, template.mount or (0, "")
    return {
        "id": template.id,
        "name": template.name,
        "imageName": container.image,
        "dockerArgs": container.args,
        "containerDiskInGb": container.disk,
        "volumeInGb": size,
        "volumeMountPath": path,
        "ports": ",".join(container.ports),
        "env": _env(container),
        "isServerless": template.serverless,
        "isPublic": template.public,
        "containerRegistryAuthId": container.registry,
    }


def _env(container: Container) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in container.env.items()]


def _volume(volume: Volume) -> dict[str, Any]:
    return {"id": volume.id, "name": volume.name, "size": volume.size, "dataCenterId": volume.data_center}


@cache
def _schema() -> "GraphQLSchema":
    from graphql import build_schema

    return build_schema(SDL)


def _operation(document: "DocumentNode") -> tuple[str, bool]:
    """The root fields of a document, joined, and whether one of its operations is a mutation."""
    from graphql import FieldNode, OperationDefinitionNode, OperationType

    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    names = [
        field.name.value
        for each in operations
        for field in each.selection_set.selections
        if isinstance(field, FieldNode)
    ]
    write = any(each.operation is OperationType.MUTATION for each in operations)
    return ",".join(names), write


def _target(variables: dict[str, Any] | None) -> str:
    """The id of the endpoint that a document's variables name, if they do."""
    given = {**(variables or {})}
    inner = given.get("input")
    found = (inner if isinstance(inner, dict) else given).get("id")
    return found if isinstance(found, str) else ""


def _refuse(status: int, detail: str) -> Response:
    return reply({"errors": [{"message": detail}], "data": None}, status)


def routes() -> list[Route]:
    """The route of this API."""
    return [Route("/graphql", answer, methods=["POST"])]
