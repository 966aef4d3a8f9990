"""`fanscribe local`: a platform on this machine that stays up until it is told to stop."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fanscribe.cli.exits import Exit, complain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fanscribe.local.process import RunningPlatform
    from fanscribe.local.spec import EndpointSpec

app = typer.Typer(no_args_is_help=True, help="A Runpod on this machine: start it, look at it, stop it.")

_MIB = 1024 * 1024


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8008,
    endpoints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An endpoints.toml; default: every engine that runs here."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="A profile of that file; default: project.profile.")
    ] = None,
    managed: Annotated[
        bool,
        typer.Option(
            "--managed", help="Start empty, with a key: `fanscribe deploy --platform local` fills it."
        ),
    ] = False,
) -> None:
    """Start the local platform; Ctrl-C stops it and its workers."""
    from fanscribe.contracts.errors import FanscribeError
    from fanscribe.deploy.local import image_rules, local_specs, secrets_of
    from fanscribe.local.process import ANY_KEY, PlatformError, find, one_at_a_time, start, write_state
    from fanscribe.local.spec import SpecError

    if profile is not None and (managed or endpoints is None):
        _fail("--profile: chooses from the file of --endpoints, and not with --managed", Exit.USAGE)
    platform: RunningPlatform | None = None
    state: Path | None = None
    try:
        with one_at_a_time():
            if (running := find()) is not None:
                _fail(
                    f"a local platform is running already at {running.url}; stop it with: fanscribe local down"
                )
            specs = [] if managed else local_specs(endpoints, profile, orchestrator=True)
            platform = start(
                specs,
                images=image_rules(endpoints) if managed else (),
                secrets=secrets_of(os.environ),
                port=port,
                detach=detach,
                key=ANY_KEY,
                show_log=not detach,
                log_level="info",
            )
            if not detach:
                state = write_state(platform)
    except (FanscribeError, SpecError) as error:
        _fail(str(error), Exit.USAGE)
    except PlatformError as error:
        if platform is not None:
            platform.stop()
        _fail(str(error))
    if detach:
        _announce(platform, specs)
        return
    try:
        _announce(platform, specs)
        _wait_for_end(platform)
    except KeyboardInterrupt:
        print("stopping")
    finally:
        if state is not None:
            state.unlink(missing_ok=True)
        platform.stop()


def _announce(platform: "RunningPlatform", specs: "list[EndpointSpec]") -> None:
    print(f"local platform at {platform.url} (process {platform.pid})", flush=True)
    for spec in specs:
        print(f"  {platform.url}/v2/{spec.name}", flush=True)
    if not specs:
        print("  empty; `fanscribe deploy --platform local` makes its endpoints", flush=True)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it live until Ctrl-C.")] = False,
) -> None:
    """Show endpoints, queues, workers and memory of the running platform."""
    platform = _running()
    if as_json:
        print(json.dumps(_state(platform), indent=2))
        return
    from rich.console import Console
    from rich.live import Live

    if not watch:
        Console().print(overview(_state(platform)))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(overview(_state(platform)), auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(overview(_state(platform)), refresh=True)


@app.command()
def logs(
    endpoint: Annotated[str | None, typer.Argument(help="Only this endpoint's workers.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C or the platform's end.")
    ] = False,
) -> None:
    """Print what the workers have written."""
    platform = _running()
    names = [each["name"] for each in _state(platform)["endpoints"]]
    if endpoint is not None and endpoint not in names:
        _fail(f"the platform has no endpoint {endpoint}; it has {', '.join(names)}", Exit.USAGE)
    read: dict[str, int] = {}
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for line in _new_lines(platform, endpoint, read, whole_lines=follow):
                print(line, flush=follow)
            if not (follow and platform.alive):
                return
            time.sleep(0.5)


@app.command()
def down() -> None:
    """Stop the running platform and its workers, and clean up what a killed one has left."""
    from fanscribe.local.process import NotAnsweringError, find
    from fanscribe.local.sweep import sweep

    timeout_s = 10.0
    try:
        platform = find()
    except NotAnsweringError as error:
        platform, timeout_s = error.platform, 2.0
        complain(f"the local platform at {platform.url} does not answer; it is ended all the same")
    if platform is None:
        print("no local platform is running")
    else:
        platform.stop(timeout_s)
        print(f"stopped the local platform at {platform.url}")
    if left := sweep():
        print(f"removed {left} processes or folders that an earlier platform had left")


def overview(state: dict[str, Any]) -> "RenderableType":
    """The platform's state for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    memory = state["memory"]
    head = f"{state['url']}  up {state['uptime_s']:.0f} s  RAM {_size(memory['ram_reserved'])}"
    head += f" of {_size(memory['ram_limit'])} reserved"
    table = Table(box=None, pad_edge=False)
    for name in (
        "endpoint",
        "queued",
        "running",
        "done",
        "failed",
        "worker",
        "state",
        "up",
        "memory",
        "jobs",
    ):
        table.add_column(
            name, justify="right" if name in ("queued", "running", "done", "failed", "up") else "left"
        )
    for each in state["endpoints"]:
        totals = each["totals"]
        failed = totals.get("FAILED", 0) + totals.get("TIMED_OUT", 0)
        row = [
            each["name"],
            str(each["queued"]),
            str(each["running"]),
            str(totals.get("COMPLETED", 0)),
            str(failed),
        ]
        workers = each["workers"] or [None]
        for worker in workers:
            table.add_row(*row, *_worker_cells(worker, throttled=each["throttled"]))
            row = [""] * len(row)
    parts: list[RenderableType] = [Text(head), table]
    parts += [Text(f"{each['name']}: {each['fault']}", "red") for each in state["endpoints"] if each["fault"]]
    for rule in state["faults"]:
        what = f"fault on purpose: {rule['kind']} on {rule['endpoint']}, rate {rule['rate']:g}"
        parts.append(Text(f"{what}, {rule['hits']} hits", "yellow"))
    return Group(*parts)


def _worker_cells(worker: dict[str, Any] | None, *, throttled: bool) -> list[str]:
    if worker is None:
        return ["-", "waits for memory" if throttled else "", "", "", ""]
    jobs = " ".join(job[:13] for job in worker["jobs"])
    return [worker["id"], worker["state"], f"{worker['uptime_s']:.0f} s", _size(worker["rss"]), jobs]


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count / _MIB:.0f} MiB"


def _new_lines(
    platform: "RunningPlatform", endpoint: str | None, read: dict[str, int], *, whole_lines: bool
) -> Iterator[str]:
    from fanscribe.local.process import PlatformError

    try:
        listed = platform.logs()
    except PlatformError as error:
        if whole_lines:
            # It has ended, or is busy for a moment: whoever follows sees to that.
            return
        _fail(str(error))
    for log in listed:
        if endpoint is not None and log["endpoint"] != endpoint:
            continue
        path = Path(log["path"])
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                # A log that was cut starts anew.
                file.seek(read.get(log["path"], 0) if read.get(log["path"], 0) <= size else 0)
                text = file.read()
        except OSError:
            continue
        if whole_lines:
            text = text[: text.rfind(b"\n") + 1]
        read[log["path"]] = (read.get(log["path"], 0) if read.get(log["path"], 0) <= size else 0) + len(text)
        for line in text.decode("utf-8", "replace").splitlines():
            yield f"[{path.stem}] {line}"


def _running() -> "RunningPlatform":
    from fanscribe.local.process import elsewhere, find

    platform: RunningPlatform | None = elsewhere(os.environ) or _ask(find)
    if platform is None:
        _fail("no local platform is running; start one with: fanscribe local up --detach")
    return platform


def _state(platform: "RunningPlatform") -> dict[str, Any]:
    state: dict[str, Any] = _ask(platform.status)
    return state


def _ask(question: Any) -> Any:
    from fanscribe.local.process import PlatformError

    try:
        return question()
    except PlatformError as error:
        _fail(str(error))


def _wait_for_end(platform: "RunningPlatform") -> None:
    if (code := platform.wait()) != 0:
        _fail(f"the local platform ended with exit code {code}")


def _fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    complain(message)
    raise typer.Exit(code)
