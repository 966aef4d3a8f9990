"""`fanscribe plan`, `deploy`, `destroy` and `adopt`: an account becomes what endpoints.toml says."""

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

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
from fanscribe.cli.exits import Exit, clear_errors, complain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fanscribe.contracts.variant import Variant
    from fanscribe.deploy.apply import Outcome, Report
    from fanscribe.deploy.diff import Plan
    from fanscribe.deploy.management import Management
    from fanscribe.deploy.state import Desired

CHANGES = 2
"""The exit code of `plan` where there is something to change; its errors end in 1."""

_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Deadline = Annotated[float, typer.Option(min=1, help="Seconds to wait until everything is live.")]


def plan(
    platform: Platform = "runpod", profile: Profile = None, endpoints: Endpoints = None, json_: Json = False
) -> None:
    """Show what `deploy` would change, and what it costs; nothing is changed.

    Exit codes: 0 nothing to change, 2 changes, 1 failed.
    """
    try:
        with clear_errors():
            found, text = asyncio.run(_plan(platform, profile, endpoints_file(endpoints), json_))
            print(text)
    except typer.Exit as ended:
        # 2 means changes here, so wrong usage is a failure like any other.
        raise typer.Exit(Exit.FAILED if ended.exit_code == Exit.USAGE else ended.exit_code) from ended
    if found.conflicts:
        complain("deploy would refuse this plan: see what is in conflict")
        raise typer.Exit(Exit.FAILED)
    raise typer.Exit(CHANGES if found.changes or found.volumes else Exit.DONE)


def deploy(
    platform: Platform = "runpod",
    profile: Profile = None,
    endpoints: Endpoints = None,
    yes: _Yes = False,
    wait: Annotated[bool, typer.Option(help="Wait until the new version is the live one.")] = True,
    deadline: _Deadline = 900,
) -> None:
    """Bring the account to what endpoints.toml says, after showing the plan.

    A second run changes nothing; after a failure it goes on from there.
    Exit codes: 0 done, 1 something is not done (named), 2 wrong usage, 130 interrupted.
    """
    with clear_errors(), _left_as_it_is():
        file = endpoints_file(endpoints)
        asyncio.run(_deploy(platform, profile, file, yes=yes, wait_s=deadline if wait else None))


def destroy(
    platform: Platform = "runpod", profile: Profile = None, endpoints: Endpoints = None, yes: _Yes = False
) -> None:
    """Delete every endpoint that carries this project's mark (with --profile only that profile's), and nothing else.

    Network volumes stay, since they hold data; they are listed.
    """
    with clear_errors(), _left_as_it_is():
        asyncio.run(_destroy(platform, endpoints_file(endpoints), profile, yes=yes))


def adopt(
    name: Annotated[str, typer.Argument(help="The endpoint's name in endpoints.toml.")],
    platform: Platform = "runpod",
    profile: Profile = None,
    endpoints: Endpoints = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The endpoint's id on the platform.", show_default=False)
    ] = None,
    yes: _Yes = False,
) -> None:
    """Take over an endpoint that was made by hand: it gets the project's mark, nothing else changes.

    Without --id the file's id counts, then a variable such as WHISPER_ENDPOINT_ID or RUNPOD_DIARIZE_ENDPOINT_ID,
    then the endpoint's name on the platform.
    """
    with clear_errors():
        asyncio.run(_adopt(name, platform, endpoints_file(endpoints), profile, id_, yes=yes))


async def _plan(platform: str, profile: str | None, file: "Path", as_json: bool) -> tuple["Plan", str]:
    from fanscribe.catalogue import load_catalogue
    from fanscribe.deploy.account import read_account
    from fanscribe.deploy.diff import make_plan
    from fanscribe.deploy.view import plan_json, plan_lines

    wanted = _desired(file, profile, platform)
    variants = load_catalogue(file).variants
    async with management(platform) as opened:
        account = await read_account(opened, wanted)
    found = make_plan(wanted, account)
    if as_json:
        told = plan_json(found, account, variants, platform=platform, profile=wanted.profile)
        return found, json.dumps(told, indent=2, ensure_ascii=False)
    lines = plan_lines(found, account, variants, platform=platform, profile=wanted.profile)
    return found, "\n".join([*lines, *(f"note: {note}" for note in account.notes)])


async def _deploy(
    platform: str, profile: str | None, file: "Path", *, yes: bool, wait_s: float | None
) -> None:
    from fanscribe.catalogue import load_catalogue
    from fanscribe.deploy.account import read_account
    from fanscribe.deploy.apply import apply
    from fanscribe.deploy.diff import make_plan
    from fanscribe.deploy.local import local_faults
    from fanscribe.deploy.preflight import check, check_images
    from fanscribe.deploy.view import plan_lines

    wanted = _desired(file, profile, platform)
    variants = load_catalogue(file).variants
    if platform == "local":
        _check_machine(wanted, variants)
    async with management(platform) as opened:
        account = await read_account(opened, wanted)
        found = make_plan(wanted, account)
        for line in plan_lines(found, account, variants, platform=platform, profile=wanted.profile):
            print(line)
        notes = check(found, wanted, account)
        if platform == "runpod" and found.changes:
            notes += await check_images(found)
        for note in notes:
            print(f"note: {note}")
        if found.changes or found.volumes:
            _confirm(f"Deploy this to {platform}?", yes)
        outcomes = await apply(found, opened, _say)
        failed = {each.step.endpoint: str(each.error) for each in outcomes if each.error is not None}
        if wait_s is not None:
            failed |= await _wait(opened, outcomes, wait_s)
        if platform == "local":
            failed |= await local_faults(
                opened, {each.id: each.step.endpoint for each in outcomes if each.id}
            )
    if failed:
        done = [each.step.endpoint for each in outcomes if each.step.endpoint not in failed]
        complain("\n".join(_ended(done, failed)))
        raise typer.Exit(Exit.FAILED)


async def _wait(opened: "Management", outcomes: "Sequence[Outcome]", deadline_s: float) -> dict[str, str]:
    """Until what was changed is live; what is not, with the reason."""
    from fanscribe.deploy.diff import Action
    from fanscribe.deploy.rollout import wait_all

    changed = {
        each.step.endpoint: (each.id, each.step.wanted.state.workers_min)
        for each in outcomes
        if each.error is None
        and each.id is not None
        and each.step.wanted is not None
        and each.step.action in (Action.CREATE, Action.UPDATE, Action.REPLACE)
    }
    errors = await wait_all(
        opened,
        changed,
        deadline_s=deadline_s,
        clock=time.monotonic,
        progress=lambda name, text: print(f"  {name}: {text}", flush=True),
    )
    return {name: str(error) for name, error in errors.items()}


async def _destroy(platform: str, file: "Path", profile: str | None, *, yes: bool) -> None:
    from fanscribe.deploy.account import read_everything
    from fanscribe.deploy.destroy import destroy as carry_out
    from fanscribe.deploy.destroy import inventory

    project, names = project_of(file), chosen_names(file, profile)
    async with management(platform) as opened:
        found = inventory(await read_everything(opened), project)
        doomed = tuple(each for each in found.endpoints if names is None or each.endpoint in names)
        for each in doomed:
            print(f"- {each.endpoint or each.state.name}  {each.id}  {each.state.name}")
        if doomed:
            _confirm(f"Delete these {len(doomed)} endpoints of project {project} on {platform}?", yes)
        else:
            print(f"project {project} has no endpoints on {platform}")
        failed = await carry_out(opened, doomed, _say)
    for orphan in found.orphans:
        print(
            f"stays: endpoint {orphan.id} ({orphan.state.name}) carries no mark; delete it yourself if it is yours"
        )
    for volume in found.volumes:
        print(
            f"stays: volume {volume.id} ({volume.name}, {volume.size_gb} GB), which costs as long as it is there"
        )
    if failed:
        for identity, error in failed.items():
            complain(f"endpoint {identity} is not deleted: {error}")
        raise typer.Exit(Exit.FAILED)


async def _adopt(
    name: str, platform: str, file: "Path", profile: str | None, identity: str | None, *, yes: bool
) -> None:
    from fanscribe.catalogue import load_catalogue
    from fanscribe.deploy.account import read_account
    from fanscribe.deploy.adopt import adopt as carry_out
    from fanscribe.deploy.adopt import find

    wanted = _desired(file, profile, platform, every=profile is None)
    variants = load_catalogue(file).variants
    async with management(platform) as opened:
        account = await read_account(opened)
        live = find(wanted, account, name, variants, os.environ, identity)
        if live.project is None:
            _confirm(f"Take over endpoint {live.id} ({live.state.name}) as {name} of {wanted.project}?", yes)
        changed = await carry_out(opened, live, wanted.project, name)
    said = "carries the mark now" if changed else "carried the mark already"
    print(f"endpoint {live.id} {said}; `fanscribe plan` shows how it differs from {file}")


def _desired(file: "Path", profile: str | None, platform: str, *, every: bool = False) -> "Desired":
    from fanscribe.deploy.desired import read_desired, without_ids

    wanted = read_desired(file, profile, every=every)
    # The file's ids are Runpod's.
    return without_ids(wanted) if platform == "local" else wanted


def _check_machine(wanted: "Desired", variants: "Mapping[str, Variant]") -> None:
    """Raise UsageError for what this machine cannot run."""
    from fanscribe.contracts.errors import UsageError
    from fanscribe.deploy.local import obstacle

    unfit = [
        f"endpoints.{each.endpoint}: {each.variant} {why}"
        for each in wanted.endpoints
        if each.variant is not None and (why := obstacle(variants[each.variant])) is not None
    ]
    if unfit:
        raise UsageError("\n".join(unfit))


@contextmanager
def _left_as_it_is() -> "Iterator[None]":
    """An interrupted change says where it leaves things."""
    try:
        yield
    except KeyboardInterrupt as error:
        complain("interrupted: what is done stays done; run it again to go on from there")
        raise typer.Exit(Exit.INTERRUPTED) from error


def _confirm(question: str, yes: bool) -> None:
    from fanscribe.contracts.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm: add --yes")
    if not typer.confirm(question):
        print("nothing was changed")
        raise typer.Exit(Exit.DONE)


def _say(report: "Report") -> None:
    from fanscribe.deploy.apply import Progress

    if report.progress is Progress.FAILED:
        complain(f"{report.name}: {report.text}")
    else:
        print(
            f"  {report.name}: {report.text}{' …' if report.progress is Progress.STARTED else ''}", flush=True
        )


def _ended(done: "Sequence[str]", failed: dict[str, str]) -> "Iterator[str]":
    yield f"done: {', '.join(done) or 'nothing'}"
    for name, why in failed.items():
        yield f"not done: {name}: {why}"
    yield "deploy again to go on from here; what is done is not done twice"
