"""The routes of REST v2."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.management import logs, views
from fanscribe.local.management.account import Refused
from fanscribe.local.management.gate import admit, problem, through
from fanscribe.local.management.records import Registry
from fanscribe.local.management.service import Management
from fanscribe.local.wire import MB, parse, read_body, reply

Handler = Callable[[Request, Management], Awaitable[Response]]
NO_CONTENT = 204
CREATED = 201


async def list_endpoints(request: Request, management: Management) -> Response:
    """All endpoints."""
    held = management.account.holdings.endpoints.values()
    return reply({"endpoints": [views.endpoint_view(each, management.url) for each in held]})


async def create_endpoint(request: Request, management: Management) -> Response:
    """A new endpoint."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    made = account.save_endpoint(edits.new_endpoint(account, bodies.read(bodies.NewEndpoint, body)))
    return reply(views.endpoint_view(made, management.url), CREATED)


async def show_endpoint(request: Request, management: Management) -> Response:
    """One endpoint."""
    return reply(views.endpoint_view(management.account.endpoint(_id(request)), management.url))


async def change_endpoint(request: Request, management: Management) -> Response:
    """Change what the body gives of an endpoint."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    known = account.endpoint(_id(request))
    change = bodies.read(bodies.EndpointChange, body)
    made = account.save_endpoint(edits.changed_endpoint(account, known, change))
    return reply(views.endpoint_view(made, management.url))


async def delete_endpoint(request: Request, management: Management) -> Response:
    """Delete an endpoint that has no workers."""
    management.account.delete_endpoint(_id(request))
    return Response(status_code=NO_CONTENT)


async def list_workers(request: Request, management: Management) -> Response:
    """The workers of an endpoint."""
    endpoint, running = management.running(_id(request))
    platform = management.platform
    return reply(views.workers_view(endpoint, running, platform.now, management.account.now()))


async def list_releases(request: Request, management: Management) -> Response:
    """The releases of an endpoint."""
    return reply(views.releases_view(*management.running(_id(request))))


async def list_templates(request: Request, management: Management) -> Response:
    """All templates."""
    held = management.account.holdings.templates.values()
    return reply({"templates": [views.template_view(each) for each in held]})


async def create_template(request: Request, management: Management) -> Response:
    """A new template."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    made = account.save_template(edits.new_template(account, bodies.read(bodies.NewTemplate, body)))
    return reply(views.template_view(made), CREATED)


async def show_template(request: Request, management: Management) -> Response:
    """One template."""
    return reply(views.template_view(management.account.template(_id(request))))


async def change_template(request: Request, management: Management) -> Response:
    """Change what the body gives of a template. Endpoints made from it stay as they are."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    known = account.template(_id(request))
    change = bodies.read(bodies.TemplateChange, body)
    return reply(views.template_view(account.save_template(edits.changed_template(known, change))))


async def delete_template(request: Request, management: Management) -> Response:
    """Delete a template that no endpoint is bound to."""
    management.account.delete_template(_id(request))
    return Response(status_code=NO_CONTENT)


async def list_volumes(request: Request, management: Management) -> Response:
    """All network volumes."""
    held = management.account.holdings.volumes.values()
    return reply({"networkVolumes": [views.volume_view(each) for each in held]})


async def create_volume(request: Request, management: Management) -> Response:
    """A new network volume."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    made = account.save_volume(edits.new_volume(account, bodies.read(bodies.NewVolume, body)))
    return reply(views.volume_view(made), CREATED)


async def show_volume(request: Request, management: Management) -> Response:
    """One network volume."""
    return reply(views.volume_view(management.account.volume(_id(request))))


async def change_volume(request: Request, management: Management) -> Response:
    """Rename a network volume, or make it larger."""
    body = await _body(request)
    from fanscribe.local.management import bodies, edits

    account = management.account
    known = account.volume(_id(request))
    change = bodies.read(bodies.VolumeChange, body)
    return reply(views.volume_view(account.save_volume(edits.changed_volume(known, change))))


async def delete_volume(request: Request, management: Management) -> Response:
    """Delete a network volume that no endpoint uses."""
    management.account.delete_volume(_id(request))
    return Response(status_code=NO_CONTENT)


async def list_registries(request: Request, management: Management) -> Response:
    """All registry credentials."""
    held = management.account.holdings.registries.values()
    return reply({"registries": [views.registry_view(each) for each in held]})


async def create_registry(request: Request, management: Management) -> Response:
    """A new registry credential, of which only the name is kept: nothing is pulled here."""
    body = await _body(request)
    from fanscribe.local.management import bodies

    account, fields = management.account, bodies.read(bodies.NewRegistry, body)
    made = account.save_registry(Registry(account.new_id(), fields.name))
    return reply(views.registry_view(made), CREATED)


async def show_registry(request: Request, management: Management) -> Response:
    """One registry credential."""
    return reply(views.registry_view(management.account.registry(_id(request))))


async def delete_registry(request: Request, management: Management) -> Response:
    """Delete a registry credential that no endpoint uses."""
    management.account.delete_registry(_id(request))
    return Response(status_code=NO_CONTENT)


async def not_here(request: Request, management: Management) -> Response:
    """Any other path of the API."""
    raise Refused(404, "the local platform has no such path; docs/local-platform.md lists what it emulates")


async def _body(request: Request) -> Any:
    return parse(await read_body(request, MB))


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    return found


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    """A path with its methods; any other method is answered 405."""

    async def call(request: Request) -> Response:
        management: Management = request.app.state.management
        platform = management.platform
        if (refused := admit(request, platform, problem)) is not None:
            return refused
        method = "GET" if request.method == "HEAD" else request.method
        operation, target = f"{method} {path}", request.path_params.get("id", "")
        management.calls.count(operation, write=method != "GET")

        async def carry_out() -> tuple[Response, bool]:
            handler = handlers.get(request.method)
            if handler is None:
                response = problem(405, f"{request.url.path} does not take {request.method}")
                response.headers["Allow"] = ", ".join(handlers)
                return response, False
            try:
                return await handler(request, management), True
            except Refused as error:
                return problem(error.status, error.detail, error.errors), False
            except HTTPException as error:
                return problem(error.status_code, error.detail), False

        return await through(platform, operation, target, carry_out, problem)

    return Route(path, call, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])


def routes() -> list[Route]:
    """The routes of this API, to be asked before those of endpoints: the same /v2 holds both."""
    base = "/v2/serverless"
    table: dict[str, dict[str, Handler]] = {
        base: {"GET": list_endpoints, "POST": create_endpoint},
        f"{base}/{{id}}": {"GET": show_endpoint, "PATCH": change_endpoint, "DELETE": delete_endpoint},
        f"{base}/{{id}}/workers": {"GET": list_workers},
        f"{base}/{{id}}/releases": {"GET": list_releases},
        f"{base}/{{id}}/workers/{{worker}}/logs": {"GET": logs.stream},
        "/v2/templates": {"GET": list_templates, "POST": create_template},
        "/v2/templates/{id}": {"GET": show_template, "PATCH": change_template, "DELETE": delete_template},
        "/v2/network-volumes": {"GET": list_volumes, "POST": create_volume},
        "/v2/network-volumes/{id}": {"GET": show_volume, "PATCH": change_volume, "DELETE": delete_volume},
        "/v2/registries": {"GET": list_registries, "POST": create_registry},
        "/v2/registries/{id}": {"GET": show_registry, "DELETE": delete_registry},
    }
    rest = ("serverless", "templates", "network-volumes", "registries")
    absent = ("pods", "clusters", "catalog", "billing", "account")
    others = [f"/v2/{name}/{{rest:path}}" for name in (*rest, *absent)] + [f"/v2/{name}" for name in absent]
    table |= {path: dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), not_here) for path in others}
    return [_route(path, handlers) for path, handlers in table.items()]
