"""What is checked before anything is changed: whether the plan can work at all."""

import asyncio
from collections.abc import Sequence

import httpx2

from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.diff import Action, Plan
from fanscribe.deploy.image_registry import Found, image_exists
from fanscribe.deploy.state import Account, Desired

USUAL_WORKER_LIMIT = 5
"""What a new Runpod account may have (2026-08); more comes with its balance."""

_TIMEOUT = httpx2.Timeout(10.0)


def check(plan: Plan, desired: Desired, account: Account) -> list[str]:
    """What should be known beforehand, as sentences. Raises UsageError, naming every reason, for a plan that the
    platform would refuse half-way."""
    faults = [f"{each.endpoint}: {each.reason}" for each in plan.conflicts]
    wanted = sum(each.wanted.state.workers_max for each in plan.steps if each.wanted)
    ours = {each.live.id for each in plan.steps if each.live is not None}
    others = sum(each.state.workers_max for each in account.endpoints if each.id not in ours)
    limit = desired.worker_limit or account.worker_limit
    notes = list(account.notes)
    told = f"{wanted} workers at most" + (f", and other endpoints {others}" if others else "")
    if limit is not None and wanted + others > limit:
        faults.append(
            f"the account may have {limit} workers, but the plan wants {told}: lower workers.max, or raise the limit"
        )
    elif limit is None and wanted + others > USUAL_WORKER_LIMIT:
        notes.append(
            f"the plan wants {told}; a new account may have {USUAL_WORKER_LIMIT}, and the platform does not say what "
            "this one may have (project.worker_limit states it)"
        )
    if faults:
        raise UsageError("\n".join(faults))
    return notes


async def check_images(plan: Plan, http: httpx2.AsyncClient | None = None) -> list[str]:
    """Ask the registries for the images that the plan brings in. Sentences on those that nobody could tell of.

    Raises UsageError for images that do not exist.
    """
    images = sorted(_new_images(plan))
    client = http or httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=True)
    try:
        answers: Sequence[Found] = await asyncio.gather(*(image_exists(client, each) for each in images))
    finally:
        if http is None:
            await client.aclose()
    told = list(zip(images, answers, strict=True))
    if missing := [image for image, found in told if found is Found.NO]:
        raise UsageError(
            "\n".join(
                f"image {each}: its registry has no such version; correct [images] or push it"
                for each in missing
            )
        )
    return [
        f"image {each}: its registry does not tell whether it exists"
        for each, found in told
        if found is not Found.YES
    ]


def _new_images(plan: Plan) -> set[str]:
    found = set()
    for each in plan.steps:
        if each.wanted is None or each.action not in (Action.CREATE, Action.UPDATE, Action.REPLACE):
            continue
        if each.action is not Action.UPDATE or any(change.field == "image" for change in each.changes):
            found.add(each.wanted.state.image)
    return found
