"""What the platform shows of itself, its fault rules, and the way to stop it."""

from collections import deque
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from fanscribe.local.access import check_host, platform_of
from fanscribe.local.faults import FaultError, rules_from_json
from fanscribe.local.metrics import exposition
from fanscribe.local.status import snapshot
from fanscribe.local.wire import MB, parse, read_body, refusal, reply

_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


async def show(request: Request) -> Response:
    """The snapshot."""
    return reply(_snapshot(request))


async def metrics(request: Request) -> Response:
    """The same as Prometheus text."""
    text = exposition(_snapshot(request))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def page(request: Request) -> Response:
    """The same for people; the page holds no data itself and asks for the key where there is one."""
    check_host(request, request.app.state.platform)
    text = resources.files("fanscribe.local").joinpath("page.html").read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-store"})


async def show_faults(request: Request) -> Response:
    """The fault rules in force."""
    return reply([rule.to_json() for rule in platform_of(request).faults.rules])


async def set_faults(request: Request) -> Response:
    """Replace the fault rules by the list in the body."""
    platform = platform_of(request)
    try:
        rules = rules_from_json(parse(await read_body(request, MB)))
    except FaultError as error:
        raise refusal(400, str(error)) from None
    platform.faults.rules[:] = rules
    return reply([rule.to_json() for rule in rules])


async def logs(request: Request) -> Response:
    """Where each log lies, newest last: the workers' by endpoint, and the platform's own with none.

    The files outlive their workers until the platform stops.
    """
    platform = platform_of(request)
    files = sorted(platform.launcher.logs.glob("*.log"), key=_changed)
    return reply(
        [{"endpoint": path.stem.rpartition(".")[0], "path": str(path)} for path in deque(files, maxlen=200)]
    )


async def shutdown(request: Request) -> Response:
    """Stop the platform once this reply is sent."""
    platform_of(request).shutdown_asked.set()
    return reply({"stopping": True})


async def alive(request: Request) -> Response:
    """Answers without a key, as the platform's own /ping."""
    return reply({})


def _snapshot(request: Request) -> dict[str, Any]:
    platform = platform_of(request)
    return {**snapshot(platform), "management": request.app.state.management.calls.to_json()}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def routes() -> list[Route]:
    """The routes of this part."""
    return [
        Route("/local/status", show, methods=["GET"]),
        Route("/local/faults", show_faults, methods=["GET"]),
        Route("/local/faults", set_faults, methods=["PUT"]),
        Route("/local/logs", logs, methods=["GET"]),
        Route("/local/shutdown", shutdown, methods=["POST"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/ping", alive, methods=["GET"]),
        Route("/", page, methods=["GET"]),
    ]
