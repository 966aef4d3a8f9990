"""The platform as one HTTP server on one port."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanscribe.local import admin, data_plane, objects, worker_protocol
from fanscribe.local.embedded_metrics import INTERVAL_S, embedded_metrics
from fanscribe.local.launcher import Launcher
from fanscribe.local.management import graphql, rest
from fanscribe.local.management.service import Management, ManagementSettings
from fanscribe.local.memory import Limits
from fanscribe.local.objects import ObjectLimits, ObjectStore
from fanscribe.local.platform import Behaviour, Platform
from fanscribe.local.spec import EndpointSpec
from fanscribe.local.status import snapshot
from fanscribe.local.sweep import FOLDER_PREFIX, OWNER_FILE, mark_of, sweep
from fanscribe.local.wire import reply

log = logging.getLogger("fanscribe.local")

_JOURNAL = "journal.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run the server. `data_dir` None: a temporary folder, removed at the end."""

    specs: Sequence[EndpointSpec]
    limits: Limits
    host: str = "127.0.0.1"
    port: int = 0
    key: str | None = None
    data_dir: Path | None = None
    object_limits: ObjectLimits = field(default_factory=ObjectLimits)
    behaviour: Behaviour = field(default_factory=Behaviour)
    management: ManagementSettings = field(default_factory=ManagementSettings)
    url: str | None = None
    """Where workers reach it, if that is elsewhere than it listens."""
    metrics_namespace: str | None = None
    """Where set, the state goes to standard output as CloudWatch metrics of this namespace."""


def application(platform: Platform, store: ObjectStore, management: Management) -> Starlette:
    """The routes over a platform."""
    app = Starlette(
        routes=[
            *rest.routes(),
            *graphql.routes(),
            *worker_protocol.routes(),
            *data_plane.routes(),
            *objects.routes(),
            *admin.routes(),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.state.platform = platform
    app.state.objects = store
    app.state.management = management
    return app


async def serve(
    settings: Settings, bound: socket.socket, ready: Callable[[str, Path], None], stop: asyncio.Event
) -> None:
    """Serve on a bound socket until `stop` is set or a client asks to; `ready` gets the URL and the folder of
    the logs once it answers."""
    with _data_dir(settings.data_dir) as (folder, temporary):
        launcher = Launcher(folder, key=settings.key, secrets=settings.management.secrets)
        platform = Platform(
            settings.specs, settings.limits, launcher, key=settings.key, behaviour=settings.behaviour
        )
        store = ObjectStore(folder / "objects", settings.object_limits)
        host, port = bound.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)  # noqa: S104
        platform.url = launcher.url = settings.url or f"http://{shown}:{port}"
        management = Management(platform, settings.management, None if temporary else folder)
        if not temporary:
            _read_journal(platform, folder)
        config = uvicorn.Config(
            application(platform, store, management),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
        )
        server = _Server(config)
        launcher.open(temporary)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        control = asyncio.create_task(platform.run())
        upkeep = asyncio.create_task(_upkeep(launcher, store))
        telling = asyncio.create_task(_tell_metrics(platform, settings.metrics_namespace))
        asked = asyncio.create_task(platform.shutdown_asked.wait())
        stopped = asyncio.create_task(stop.wait())
        sweeping: asyncio.Task[int] | None = None
        try:
            await server.up.wait()
            ready(platform.url, launcher.logs)
            sweeping = asyncio.create_task(asyncio.to_thread(sweep))
            await asyncio.wait({serving, control, asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                await asyncio.sleep(0.05)
        finally:
            # First: from here on no job is accepted that the journal would not have.
            platform.closing.set()
            if not temporary:
                _write_journal(platform, folder)
            await platform.close()
            server.should_exit = True
            if sweeping is not None:
                await sweeping
            for task in (upkeep, telling, asked, stopped):
                task.cancel()
            await asyncio.gather(serving, control, upkeep, telling, asked, stopped, return_exceptions=True)
        if control.done() and not control.cancelled() and (error := control.exception()) is not None:
            raise error


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop; `up` is set once it answers, or has failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _upkeep(launcher: Launcher, store: ObjectStore) -> None:
    while True:
        await asyncio.sleep(5)
        store.expire()
        await asyncio.to_thread(launcher.trim_logs)


async def _tell_metrics(platform: Platform, namespace: str | None) -> None:
    while namespace is not None:
        for line in embedded_metrics(snapshot(platform), namespace, int(time.time() * 1000)):
            print(json.dumps(line), flush=True)
        await asyncio.sleep(INTERVAL_S)


def _write_journal(platform: Platform, folder: Path) -> None:
    temporary = folder / f"{_JOURNAL}.new"
    temporary.write_text(json.dumps(platform.journal()))
    temporary.replace(folder / _JOURNAL)


def _read_journal(platform: Platform, folder: Path) -> None:
    try:
        platform.read_journal(json.loads((folder / _JOURNAL).read_text()))
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning(
            "%s is not a journal of this program, jobs of the last run are lost: %s: %s",
            folder / _JOURNAL,
            type(error).__name__,
            error,
        )
    (folder / _JOURNAL).unlink()


@contextlib.contextmanager
def _data_dir(chosen: Path | None) -> Iterator[tuple[Path, bool]]:
    if chosen is not None:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield chosen.resolve(), False
        return
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as folder:
        (Path(folder) / OWNER_FILE).write_text(mark_of(os.getpid()))
        yield Path(os.path.realpath(folder)), True


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return reply({"error": error.detail}, error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("error while answering %s %s", request.method, request.url.path, exc_info=error)
    return reply({"error": f"the local platform failed: {type(error).__name__}"}, 500)
