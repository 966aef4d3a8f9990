"""Which platform a client talks to, and what is deployed there."""

import asyncio
import contextlib
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.errors import CatalogueError, PlatformError, UsageError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy import account
from fanscribe.deploy.discovery import deployed_endpoints
from fanscribe.deploy.local import local_catalogue, local_specs
from fanscribe.endpoint import RUNPOD_URL, open_http
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.platform import Platform

if TYPE_CHECKING:
    from fanscribe.deploy.management import Management
    from fanscribe.local.process import RunningPlatform
    from fanscribe.local.spec import EndpointSpec

ENDPOINTS_FILE = "endpoints.toml"


class PlatformChoice(StrEnum):
    """Where to run: `auto` is Runpod when there is a key and a deployment, else the local platform."""

    AUTO = "auto"
    LOCAL = "local"
    RUNPOD = "runpod"


@dataclass(slots=True)
class Connection:
    """An open connection; `close` also ends a local platform that was started for it."""

    platform: Platform
    catalogue: Catalogue
    name: str
    local: "RunningPlatform | None" = field(default=None)

    async def close(self) -> None:
        """Release the connection and whatever was started for it."""
        try:
            await self.platform.http.aclose()
        finally:
            if self.local is not None:
                await asyncio.to_thread(self.local.stop)


async def connect(
    choice: PlatformChoice,
    *,
    endpoints_file: Path | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Open the connection that `choice` stands for.

    Raises UsageError when Runpod is asked for without key or deployment, CatalogueError for faults in
    endpoints.toml, PlatformError when the local platform cannot start.
    """
    key = usable_key(api_key, environment)
    file = endpoints_file or default_file(environment)
    found: tuple[DeployedEndpoint, ...] | None = None
    if choice is PlatformChoice.AUTO:
        choice = PlatformChoice.LOCAL
        if key and file:
            if not _has_ids(file):
                variants = load_catalogue(file).variants
                found = await _deployed(account.runpod(key, environment), file, variants)
            choice = PlatformChoice.LOCAL if found == () else PlatformChoice.RUNPOD
    if choice is PlatformChoice.RUNPOD:
        url = base_url or environment.get("RUNPOD_ENDPOINT_BASE_URL")
        return await _runpod(key, file, url, environment, found)
    return await _local(endpoints_file or named_file(environment), environment)


def usable_key(given: str | None, environment: Mapping[str, str]) -> str | None:
    """The key that was given, else Runpod's own; None without one. Raises UsageError for one that no key can be."""
    key = (given or runpod_key(environment) or "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise UsageError("the API key (RUNPOD_API_KEY) holds characters that no key has: copy it again")
    return key


def runpod_key(environment: Mapping[str, str]) -> str | None:
    """The Runpod key: RUNPOD_API_KEY, else the one in Runpod's own config file."""
    if key := environment.get("RUNPOD_API_KEY"):
        return key
    file = Path(environment.get("HOME") or Path.home()) / ".runpod" / "config.toml"
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
        return str(config["default"]["api_key"]) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _already_up(status: Mapping[str, Any], catalogue: Catalogue) -> Iterator[DeployedEndpoint]:
    """The endpoints of a platform that is up already, by the variants that their labels name."""
    for each in status["endpoints"]:
        variant = catalogue.variants.get(each.get("labels", {}).get("variant", each["name"]))
        if variant is not None:
            low, high = int(each.get("min_workers", 0)), max(1, int(each.get("max_workers", 1)))
            yield DeployedEndpoint(each["name"], each["name"], variant, Workers(min=min(low, high), max=high))


def named_file(environment: Mapping[str, str]) -> Path | None:
    """The endpoints.toml that FANSCRIBE_ENDPOINTS names."""
    named = environment.get("FANSCRIBE_ENDPOINTS")
    return Path(named) if named else None


def default_file(environment: Mapping[str, str]) -> Path | None:
    """The endpoints.toml that the environment names, else the one of this folder, if there is one."""
    named = named_file(environment)
    if named is not None:
        return named
    here = Path(ENDPOINTS_FILE)
    return here if here.is_file() else None


def _has_ids(file: Path) -> bool:
    """Whether the file names endpoints that exist on Runpod. A faulty file counts, so that it is reported."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        return any("id" in each for each in data["endpoints"].values())
    except (KeyError, AttributeError, TypeError):
        return False
    except (OSError, ValueError):
        return True


async def _runpod(
    key: str | None,
    file: Path | None,
    base_url: str | None,
    environment: Mapping[str, str],
    found: tuple[DeployedEndpoint, ...] | None,
) -> Connection:
    """`found`: the endpoints of the file's project, where the account was asked for them already."""
    if not key:
        raise UsageError(
            "--platform runpod: there is no API key; set RUNPOD_API_KEY, or use --platform local"
        )
    if file is None:
        raise UsageError(
            f"--platform runpod: there is no {ENDPOINTS_FILE} here; write one that names your endpoints, "
            "or use --platform local"
        )
    catalogue = load_catalogue(file)
    if not all(each.id for each in catalogue.endpoints):
        if found is None:
            found = await _deployed(account.runpod(key, environment), file, catalogue.variants)
        catalogue = _with_ids(catalogue, file, found)
    return Connection(runpod_face(key, base_url), catalogue, "runpod")


async def _deployed(
    management: "Management", file: Path, variants: Mapping[str, Variant]
) -> tuple[DeployedEndpoint, ...]:
    """The endpoints of the file's project that are there, asked of a management API, which is closed."""
    try:
        return await deployed_endpoints(management, project_of(file), variants)
    finally:
        await management.http.aclose()


def _with_ids(catalogue: Catalogue, file: Path, deployed: Iterable[DeployedEndpoint]) -> Catalogue:
    """The catalogue with the ids that the file leaves out, as `fanscribe deploy` made them."""
    ids = {each.name: each.id for each in deployed}
    named = [each if each.id else replace(each, id=ids.get(each.name, "")) for each in catalogue.endpoints]
    missing = [f"endpoints.{each.name} is not deployed" for each in named if not each.id]
    if missing:
        raise CatalogueError([f"{file}: {each}: run fanscribe deploy, or name its id" for each in missing])
    return catalogue.deployed(named)


def project_of(file: Path) -> str:
    """The name of the project that endpoints.toml is about. Raises CatalogueError."""
    faults: list[str] = []
    read = read_endpoints_file(file, faults)
    if read is None:
        raise CatalogueError(faults)
    return read.project.name


async def _on_managed(running: "RunningPlatform", file: Path, catalogue: Catalogue) -> Catalogue:
    """The endpoints of the file on a platform that is up: deployed there, or started from the same file."""
    up = {each.name: each for each in _already_up(await asyncio.to_thread(running.status), catalogue)}
    of_file = {each.name: each.variant.id for each in load_catalogue(file).endpoints}
    started = {
        name: up[name] for name, variant in of_file.items() if name in up and up[name].variant.id == variant
    }
    if all(each.name in started for each in catalogue.endpoints):
        return catalogue.deployed(started.values())
    found = await _deployed(account.local(running.url, running.key), file, catalogue.variants)
    if not found and started:
        # Started with another profile of the file.
        return catalogue.deployed(started.values())
    if not found:
        raise UsageError(
            f"{file}: a local platform is up already at {running.url} and nothing of this file is deployed there: "
            "run fanscribe deploy --platform local, leave the file out, or stop it: fanscribe local down"
        )
    return catalogue.deployed(found)


async def _started(specs: "list[EndpointSpec]") -> "RunningPlatform":
    """A new platform; one that comes up while we are being cancelled is stopped again."""
    from fanscribe.local.process import start

    starting = asyncio.ensure_future(asyncio.to_thread(start, specs))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await asyncio.to_thread((await starting).stop)
        raise


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The local platform's errors as ours. Raises UsageError where it is not installed."""
    try:
        from fanscribe.local.process import PlatformError as LocalPlatformError
        from fanscribe.local.spec import SpecError
    except ImportError as error:
        raise UsageError(
            f"the local platform is not installed ({error.name} is missing): pip install 'fanscribe[local]'"
        ) from error
    try:
        yield
    except SpecError as error:
        raise UsageError(str(error)) from error
    except LocalPlatformError as error:
        raise PlatformError(str(error)) from error


async def open_local(
    specs: "Callable[[], list[EndpointSpec]]", environment: Mapping[str, str]
) -> "tuple[RunningPlatform, bool]":
    """The local platform that is up, else a new one for the endpoints that `specs` gives; whether it is ours to end.

    Raises UsageError, and PlatformError when it cannot start.
    """
    with _translated():
        from fanscribe.local.process import elsewhere, find

        running = elsewhere(environment) or await asyncio.to_thread(find)
        return (running, False) if running is not None else (await _started(specs()), True)


def local_face(running: "RunningPlatform") -> Platform:
    """How a local platform is called, never through a proxy."""
    http = open_http(proxied=False)
    objects = ObjectStore(http, running.url, running.key)
    return Platform(http, f"{running.url}/v2", running.key, "local", objects)


def runpod_face(key: str, base_url: str | None) -> Platform:
    """How Runpod is called; `base_url` leads elsewhere."""
    return Platform(open_http(proxied=True), base_url or RUNPOD_URL, key, "runpod")


async def _local(endpoints_file: Path | None, environment: Mapping[str, str]) -> Connection:
    with _translated():
        catalogue = local_catalogue(endpoints_file)
    running, owned = await open_local(lambda: local_specs(endpoints_file), environment)
    with _translated():
        if not owned and endpoints_file is not None:
            catalogue = await _on_managed(running, endpoints_file, catalogue)
        elif not owned:
            status = await asyncio.to_thread(running.status)
            catalogue = catalogue.deployed(_already_up(status, catalogue))
    return Connection(local_face(running), catalogue, "local", running if owned else None)
