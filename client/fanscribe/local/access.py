"""Who may call, and what every call passes first: key, host name, faults on purpose, rate limits."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.faults import ERROR, WORKER
from fanscribe.local.platform import Platform
from fanscribe.local.rates import TooManyRequestsError
from fanscribe.local.wire import refusal, reply

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

Handler = Callable[[Request, Platform, Endpoint], Awaitable[Response]]

# The SDK asks again at once after an error: without a pause a worker would spin.
WORKER_ERROR_PAUSE_S = 0.25


def route(path: str, handler: Handler, *, calls: str, methods: list[str], operation: str = "") -> Route:
    """A route of an endpoint. `operation` names its rate limit; `calls` says whose requests these are."""

    async def call(request: Request) -> Response:
        platform = platform_of(request)
        endpoint = endpoint_of(request, platform)
        try:
            check_open(platform, endpoint)
            _misfortune(platform, endpoint, calls, path.split("/")[3])
        except HTTPException:
            if calls == WORKER:
                await asyncio.sleep(WORKER_ERROR_PAUSE_S)
            raise
        try:
            with platform.rates.request(endpoint.spec.name, operation):
                return await handler(request, platform, endpoint)
        except TooManyRequestsError as error:
            response = reply({"error": str(error)}, 429)
            response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
            return response

    return Route(path, call, methods=methods)


def platform_of(request: Request) -> Platform:
    """The platform that serves this request, once its key is checked."""
    platform: Platform = request.app.state.platform
    check_caller(request, platform)
    return platform


def check_caller(request: Request, platform: Platform, *, query_key: bool = False) -> None:
    """Answer 401 unless the request carries the key, with or without `Bearer`; without one any text will do.

    Where the platform allows it, `query_key`, the key may be in `?api_key`.
    """
    check_host(request, platform)
    given = request.headers.get("authorization", "").strip()
    # Where any key will do, one in the URL would let a page on the web in, which cannot set the header.
    if not given and query_key and platform.key is not None:
        given = request.query_params.get("api_key", "").strip()
    if given[:7].lower() == "bearer ":
        given = given[7:].strip()
    if not given or (
        platform.key is not None and not hmac.compare_digest(given.encode(), platform.key.encode())
    ):
        raise refusal(401, "send the platform's key in the Authorization header")


def check_host(request: Request, platform: Platform) -> None:
    """Answer 403 to another host's name while any key will do: such a request comes from a page on the web."""
    if platform.key is None and request.url.hostname not in LOOPBACK_NAMES:
        raise refusal(403, "without a key the platform answers to 127.0.0.1 and localhost only")


def endpoint_of(request: Request, platform: Platform) -> Endpoint:
    """The endpoint named in the path; 404 when there is none."""
    name = request.path_params["endpoint"]
    endpoint = platform.fleet.endpoints.get(name)
    if endpoint is None:
        there = ", ".join(platform.fleet.endpoints) or "none"
        raise refusal(404, f"endpoint {name} does not exist; there are {there}")
    return endpoint


def check_exists(endpoint: Endpoint) -> None:
    """Answer 404 once the endpoint is deleted."""
    if endpoint.deleted:
        raise refusal(404, f"endpoint {endpoint.spec.name} was deleted")


def check_open(platform: Platform, endpoint: Endpoint) -> None:
    """Answer 502 or 503 when the platform has gone away or stops: what a request changes now would be lost.

    404 once the endpoint is deleted. To be asked again after every wait within a request, for the body above all.
    """
    check_exists(endpoint)
    if platform.away or not platform.serves(endpoint):
        raise refusal(502, "the platform is restarting")
    if platform.closing.is_set():
        raise refusal(503, "the platform stops")


def _misfortune(platform: Platform, endpoint: Endpoint, calls: str, operation: str) -> None:
    rule = platform.faults.strike(ERROR, endpoint.spec.name, calls, operation)
    if rule is not None:
        raise refusal(rule.status, "a fault on purpose")
