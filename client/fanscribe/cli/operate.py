"""`fanscribe status`, `stats` and `logs`: how a deployment does."""

import asyncio
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanscribe.cli.deployment import (
    Endpoints,
    Json,
    Platform,
    Profile,
    chosen_names,
    endpoints_file,
    management,
    project_of,
)
from fanscribe.cli.exits import clear_errors

if TYPE_CHECKING:
    from fanscribe.deploy.statistics import Figures
    from fanscribe.deploy.status import Status

_DAY_S = 86_400.0


def status(
    platform: Platform = "runpod", profile: Profile = None, endpoints: Endpoints = None, json_: Json = False
) -> None:
    """Show each endpoint's workers, queue, release, last error, and what it costs an hour at this moment."""
    with clear_errors():
        found = asyncio.run(_status(platform, endpoints_file(endpoints), profile))
    if json_:
        print(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
        return
    if not found:
        print("nothing is deployed; `fanscribe deploy` does it")
    for each in found:
        workers = ", ".join(f"{count} {state}" for state, count in each.workers.items()) or "no workers"
        price = "$?" if each.usd_per_hour_now is None else f"${each.usd_per_hour_now:.2f}"
        print(f"{each.endpoint}  {each.id}  {workers}  {each.queued} queued, {each.running} running", end="")
        print(f"  {each.release}  {price} an hour now")
        if each.last_error:
            print(f"    {each.last_error}")


def stats(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TRANSCRIPT]...",
            help="Native transcripts (JSON) to tell from; default: the run records of this machine.",
            show_default=False,
        ),
    ] = None,
    platform: Annotated[
        str | None, typer.Option(help="Only runs on runpod or local.", show_default=False)
    ] = None,
    profile: Profile = None,
    endpoints: Endpoints = None,
    days: Annotated[float, typer.Option(min=0, help="How far back the run records count.")] = 30,
    json_: Json = False,
) -> None:
    """Show figures by endpoint from finished runs: cold starts, queue, execution, errors, dollars."""
    with clear_errors():
        names = chosen_names(endpoints_file(endpoints), profile) if profile else None
        found = [
            each
            for each in _figures(records or [], days, platform)
            if names is None or each.endpoint in names
        ]
    if json_:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    if not found:
        print("there are no run records yet: they are written by `fanscribe transcribe`")
        return
    from rich.console import Console

    Console().print(_table(found))


def logs(
    name: Annotated[str, typer.Argument(help="The endpoint's name in endpoints.toml.")],
    platform: Platform = "runpod",
    endpoints: Endpoints = None,
    worker: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this worker.", show_default=False)
    ] = None,
    tail: Annotated[int, typer.Option(min=0, max=5000, help="Lines of each worker.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Print what an endpoint's present workers have written."""
    with clear_errors():
        asyncio.run(_logs(name, platform, endpoints_file(endpoints), worker, tail, follow=follow))


async def _status(platform: str, file: Path, profile: str | None) -> "list[Status]":
    from fanscribe.catalogue import load_catalogue
    from fanscribe.deploy.status import read_status

    variants, names = load_catalogue(file).variants, chosen_names(file, profile)
    async with management(platform) as opened:
        found = await read_status(opened, project_of(file), variants)
    return [each for each in found if names is None or each.endpoint in names]


async def _logs(name: str, platform: str, file: Path, worker: str | None, tail: int, *, follow: bool) -> None:
    from fanscribe.contracts.errors import UsageError
    from fanscribe.deploy.account import read_endpoints
    from fanscribe.deploy.logs import all_lines

    project = project_of(file)
    async with management(platform) as opened:
        ours = [each for each in await read_endpoints(opened) if each.project == project]
        found = next((each for each in ours if each.endpoint == name), None)
        if found is None:
            known = ", ".join(sorted(each.endpoint or each.id for each in ours)) or "nothing"
            raise UsageError(
                f"logs {name}: project {project} has no such endpoint on {platform}; it has {known}"
            )
        listed = (await opened.get(f"serverless/{found.id}/workers"))["workers"]
        workers = [worker] if worker else [str(each["id"]) for each in listed]
        if not workers:
            print(f"endpoint {name} has no workers at this moment")
        async for origin, line in all_lines(opened, found.id, workers, tail=tail, follow=follow):
            print(f"[{origin}] {line}", flush=follow)


def _figures(transcripts: list[Path], days: float, platform: str | None) -> "list[Figures]":
    from fanscribe.deploy.statistics import figures
    from fanscribe.run_records import read, record_of, records_file

    if transcripts:
        return figures(record_of(task, 0.0) for each in transcripts for task in _tasks(each))
    if (file := records_file()) is None:
        return []
    kept = read(file, time.time() - days * _DAY_S)
    return figures(each for each in kept if platform is None or each.platform == platform)


def _tasks(file: Path) -> list[Any]:
    from pydantic import TypeAdapter, ValidationError

    from fanscribe.contracts.errors import UsageError
    from fanscribe.contracts.transcript import TaskRecord

    try:
        found = json.loads(file.read_text(encoding="utf-8"))["tasks"]
        return TypeAdapter(list[TaskRecord]).validate_python(found)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(f"{file}: is not a native transcript (--format native)") from error


def _table(found: "list[Figures]") -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = (
        "endpoint",
        "variant",
        "tasks",
        "reused",
        "cold",
        "queue",
        "execution",
        "errors",
        "$/request",
        "$/audio h",
    )
    for name in names:
        table.add_column(name, justify="left" if name in ("endpoint", "variant") else "right")
    for each in found:
        table.add_row(
            each.endpoint,
            each.variant,
            str(each.tasks),
            str(each.reused),
            _shown(each.cold_start_rate, "{:.0%}"),
            _shown(each.mean_queue_s, "{:.1f} s"),
            _shown(each.mean_execution_s, "{:.1f} s"),
            _shown(each.error_rate, "{:.1%}"),
            _shown(each.usd_per_request, "{:.5f}"),
            _shown(each.usd_per_audio_hour, "{:.4f}"),
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
