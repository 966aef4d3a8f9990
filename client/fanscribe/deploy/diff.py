"""What is wanted against what is live -> steps. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.desired import volume_placeholder
from fanscribe.deploy.state import (
    DEPLOYMENT_ENTRY,
    UNKNOWN,
    Account,
    Desired,
    DesiredEndpoint,
    DesiredVolume,
    EndpointState,
    LiveEndpoint,
    Unknown,
    Value,
)

_REPLACED_WITH = {
    "kind": "a platform's endpoint cannot change between GPU and CPU",
    "routing": "its type is fixed",
}
NEW_ID = "(new)"
"""Stands for the id of an endpoint that is yet to be made."""


class Action(StrEnum):
    """What a step does to an endpoint. UNMANAGED: named by id, without our mark, used as it is."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    UNMANAGED = "unmanaged"
    CONFLICT = "conflict"


CHANGING = frozenset({Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE})


@dataclass(frozen=True, slots=True)
class Change:
    """One field; `live` and `wanted` are None where there is no such field."""

    field: str
    live: Value | Unknown
    wanted: Value | Unknown


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one endpoint, or why nothing does. `unknown`: fields that the platform does not tell."""

    endpoint: str
    action: Action
    wanted: DesiredEndpoint | None = None
    live: LiveEndpoint | None = None
    changes: tuple[Change, ...] = ()
    unknown: tuple[str, ...] = ()
    reason: str = ""

    @property
    def platform_name(self) -> str:
        """What the endpoint is called on the platform, or will be."""
        subject = self.wanted or self.live
        return self.endpoint if subject is None else subject.state.name


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a deployment would do. `volumes`: those yet to be made."""

    project: str
    steps: tuple[Step, ...]
    volumes: tuple[DesiredVolume, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(each for each in self.steps if each.action in CHANGING)

    @property
    def conflicts(self) -> tuple[Step, ...]:
        """The steps that forbid a deployment."""
        return tuple(each for each in self.steps if each.action is Action.CONFLICT)


def make_plan(desired: Desired, account: Account) -> Plan:
    """The steps from the account to what is wanted, in the order of the file, deletions last.

    Raises UsageError for a volume or a credential that the account lacks.
    """
    wanted, volumes = _resolved(desired, account)
    ours = account.of(desired.project)
    matched = _match(wanted, ours)
    steps = [_step(each, matched.get(each.endpoint), account) for each in wanted]
    steps = [_with_deployment(each, steps) for each in steps]
    taken = {live.id for live in matched.values()}
    for live in ours:
        if live.id not in taken:
            steps.append(_deletion(live, {each.endpoint for each in wanted}))
    return Plan(desired.project, tuple(steps), volumes)


def compare(wanted: EndpointState, live: EndpointState) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The fields that differ, and those of which the platform does not say what they hold."""
    there, here = live.fields(), wanted.fields()
    changes, unknown = [], []
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) is UNKNOWN:
            if here.get(name) not in (None, ()):
                unknown.append(name)
        elif there.get(name) != here.get(name):
            changes.append(Change(name, there.get(name), here.get(name)))
    return tuple(changes), tuple(unknown)


def deployment_entry(endpoints: Iterable[tuple[DesiredEndpoint, str]]) -> str:
    """What the orchestrator is told of the other endpoints, with their ids, as JSON."""
    listed = []
    for each, identity in endpoints:
        state = each.state
        told: dict[str, object] = {"name": each.endpoint, "id": identity, "variant": each.variant}
        told |= {"workers": {"min": state.workers_min, "max": state.workers_max}, "gpus": list(state.gpus)}
        if isinstance(state.idle_timeout_s, int):
            told["idle_timeout_s"] = state.idle_timeout_s
        told |= {
            "execution_timeout_s": state.execution_timeout_s,
            "prefetch": "FANSCRIBE_PREFETCH" in state.env,
        }
        if "FANSCRIBE_VARIANT_JSON" in state.env:
            told["variant_json"] = state.env["FANSCRIBE_VARIANT_JSON"]
        listed.append(told)
    return json.dumps(listed, separators=(",", ":"))


def with_deployment(orchestrator: DesiredEndpoint, entry: str) -> DesiredEndpoint:
    """The orchestrator, told of its endpoints."""
    env = {**orchestrator.state.env, DEPLOYMENT_ENTRY: entry}
    return replace(orchestrator, state=replace(orchestrator.state, env=env))


def with_volume_ids(endpoint: DesiredEndpoint, ids: Mapping[str, str]) -> DesiredEndpoint:
    """The endpoint with volumes by platform id where they were by placeholder."""
    volumes = tuple(sorted(ids.get(each, each) for each in endpoint.state.volumes))
    return replace(endpoint, state=replace(endpoint.state, volumes=volumes))


def _resolved(desired: Desired, account: Account) -> tuple[list[DesiredEndpoint], tuple[DesiredVolume, ...]]:
    ids, missing = {}, []
    for volume in desired.volumes:
        found = [each for each in account.volumes if each.id == volume.id or each.name == volume.name]
        if found:
            ids[volume_placeholder(volume.key)] = found[0].id
        elif volume.id is not None:
            raise UsageError(
                f"volumes.{volume.key}.id: the account has no volume {volume.id}; correct it, or leave it out to "
                "have one made"
            )
        else:
            missing.append(volume)
    credential = None
    if desired.credential is not None:
        credential = account.credentials.get(desired.credential)
        if credential is None:
            known = ", ".join(sorted(account.credentials)) or "none"
            raise UsageError(
                f"images.credential: the account has no registry credential {desired.credential!r} (it has {known}); "
                "make it in the console, or correct the name"
            )
    wanted = [
        replace(named, state=replace(named.state, credential=credential))
        for named in (with_volume_ids(each, ids) for each in desired.endpoints)
    ]
    return wanted, tuple(missing)


def _match(wanted: Sequence[DesiredEndpoint], ours: Sequence[LiveEndpoint]) -> dict[str, LiveEndpoint]:
    """Which live endpoint is which wanted one. The mark's name counts more than the platform's, which people change;
    of several the one of the right kind, then the oldest, so that two deployments at once agree."""
    pairs = []
    for each in wanted:
        for live in ours:
            by_mark = live.endpoint == each.endpoint
            by_name = live.state.name == each.state.name
            if not (by_mark or by_name or (each.id and live.id == each.id)):
                continue
            other_kind = live.state.kind != each.state.kind
            rank = (live.id != each.id, not (by_mark and by_name), not by_mark, other_kind)
            pairs.append((rank, live.created_at, live.id, each.endpoint, live))
    found: dict[str, LiveEndpoint] = {}
    taken: set[str] = set()
    for _, _, identity, endpoint, live in sorted(pairs, key=lambda pair: pair[:4]):
        if endpoint not in found and identity not in taken:
            found[endpoint] = live
            taken.add(identity)
    return found


def _step(wanted: DesiredEndpoint, live: LiveEndpoint | None, account: Account) -> Step:
    name = wanted.endpoint
    if live is None:
        return _without_live(wanted, account)
    changes, unknown = compare(wanted.state, live.state)
    for change in changes:
        if change.field in _REPLACED_WITH:
            reason = f"{change.field} {change.live} -> {change.wanted}: {_REPLACED_WITH[change.field]}"
            return Step(name, Action.REPLACE, wanted, live, changes, unknown, reason)
    action = Action.UPDATE if changes else Action.UNCHANGED
    return Step(name, action, wanted, live, changes, unknown)


def _without_live(wanted: DesiredEndpoint, account: Account) -> Step:
    name = wanted.endpoint
    adopt = f"fanscribe adopt {name}"
    if wanted.id is not None:
        there = next((each for each in account.endpoints if each.id == wanted.id), None)
        if there is None:
            reason = f"the account has no endpoint {wanted.id}: correct endpoints.{name}.id, or leave it out"
            return Step(name, Action.CONFLICT, wanted, reason=reason)
        reason = f"it carries no mark of this project and is used as it is; {adopt} takes it over"
        return Step(name, Action.UNMANAGED, wanted, there, reason=reason)
    for each in account.endpoints:
        if each.state.name == wanted.state.name:
            whose = f"the mark of project {each.project}" if each.project else "no mark"
            reason = f"endpoint {each.id} has this name and {whose}: rename it, or take it over with {adopt}"
            return Step(name, Action.CONFLICT, wanted, each, reason=reason)
    return Step(name, Action.CREATE, wanted)


def _with_deployment(step: Step, steps: Sequence[Step]) -> Step:
    """The orchestrator's step once the ids of the others are filled in, as far as they are known."""
    if step.wanted is None or DEPLOYMENT_ENTRY not in step.wanted.state.env or step.action is Action.CONFLICT:
        return step
    others = [each for each in steps if each.wanted is not None and each.wanted.variant is not None]
    entry = deployment_entry((each.wanted, _known_id(each)) for each in others if each.wanted is not None)
    wanted = with_deployment(step.wanted, entry)
    if step.live is None or step.action is Action.UNMANAGED:
        return replace(step, wanted=wanted)
    changes, unknown = compare(wanted.state, step.live.state)
    action = step.action
    if action is not Action.REPLACE:
        action = Action.UPDATE if changes else Action.UNCHANGED
    return replace(step, wanted=wanted, action=action, changes=changes, unknown=unknown)


def _known_id(step: Step) -> str:
    if step.live is None or step.action in (Action.CREATE, Action.REPLACE):
        return NEW_ID
    return step.live.id


def _deletion(live: LiveEndpoint, wanted: set[str]) -> Step:
    name = live.endpoint or live.state.name
    second = "a second one of the same name"
    reason = second if name in wanted else "it carries the project's mark, but is not wanted"
    return Step(name, Action.DELETE, None, live, reason=reason)
