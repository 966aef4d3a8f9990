"""Who may call: a key in the Authorization header, and only the names this machine goes by."""

import hmac

from starlette.requests import Request

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.platform import Platform
from fanscribe.local.wire import refusal


def platform_of(request: Request) -> Platform:
    """The platform that serves this request, once its key is checked."""
    platform: Platform = request.app.state.platform
    check_key(request, platform.key)
    return platform


def check_key(request: Request, key: str | None) -> None:
    """Answer 401 unless the request carries the key, with or without `Bearer`; without one any will do."""
    given = request.headers.get("authorization", "").strip()
    if given[:7].lower() == "bearer ":
        given = given[7:].strip()
    if not given or (key is not None and not hmac.compare_digest(given.encode(), key.encode())):
        raise refusal(401, "send the platform's key in the Authorization header")


def endpoint_of(request: Request, platform: Platform) -> Endpoint:
    """The endpoint named in the path; 404 when there is none."""
    name = request.path_params["endpoint"]
    endpoint = platform.fleet.endpoints.get(name)
    if endpoint is None:
        raise refusal(404, f"endpoint {name} does not exist; there are {', '.join(platform.fleet.endpoints)}")
    return endpoint
