"""A worker's log as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fanscribe.local.management.account import Refused
from fanscribe.local.management.service import Management
from fanscribe.local.management.views import moment
from fanscribe.local.wire import encode, whole_number

_TAIL, _MOST_TAIL = 100, 5000
_LOOK_EVERY_S = 0.25
_READ_BYTES = 1 << 20
_PLACE_DIGITS = 12


async def stream(request: Request, management: Management) -> Response:
    """The last lines, then each new one until the worker has ended.

    Lines carry no time of their own: `ts` is when the platform read them. The event's id also holds the place
    in the log, from which `Last-Event-ID` goes on.
    """
    management.account.endpoint(request.path_params["id"])
    path = _log_of(request, management)
    if "since" in request.query_params:
        raise Refused(400, "since: lines carry no time on the local platform; use tail or Last-Event-ID")
    source = request.query_params.get("source", "container")
    if source not in ("container", "system"):
        raise Refused(422, "the request is not valid: source", ("source: must be container or system",))
    tail = whole_number(request.query_params.get("tail", str(_TAIL)))
    if tail is None or tail > _MOST_TAIL:
        raise Refused(422, "the request is not valid: tail", (f"tail: must be 0 to {_MOST_TAIL}",))
    place = request.headers.get("last-event-id", "").rpartition("/")[2]
    known = len(place) == _PLACE_DIGITS and place.isascii() and place.isdecimal()
    start = int(place) if known else await asyncio.to_thread(_tail_start, path, tail)
    events = _events(management, request, path, start) if source == "container" else _nothing()
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _log_of(request: Request, management: Management) -> Path:
    endpoint, worker = request.path_params["id"], request.path_params["worker"]
    path = management.platform.launcher.logs / f"{endpoint}.{worker}.log"
    # A worker's id is letters and digits; anything else would be a way out of the folder.
    if not worker.isalnum() or not path.is_file():
        raise Refused(404, f"worker {worker} of endpoint {endpoint} does not exist or its log is gone")
    return path


async def _events(management: Management, request: Request, path: Path, start: int) -> AsyncIterator[bytes]:
    endpoint, worker = request.path_params["id"], request.path_params["worker"]
    platform, place = management.platform, start
    while True:
        running = platform.fleet.endpoints.get(endpoint)
        alive = running is not None and worker in running.workers
        for end, line in await asyncio.to_thread(_lines, path, place, not alive):
            place = end
            now = moment(management.account.now())
            data = encode({"ts": now, "source": "container", "line": platform.launcher.secrets.hidden(line)})
            yield b"id: %s/%0*d\ndata: %s\n\n" % (now.encode(), _PLACE_DIGITS, place, data)
        if not alive or platform.closing.is_set():
            return
        await asyncio.sleep(_LOOK_EVERY_S)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _lines(path: Path, place: int, to_the_end: bool) -> list[tuple[int, str]]:
    """The lines from a place on, each with the place behind it; a last one without its end only at the end."""
    try:
        with path.open("rb") as file:
            # A log that has grown over its cap is cut at the front.
            file.seek(place if place <= file.seek(0, 2) else 0)
            found, position = [], file.tell()
            for line in file.readlines(_READ_BYTES):
                if not line.endswith(b"\n") and not to_the_end:
                    break
                position += len(line)
                found.append((position, line.decode("utf-8", "replace").rstrip("\r\n")))
            return found
    except OSError:
        return []


def _tail_start(path: Path, lines: int) -> int:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ_BYTES))
            last = file.read().splitlines(keepends=True)
    except OSError:
        return 0
    return size - sum(len(line) for line in last[-lines:]) if lines else size
