"""Which orchestrator endpoint a client calls, and where it puts the audio that does not fit into a request."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanscribe.bucket import BucketUploads, open_uploads
from fanscribe.connection import (
    ENDPOINTS_FILE,
    PlatformChoice,
    default_file,
    local_face,
    named_file,
    open_local,
    project_of,
    runpod_face,
    usable_key,
)
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.deploy import account
from fanscribe.deploy.discovery import deployed_orchestrator
from fanscribe.deploy.local import local_specs
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.endpoints_schema import OrchestratorConfig
from fanscribe.pipeline.platform import Platform

if TYPE_CHECKING:
    from fanscribe.deploy.management import Management
    from fanscribe.local.process import RunningPlatform

ANY = "orchestrator"
"""The name that stands for the project's orchestrator, whatever it is called."""


@dataclass(slots=True)
class RemoteConnection:
    """An orchestrator that can be called; `close` also ends a local platform that was started for it.

    `uploads` is the user's bucket, None where none is named.
    """

    platform: Platform
    endpoint_id: str
    uploads: BucketUploads | None = None
    local: "RunningPlatform | None" = None

    async def close(self) -> None:
        """Release the connection and whatever was started for it."""
        try:
            await self.platform.http.aclose()
            if self.uploads is not None:
                self.uploads.close()
        finally:
            if self.local is not None:
                await asyncio.to_thread(self.local.stop)


async def connect_remote(
    choice: PlatformChoice,
    name: str,
    *,
    endpoints_file: Path | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RemoteConnection:
    """The orchestrator called `name` in endpoints.toml, or an endpoint's id on Runpod, which needs no file.

    `auto` is Runpod where there is a key and such an orchestrator, else the local platform, which is started where
    none is up. Raises UsageError where there is none, CatalogueError for faults in endpoints.toml, PlatformError.
    """
    key = usable_key(api_key, environment)
    file = endpoints_file or default_file(environment)
    if choice is PlatformChoice.RUNPOD and not key:
        raise UsageError(
            "--platform runpod: there is no API key; set RUNPOD_API_KEY, or use --platform local"
        )
    if key and choice is not PlatformChoice.LOCAL:
        found = await _on_runpod(key, name, file, environment)
        if found is not None:
            url = base_url or environment.get("RUNPOD_ENDPOINT_BASE_URL")
            uploads = await asyncio.to_thread(open_uploads, environment)
            return RemoteConnection(runpod_face(key, url), found, uploads)
        if choice is PlatformChoice.RUNPOD:
            raise UsageError(_nothing_on_runpod(name, file))
    return await _on_local(name, endpoints_file or named_file(environment), environment)


async def _on_runpod(key: str, name: str, file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The id of the orchestrator: as the file says, as it was deployed, else what was named is the id itself."""
    config = _configured(file) if file is not None else None
    if file is not None and config is not None and name in (ANY, config.name):
        return config.id or await _deployed(account.runpod(key, environment), file)
    return None if name == ANY else name


async def _on_local(name: str, file: Path | None, environment: Mapping[str, str]) -> RemoteConnection:
    running, owned = await open_local(lambda: local_specs(file, orchestrator=True), environment)
    try:
        found = await _of_local(running, name, file)
        if found is None:
            raise UsageError(_nothing_on_local(running, name, file, owned))
    except BaseException:
        if owned:
            await asyncio.to_thread(running.stop)
        raise
    return RemoteConnection(local_face(running), found, None, running if owned else None)


async def _of_local(running: "RunningPlatform", name: str, file: Path | None) -> str | None:
    status = await asyncio.to_thread(running.status)
    there = [each["name"] for each in status["endpoints"] if _is_orchestrator(each)]
    config = _configured(file) if file is not None else None
    wanted = config.name if config is not None and name == ANY else name
    if wanted in there:
        return wanted
    if file is not None and config is not None and wanted == config.name:
        return await _deployed(account.local(running.url, running.key), file)  # by `deploy --platform local`
    return there[0] if file is None and name == ANY and len(there) == 1 else None


def _is_orchestrator(endpoint: Mapping[str, Any]) -> bool:
    return bool(endpoint.get("labels", {}).get("orchestrator"))


async def _deployed(management: "Management", file: Path) -> str | None:
    try:
        found = await deployed_orchestrator(management, project_of(file))
    finally:
        await management.http.aclose()
    return found.id if found is not None else None


def _configured(file: Path) -> OrchestratorConfig | None:
    faults: list[str] = []
    config = read_endpoints_file(file, faults)
    if config is None or faults:
        raise CatalogueError(faults)
    return config.orchestrator


def _nothing_on_runpod(name: str, file: Path | None) -> str:
    if file is None:
        return (
            f"--orchestrator {name}: there is no {ENDPOINTS_FILE} here that names one; write one with [orchestrator], "
            "or give the endpoint's id"
        )
    if _configured(file) is None:
        return f"--orchestrator {name}: {file} has no [orchestrator]; add one and run fanscribe deploy"
    return f"--orchestrator {name}: {file} has one that is not deployed: run fanscribe deploy, or name its id"


def _nothing_on_local(running: "RunningPlatform", name: str, file: Path | None, owned: bool) -> str:
    if file is not None and _configured(file) is None:
        return f"--orchestrator {name}: {file} has no [orchestrator]; add one"
    if owned:
        return f"--orchestrator {name}: there is none of that name; leave the name out"
    return (
        f"--orchestrator {name}: the local platform at {running.url} has none of that name; start it with one: "
        "fanscribe local down, then fanscribe local up"
    )
