"""How a project's endpoints are at this moment."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanscribe.contracts.errors import FanscribeError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.account import read_endpoints
from fanscribe.deploy.logs import last_lines
from fanscribe.deploy.management import Management
from fanscribe.deploy.prices import price_of
from fanscribe.deploy.state import VARIANT_ENTRY, LiveEndpoint
from fanscribe.endpoint import Endpoint

_AT_ONCE = 8
_STATES = ("running", "idle", "initializing", "throttled", "unhealthy")
# A worker is paid for from its start to its stop, save for the time that the platform needs to bring it up.
_PAID = ("running", "idle")


@dataclass(frozen=True, slots=True)
class Status:
    """One endpoint. `workers` by state, `jobs` waiting and running, `release`: the version of its configuration and
    how far it has got, `usd_per_hour_now`: what its present workers cost, None where the price is unknown;
    `last_error`: the last line of a worker that does not come up, or why the platform did not tell."""

    endpoint: str
    id: str
    workers: Mapping[str, int]
    queued: int
    running: int
    release: str
    usd_per_hour_now: float | None
    last_error: str


async def read_status(management: Management, project: str, variants: Mapping[str, Variant]) -> list[Status]:
    """Every endpoint that carries a project's mark, by name; three calls each, all at once."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(live: LiveEndpoint) -> Status:
        async with limit:
            return await _status(management, live, variants)

    found = [each for each in await read_endpoints(management) if each.project == project]
    statuses = await asyncio.gather(*(one(each) for each in found))
    return sorted(statuses, key=lambda each: (each.endpoint, each.id))


async def _status(management: Management, live: LiveEndpoint, variants: Mapping[str, Variant]) -> Status:
    name = live.endpoint or live.state.name
    try:
        workers, releases, health = await asyncio.gather(
            management.get(f"serverless/{live.id}/workers"),
            management.get(f"serverless/{live.id}/releases"),
            Endpoint(management.http, management.data_url, live.id, management.key).health(),
        )
    except FanscribeError as error:
        return Status(name, live.id, {}, 0, 0, "", None, str(error))
    summary = workers["summary"]
    price = price_of(live.state, variants.get(live.state.env.get(VARIANT_ENTRY, "")), {}).usd_per_s
    paid = sum(summary[state] for state in _PAID)
    hourly = (
        0.0 if paid == 0 or management.platform == "local" else None if price is None else paid * price * 3600
    )
    return Status(
        endpoint=name,
        id=live.id,
        workers={state: summary[state] for state in _STATES if summary[state]},
        queued=health.jobs.get("inQueue", 0),
        running=health.jobs.get("inProgress", 0),
        release=_release(releases),
        usd_per_hour_now=hourly,
        last_error=await _last_error(management, live.id, workers["workers"]),
    )


def _release(releases: Mapping[str, Any]) -> str:
    rollout, version = releases["rollout"], releases.get("endpointVersion")
    text = f"version {version}" if version is not None else "unknown version"
    if rollout["inProgress"]:
        text += f", on {rollout['workersOnLatest']} of {rollout['workersTotal']} workers"
    return text


async def _last_error(management: Management, identity: str, workers: list[dict[str, Any]]) -> str:
    unhealthy = [each["id"] for each in workers if each["status"] == "UNHEALTHY"]
    if not unhealthy:
        return ""
    try:
        lines = await last_lines(management, identity, unhealthy[0], 1)
    except FanscribeError:
        return "workers do not come up; the platform has no log of them"
    return lines[-1] if lines else "workers do not come up, and have written nothing"
