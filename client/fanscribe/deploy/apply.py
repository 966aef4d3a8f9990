"""Carries a plan out: volumes first, then the endpoints in parallel, then whoever needs their ids.

Every call can be the last one: whatever has been done by then is found again by name and mark, and a second run
goes on from there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fanscribe.contracts.errors import FanscribeError, NotFoundError, PlatformError, TransportError
from fanscribe.deploy.account import read_endpoints
from fanscribe.deploy.cached_model import write_model
from fanscribe.deploy.desired import volume_placeholder
from fanscribe.deploy.diff import (
    Action,
    Plan,
    Step,
    compare,
    deployment_entry,
    with_deployment,
    with_volume_ids,
)
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import (
    CACHED_MODEL_ENTRY,
    DEPLOYMENT_ENTRY,
    PROJECT_ENTRY,
    DesiredEndpoint,
    EndpointState,
    LiveEndpoint,
)
from fanscribe.deploy.wire import create_body, live_endpoint, live_volume, patch_body

_AT_ONCE = 8
# What saving the cached model may reset, because GraphQL does not show or keep it.
_AFTER_MODEL = (
    "workers.min",
    "idle_timeout_s",
    "execution_timeout_s",
    "scaling",
    "flashboot",
    "data_centres",
    "volumes",
)


class Progress(StrEnum):
    """How far a step is."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened: to which endpoint or volume, and what."""

    name: str
    progress: Progress
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step ended. `id`: of the endpoint that serves it now; `error`: why it does not."""

    step: Step
    id: str | None = None
    error: FanscribeError | None = None


Reporter = Callable[[Report], None]


async def apply(plan: Plan, management: Management, report: Reporter) -> tuple[Outcome, ...]:
    """Do every step that changes something; a step that fails leaves the others alone.

    Raises PlatformError where a volume cannot be made, since its endpoints would then lack it.
    """
    plan = await _with_volumes(plan, management, report)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Step) -> Outcome:
        async with limit:
            return await _reported(step, management, report)

    last = [each for each in plan.steps if each.wanted and DEPLOYMENT_ENTRY in each.wanted.state.env]
    first = [each for each in plan.steps if each not in last and each.action is not Action.DELETE]
    outcomes = list(await asyncio.gather(*(one(each) for each in first)))
    told = _ids(outcomes)
    outcomes += await asyncio.gather(*(one(_told(each, plan, told)) for each in last))
    if not any(each.error for each in outcomes):
        # Nothing is taken away before what replaces it is there.
        gone = [each for each in plan.steps if each.action is Action.DELETE]
        outcomes += await asyncio.gather(*(one(each) for each in gone))
    return tuple(outcomes)


async def delete(management: Management, live: LiveEndpoint) -> None:
    """Drain an endpoint and delete it; one that is gone already is well."""
    try:
        if live.state.workers_min or live.state.workers_max:
            idle = replace(live.state, workers_min=0, workers_max=0)
            workers = patch_body(idle, ["workers.min"])["workers"]
            await management.rest(
                "PATCH", f"serverless/{live.id}", {"workers": {"min": workers["min"], "max": workers["max"]}}
            )
        await management.rest("DELETE", f"serverless/{live.id}")
    except NotFoundError:
        return


async def _reported(step: Step, management: Management, report: Reporter) -> Outcome:
    if step.action in (Action.UNCHANGED, Action.UNMANAGED):
        return Outcome(step, step.live.id if step.live else None)
    report(Report(step.endpoint, Progress.STARTED, step.action))
    try:
        identity = await _done(step, management)
    except FanscribeError as error:
        report(Report(step.endpoint, Progress.FAILED, str(error)))
        return Outcome(step, step.live.id if step.live else None, error)
    text = f"{_PAST[step.action]}{f' {identity}' if identity else ''}"
    report(Report(step.endpoint, Progress.DONE, text))
    return Outcome(step, identity)


_PAST = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.REPLACE: "replaced by",
    Action.DELETE: "deleted",
}


async def _done(step: Step, management: Management) -> str | None:
    wanted, live = step.wanted, step.live
    match step.action:
        case Action.CREATE if wanted is not None:
            return await _create(management, wanted)
        case Action.UPDATE if wanted is not None and live is not None:
            await _update(management, wanted.state, live, [change.field for change in step.changes])
            return live.id
        case Action.REPLACE if wanted is not None and live is not None:
            identity = await _create(management, wanted, besides=live.id)
            try:
                await delete(management, live)
            except FanscribeError as error:
                raise _half(
                    error, f"endpoint {identity} is made, but the old one, {live.id}, is still there"
                ) from error
            return identity
        case Action.DELETE if live is not None:
            await delete(management, live)
            return None
    raise AssertionError(f"a step of kind {step.action} is not carried out")


async def _create(management: Management, wanted: DesiredEndpoint, besides: str | None = None) -> str:
    """Make an endpoint; with a cached model it gets its workers and its last entry once the model is set."""
    state = wanted.state
    first = state
    if state.cached_model:
        env = {name: value for name, value in state.env.items() if name != CACHED_MODEL_ENTRY}
        first = replace(state, workers_min=0, workers_max=0, env=env)
    live = await _made(management, wanted, first, besides)
    changes = [change.field for change in compare(state, live.state)[0]]
    if state.cached_model and "cached_model" not in changes:
        changes.append("cached_model")
    if changes:
        try:
            await _update(management, state, live, changes)
        except FanscribeError as error:
            raise _half(error, f"endpoint {live.id} is made, but not complete") from error
    return live.id


def _half(error: FanscribeError, what: str) -> PlatformError:
    """The error of something that is half done, and is named so."""
    status = error.status_code if isinstance(error, PlatformError) else None
    return PlatformError(f"{what}: {error}", status)


async def _made(
    management: Management, wanted: DesiredEndpoint, state: EndpointState, besides: str | None
) -> LiveEndpoint:
    """POST the endpoint, once: where its fate is unknown, what it made is looked for before it is sent again.

    Of two that two deployments made at once the older one stays, and both see the same one.
    """
    for attempt in (1, 2):
        try:
            body = await management.rest("POST", "serverless", create_body(state))
            mine = live_endpoint(body, None)
            break
        except TransportError:
            found = await _twins(management, wanted, besides)
            if found:
                mine = found[0]
                break
            if attempt == 2:
                raise
    twins = await _twins(management, wanted, besides)
    kept = next((each for each in twins if each.state.kind == state.kind), mine)
    if kept.id != mine.id:
        await delete(management, mine)
    return kept


async def _twins(management: Management, wanted: DesiredEndpoint, besides: str | None) -> list[LiveEndpoint]:
    """The live endpoints with this mark, the oldest first."""
    project = wanted.state.env[PROJECT_ENTRY]
    return sorted(
        (
            each
            for each in await read_endpoints(management)
            if each.project == project and each.endpoint == wanted.endpoint and each.id != besides
        ),
        key=lambda each: (each.created_at, each.id),
    )


async def _update(
    management: Management, state: EndpointState, live: LiveEndpoint, changed: Sequence[str]
) -> None:
    fields = list(changed)
    if "cached_model" in fields or f"env.{CACHED_MODEL_ENTRY}" in fields:
        assert isinstance(state.cached_model, tuple)
        await write_model(management, live.id, state.cached_model)
        fields += _AFTER_MODEL
        if state.env.get(CACHED_MODEL_ENTRY) != live.state.env.get(CACHED_MODEL_ENTRY):
            fields.append(f"env.{CACHED_MODEL_ENTRY}")
    body = patch_body(state, fields)
    if not body:
        return
    try:
        answer = await management.rest("PATCH", f"serverless/{live.id}", body)
    except NotFoundError as error:
        raise NotFoundError(
            f"endpoint {live.id} was deleted by somebody else meanwhile: deploy again to make it anew", 404
        ) from error
    left, _ = compare(
        replace(state, cached_model=()), replace(live_endpoint(answer, {}).state, cached_model=())
    )
    if left:
        names = ", ".join(change.field for change in left)
        raise PlatformError(f"endpoint {live.id}: the platform took the change, but {names} did not follow")


async def _with_volumes(plan: Plan, management: Management, report: Reporter) -> Plan:
    ids: dict[str, str] = {}
    for volume in plan.volumes:
        report(Report(volume.name, Progress.STARTED, "create volume"))
        body = {
            "name": volume.name,
            "size": volume.size_gb,
            "dataCenter": volume.data_centre,
            "type": volume.tier,
        }
        try:
            made = live_volume(await management.rest("POST", "network-volumes", body))
        except TransportError:
            listed = (await management.get("network-volumes"))["networkVolumes"]
            found = [each for each in map(live_volume, listed) if each.name == volume.name]
            if not found:
                raise
            made = found[0]
        ids[volume_placeholder(volume.key)] = made.id
        report(Report(volume.name, Progress.DONE, f"created volume {made.id}"))
    steps = tuple(
        replace(each, wanted=with_volume_ids(each.wanted, ids)) if each.wanted is not None else each
        for each in plan.steps
    )
    return replace(plan, steps=steps, volumes=())


def _ids(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {each.step.endpoint: each.id for each in outcomes if each.id is not None}


def _told(step: Step, plan: Plan, ids: dict[str, str]) -> Step:
    """The orchestrator's step with the ids that the others have now."""
    if step.wanted is None or step.action in (Action.UNMANAGED, Action.CONFLICT):
        return step
    others = [
        (each.wanted, ids[each.endpoint])
        for each in plan.steps
        if each.wanted is not None and each.wanted.variant is not None and each.endpoint in ids
    ]
    wanted = with_deployment(step.wanted, deployment_entry(others))
    if step.live is None or step.action is Action.REPLACE:
        return replace(step, wanted=wanted)
    changes, unknown = compare(wanted.state, step.live.state)
    action = Action.UPDATE if changes else Action.UNCHANGED
    return replace(step, wanted=wanted, changes=changes, unknown=unknown, action=action)
