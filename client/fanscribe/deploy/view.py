"""A plan for people and for machines. Values that may hold secrets are never shown. Pure."""

from collections.abc import Mapping
from typing import Any

from fanscribe.contracts.variant import Variant
from fanscribe.deploy.diff import Action, Change, Plan, Step
from fanscribe.deploy.prices import VOLUME_USD_PER_GB_MONTH, Price, price_of
from fanscribe.deploy.state import (
    CACHED_MODEL_ENTRY,
    ENDPOINT_ENTRY,
    PREFETCH_ENTRY,
    PROJECT_ENTRY,
    TIMEOUT_ENTRY,
    VARIANT_ENTRY,
    Account,
    Unknown,
    Value,
)
from fanscribe.gpu_pools import PRICES_AS_OF

_SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "!",
    Action.DELETE: "-",
    Action.UNCHANGED: "=",
    Action.UNMANAGED: "=",
    Action.CONFLICT: "x",
}
# Entries whose wanted values this program makes itself; all others may be anything.
_OWN = {
    f"env.{name}"
    for name in (
        PROJECT_ENTRY,
        ENDPOINT_ENTRY,
        VARIANT_ENTRY,
        PREFETCH_ENTRY,
        CACHED_MODEL_ENTRY,
        TIMEOUT_ENTRY,
    )
}
HIDDEN = "(not shown)"


def plan_lines(
    plan: Plan, account: Account, variants: Mapping[str, Variant], *, platform: str, profile: str | None
) -> list[str]:
    """The plan as text."""
    head = f"project {plan.project}" + (f", profile {profile}" if profile else "") + f", on {platform}"
    lines = [head]
    width = max((len(each.endpoint) for each in plan.steps), default=0)
    for volume in plan.volumes:
        cost = f"${volume.size_gb * VOLUME_USD_PER_GB_MONTH:.2f} a month"
        lines.append(f"+ volume {volume.name}  {volume.size_gb} GB in {volume.data_centre}  {cost}")
    for step in plan.steps:
        lines += _step_lines(step, _price(step, account, variants, platform), width)
    lines.append(_totals(plan, account, variants, platform))
    lines.append(summary(plan))
    return lines


def plan_json(
    plan: Plan, account: Account, variants: Mapping[str, Variant], *, platform: str, profile: str | None
) -> dict[str, Any]:
    """The plan as JSON; prices in US dollars, null where they are not known."""
    return {
        "project": plan.project,
        "profile": profile,
        "platform": platform,
        "changes": bool(plan.changes or plan.volumes),
        "volumes": [
            {"action": "create", "name": each.name, "size_gb": each.size_gb, "data_centre": each.data_centre}
            for each in plan.volumes
        ],
        "endpoints": [_step_json(each, _price(each, account, variants, platform)) for each in plan.steps],
        "usd_per_month_at_min_workers": _monthly(plan, account, variants, platform),
        "prices": _price_source(account, platform),
        "notes": list(account.notes),
    }


def summary(plan: Plan) -> str:
    """How many of what, as one line."""
    counts = {action: sum(each.action is action for each in plan.steps) for action in Action}
    parts = [
        f"{counts[action]} to {action}"
        for action in (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE)
        if counts[action]
    ]
    if plan.volumes:
        parts.append(f"{len(plan.volumes)} volumes to create")
    if counts[Action.CONFLICT]:
        parts.append(f"{counts[Action.CONFLICT]} in conflict")
    return ", ".join(parts) if parts else "nothing to change"


def shown(change: Change) -> tuple[Any, Any]:
    """What may be shown of a change: live and wanted."""
    name = change.field
    if not name.startswith("env.") and name != "args":
        return _plain(change.live), _plain(change.wanted)
    wanted = change.wanted
    harmless = name in _OWN or (isinstance(wanted, str) and wanted.startswith("{{ RUNPOD_SECRET_"))
    return (
        None if change.live is None else HIDDEN,
        _plain(wanted) if wanted is None or harmless else HIDDEN,
    )


def _plain(value: Value | Unknown) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if value is None or value == []:
        return "(none)"
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _step_lines(step: Step, price: Price | None, width: int) -> list[str]:
    line = f"{_SIGNS[step.action]} {step.endpoint:<{width}}  {step.action:<9}"
    if step.wanted is not None:
        state = step.wanted.state
        hardware = ", ".join(state.gpus or state.cpu)
        line += f"  {hardware}, {state.workers_min} to {state.workers_max} workers"
        if price is not None:
            line += f"  {_dollars(price.usd_per_month, 2)} a month"
            line += f", {_dollars(price.usd_per_audio_hour, 4)} an audio hour"
    elif step.live is not None:
        line += f"  {step.live.id}"
    lines = [line.rstrip()]
    if step.reason:
        lines.append(f"      {step.reason}")
    if step.action is Action.CREATE and step.wanted is not None:
        lines.append(f"      image: {step.wanted.state.image}")
    for change in step.changes:
        live, wanted = shown(change)
        lines.append(f"      {change.field}: {_text(live)} -> {_text(wanted)}")
    if step.unknown:
        lines.append(f"      unknown (the platform does not tell): {', '.join(step.unknown)}")
    return lines


def _step_json(step: Step, price: Price | None) -> dict[str, Any]:
    changes = []
    for change in step.changes:
        live, wanted = shown(change)
        changes.append({"field": change.field, "live": live, "wanted": wanted})
    return {
        "endpoint": step.endpoint,
        "action": step.action.value,
        "id": step.live.id if step.live else None,
        "name": step.platform_name,
        "variant": step.wanted.variant if step.wanted else None,
        "reason": step.reason or None,
        "changes": changes,
        "unknown": list(step.unknown),
        "usd_per_month_at_min_workers": price.usd_per_month if price else None,
        "usd_per_audio_hour": price.usd_per_audio_hour if price else None,
    }


def _price(step: Step, account: Account, variants: Mapping[str, Variant], platform: str) -> Price | None:
    if step.wanted is None or platform == "local":
        return None
    return price_of(step.wanted.state, variants.get(step.wanted.variant or ""), account.prices)


def _monthly(plan: Plan, account: Account, variants: Mapping[str, Variant], platform: str) -> float | None:
    prices = [_price(each, account, variants, platform) for each in plan.steps]
    months = [each.usd_per_month for each in prices if each is not None]
    known = [each for each in months if each is not None]
    return sum(known) if len(known) == len(months) else None


def _totals(plan: Plan, account: Account, variants: Mapping[str, Variant], platform: str) -> str:
    if platform == "local":
        return "the local platform costs nothing"
    total = _dollars(_monthly(plan, account, variants, platform), 2)
    return f"{total} a month at the smallest number of workers ({_price_source(account, platform)})"


def _price_source(account: Account, platform: str) -> str:
    if platform == "local":
        return "none"
    return (
        "prices of the platform's catalogue" if account.prices else f"Runpod's flex prices of {PRICES_AS_OF}"
    )


def _dollars(value: float | None, digits: int) -> str:
    return "$?" if value is None else f"${value:.{digits}f}"
