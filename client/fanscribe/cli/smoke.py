"""`fanscribe smoke`: every endpoint of a deployment does one tiny job."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanscribe.cli.deployment import (
    Endpoints,
    Platform,
    Profile,
    chosen_names,
    endpoints_file,
    management,
    project_of,
)
from fanscribe.cli.exits import Exit, clear_errors, complain

if TYPE_CHECKING:
    from fanscribe.catalogue import DeployedEndpoint
    from fanscribe.deploy.management import Management
    from fanscribe.deploy.smoke import Smoke


@dataclass(frozen=True, slots=True)
class _Tried:
    """What there is to try: endpoints of variants, and the orchestrator's name and id."""

    engines: "tuple[DeployedEndpoint, ...]"
    orchestrator: tuple[str, str] | None


def smoke(
    platform: Platform = "runpod",
    profile: Profile = None,
    endpoints: Endpoints = None,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds that one answer may take.")] = 600,
    pipeline: Annotated[bool, typer.Option(help="Then transcribe a tone through the whole pipeline.")] = True,
) -> None:
    """Send each endpoint one tiny job, then one recording through the whole pipeline, here and by the orchestrator."""
    with clear_errors():
        file = endpoints_file(endpoints)
        asyncio.run(_endpoints(platform, file, profile, deadline))
        if pipeline:
            asyncio.run(_pipeline(platform, file, deadline))
            asyncio.run(_orchestrated(platform, file, profile, deadline))


async def _endpoints(platform: str, file: Path, profile: str | None, deadline_s: float) -> None:
    from fanscribe.contracts.errors import UsageError
    from fanscribe.deploy.smoke import smoke as try_all

    async with management(platform) as opened:
        found = (await _found(opened, platform, file, profile)).engines
        if not found:
            raise UsageError(f"{file}: nothing of it is deployed on {platform}; `fanscribe deploy` does it")
        tried = await try_all(opened, found, deadline_s=deadline_s, done=_tell)
    if any(each.error for each in tried):
        raise typer.Exit(Exit.FAILED)


async def _pipeline(platform: str, file: Path, deadline_s: float) -> None:
    from fanscribe.client import AsyncClient
    from fanscribe.contracts.task import Stage
    from fanscribe.deploy.smoke import tone

    began = time.monotonic()
    async with AsyncClient(platform=platform, endpoints=file) as client:
        catalogue = (await client.connect()).catalogue
        if not catalogue.serving(Stage.TRANSCRIBE):
            print("pipeline: not tried, since nothing transcribes")
            return
        diarize = bool(catalogue.serving(Stage.DIARIZE))
        transcript = await client.transcribe(tone(), diarize=diarize, deadline_s=deadline_s)
    took = f"{time.monotonic() - began:.1f} s"
    if transcript.gaps:
        complain(f"pipeline: the transcript has gaps after {took}: {transcript.gaps[0].reason}")
        raise typer.Exit(Exit.FAILED)
    stages = ", ".join(dict.fromkeys(task.stage for task in transcript.tasks))
    print(f"pipeline: ok after {took} ({stages})")


async def _orchestrated(platform: str, file: Path, profile: str | None, deadline_s: float) -> None:
    from fanscribe.contracts.task import Stage
    from fanscribe.deploy.smoke import smoke_orchestrator

    async with management(platform) as opened:
        found = await _found(opened, platform, file, profile)
        if found.orchestrator is None:
            return
        name, identity = found.orchestrator
        stages = {stage for each in found.engines for stage in each.variant.stages}
        if Stage.TRANSCRIBE not in stages:
            print(f"{name}: not tried, since nothing transcribes")
            return
        diarize = Stage.DIARIZE in stages
        tried = await smoke_orchestrator(
            opened, identity, name, diarize=diarize, deadline_s=deadline_s, done=_tell
        )
    if tried.error is not None:
        raise typer.Exit(Exit.FAILED)


async def _found(opened: "Management", platform: str, file: Path, profile: str | None) -> _Tried:
    """What is deployed; on a local platform to which nothing of the file is, what it was started with."""
    from fanscribe.catalogue import load_catalogue
    from fanscribe.connection import PlatformChoice, connect
    from fanscribe.deploy.account import read_endpoints
    from fanscribe.deploy.discovery import endpoints_of, orchestrator_of
    from fanscribe.deploy.local import started_orchestrator

    project, names = project_of(file), chosen_names(file, profile)
    live = await read_endpoints(opened)
    engines = endpoints_of(live, project, load_catalogue(file).variants)
    deployed = orchestrator_of(live, project)
    orchestrator = None if deployed is None else (deployed.endpoint or deployed.state.name, deployed.id)
    if platform == "local" and not engines and orchestrator is None:
        connection = await connect(PlatformChoice.LOCAL, endpoints_file=file)
        await connection.close()
        engines = connection.catalogue.endpoints
        started = await started_orchestrator(opened)
        orchestrator = None if started is None else (started, started)
    if names is not None:
        engines = tuple(each for each in engines if each.name in names)
        orchestrator = orchestrator if orchestrator is not None and orchestrator[0] in names else None
    return _Tried(engines, orchestrator)


def _tell(result: "Smoke") -> None:
    if result.error is not None:
        complain(f"{result.endpoint}: {result.error}")
    else:
        started = ", a worker was started" if result.cold else ""
        print(f"{result.endpoint}: ok after {result.seconds:.1f} s{started}", flush=True)
