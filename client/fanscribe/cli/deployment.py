"""What the commands of a deployment have in common: their options, the file, the platform."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fanscribe.deploy.management import Management

Platform = Annotated[str, typer.Option(help="runpod or local.")]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A profile of the file; default: project.profile.", show_default=False),
]
Endpoints = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Default: FANSCRIBE_ENDPOINTS, else endpoints.toml here.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

DEFAULT_FILE = "endpoints.toml"


def endpoints_file(named: Path | None) -> Path:
    """The file to read. Raises UsageError where there is none."""
    from fanscribe.contracts.errors import UsageError

    chosen = named or Path(os.environ.get("FANSCRIBE_ENDPOINTS") or DEFAULT_FILE)
    if not chosen.is_file():
        raise UsageError(
            f"{chosen}: there is no such file; `fanscribe init` writes one, --endpoints names another"
        )
    return chosen


@asynccontextmanager
async def management(platform: str) -> "AsyncIterator[Management]":
    """The platform's management API, open. Raises UsageError for another platform, a missing key, or a local
    platform that is not up."""
    from fanscribe.connection import runpod_key
    from fanscribe.contracts.errors import UsageError
    from fanscribe.deploy import account

    if platform == "runpod":
        opened = account.runpod((runpod_key(os.environ) or "").strip() or None)
    elif platform == "local":
        url, key = _local()
        opened = account.local(url, key)
    else:
        raise UsageError(f"--platform {platform}: choose runpod or local")
    try:
        yield opened
    finally:
        await opened.http.aclose()


def _local() -> tuple[str, str]:
    from fanscribe.contracts.errors import PlatformError, UsageError

    try:
        from fanscribe.local.process import PlatformError as LocalPlatformError
        from fanscribe.local.process import elsewhere, find
    except ImportError as error:
        raise UsageError(
            f"the local platform is not installed ({error.name} is missing): pip install 'fanscribe[local]'"
        ) from error
    try:
        running = elsewhere(os.environ) or find()
    except LocalPlatformError as error:
        raise PlatformError(str(error)) from error
    if running is None:
        raise UsageError(
            "--platform local: no local platform is up; start one: fanscribe local up --managed --detach"
        )
    return running.url, running.key


def chosen_names(file: Path, profile: str | None) -> frozenset[str] | None:
    """The endpoints of a profile that was named; None where none was, which stands for all of the project's.

    Raises CatalogueError for faults in the file, UsageError for an unknown profile.
    """
    from fanscribe.deploy.desired import read_desired

    if profile is None:
        return None
    return frozenset(each.endpoint for each in read_desired(file, profile).endpoints)


def project_of(file: Path) -> str:
    """The project of a file. Raises CatalogueError with its faults."""
    from fanscribe.contracts.errors import CatalogueError
    from fanscribe.endpoints_file import read_endpoints_file

    faults: list[str] = []
    config = read_endpoints_file(file, faults)
    if config is None or faults:
        raise CatalogueError(faults)
    return config.project.name
