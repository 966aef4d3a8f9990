"""Waits until what was deployed is what runs: the newest version, on every worker there is."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fanscribe.contracts.errors import DeadlineError, FanscribeError
from fanscribe.deploy.management import Management

_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far an endpoint is. `version`: of its configuration; `ready` workers have asked for jobs."""

    version: int | None
    live: bool
    on_latest: int
    total: int
    ready: int
    unhealthy: int

    def __str__(self) -> str:
        version = "" if self.version is None else f"version {self.version}, "
        if self.total == 0:
            return f"{version}no workers"
        bad = f", {self.unhealthy} unhealthy" if self.unhealthy else ""
        return f"{version}{self.on_latest} of {self.total} workers on it, {self.ready} ready{bad}"


async def read_rollout(management: Management, identity: str, workers_min: int) -> Rollout:
    """How far an endpoint is now. It is live when nothing older runs and, where workers are always on, so many are
    ready; an endpoint at zero workers is live as soon as the platform has its version."""
    releases, workers = await asyncio.gather(
        management.get(f"serverless/{identity}/releases"), management.get(f"serverless/{identity}/workers")
    )
    rollout, summary = releases["rollout"], workers["summary"]
    version = releases.get("endpointVersion")
    newest = next((each.get("version") for each in releases["releases"]), None)
    fresh = [each for each in workers["workers"] if not each["isStale"]]
    ready = sum(each["status"] in ("RUNNING", "IDLE") for each in fresh)
    current = version is None or newest is None or version == newest
    live = current and not rollout["inProgress"] and ready >= workers_min
    return Rollout(
        version, live, rollout["workersOnLatest"], rollout["workersTotal"], ready, summary["unhealthy"]
    )


async def wait_live(
    management: Management,
    identity: str,
    workers_min: int,
    *,
    deadline_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    progress: Callable[[Rollout], None] = lambda _: None,
) -> Rollout:
    """Wait until the endpoint's newest version is the live one; `progress` hears of every change.

    Raises DeadlineError after `deadline_s` seconds, saying how far it is.
    """
    end = clock() + deadline_s
    seen: Rollout | None = None
    while True:
        rollout = await read_rollout(management, identity, workers_min)
        if rollout != seen:
            progress(rollout)
            seen = rollout
        if rollout.live:
            return rollout
        left = end - clock()
        if left <= 0:
            hint = "; `fanscribe logs` shows why its workers do not come up" if rollout.unhealthy else ""
            raise DeadlineError(f"endpoint {identity} is not live after {deadline_s:g} s: {rollout}{hint}")
        await sleep(min(_PAUSE_S, math.ceil(left)))


async def wait_all(
    management: Management,
    endpoints: dict[str, tuple[str, int]],
    *,
    deadline_s: float,
    clock: Callable[[], float],
    progress: Callable[[str, str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, FanscribeError]:
    """Wait for several endpoints (name: id and smallest number of workers) at once; what failed, by name."""

    async def one(name: str, identity: str, workers_min: int) -> FanscribeError | None:
        try:
            rollout = await wait_live(
                management,
                identity,
                workers_min,
                deadline_s=deadline_s,
                clock=clock,
                sleep=sleep,
                progress=lambda now: progress(name, str(now)),
            )
        except FanscribeError as error:
            return error
        progress(name, f"live: {rollout}")
        return None

    found = await asyncio.gather(*(one(name, *each) for name, each in endpoints.items()))
    return {name: error for name, error in zip(endpoints, found, strict=True) if error is not None}
