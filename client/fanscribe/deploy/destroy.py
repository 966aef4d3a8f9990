"""Undoes a deployment: everything that carries a project's mark, and nothing else."""

import asyncio
from dataclasses import dataclass

from fanscribe.contracts.errors import FanscribeError
from fanscribe.deploy.apply import Progress, Report, Reporter, delete
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import Account, LiveEndpoint, LiveVolume


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a project has. `orphans`: endpoints with its first name but without its mark, which stay; `volumes` stay
    too, since they hold data, and cost."""

    endpoints: tuple[LiveEndpoint, ...]
    orphans: tuple[LiveEndpoint, ...]
    volumes: tuple[LiveVolume, ...]


def inventory(account: Account, project: str) -> Inventory:
    """What belongs to a project, and what only looks like it."""
    prefix = f"{project}-"
    return Inventory(
        endpoints=account.of(project),
        orphans=tuple(
            each for each in account.endpoints if each.project is None and each.state.name.startswith(prefix)
        ),
        volumes=tuple(each for each in account.volumes if each.name.startswith(prefix)),
    )


async def destroy(
    management: Management, endpoints: tuple[LiveEndpoint, ...], report: Reporter
) -> dict[str, FanscribeError]:
    """Drain and delete endpoints in parallel; what could not be deleted, by id."""

    async def one(live: LiveEndpoint) -> FanscribeError | None:
        name = live.endpoint or live.state.name
        report(Report(name, Progress.STARTED, "delete"))
        try:
            await delete(management, live)
        except FanscribeError as error:
            report(Report(name, Progress.FAILED, str(error)))
            return error
        report(Report(name, Progress.DONE, f"deleted {live.id}"))
        return None

    errors = await asyncio.gather(*(one(each) for each in endpoints))
    return {live.id: error for live, error in zip(endpoints, errors, strict=True) if error is not None}
