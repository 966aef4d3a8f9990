"""The cached model of endpoints, over GraphQL: REST has no field for it. The one module that knows GraphQL, since
Runpod will retire it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanscribe.contracts.errors import FanscribeError, NotFoundError, PlatformError
from fanscribe.deploy.management import Management

# What an update resets where it is left out, and so is read and sent back (runpod, measured by others in 2026).
_KEPT = (
    "name",
    "idleTimeout",
    "scalerType",
    "scalerValue",
    "workersMin",
    "workersMax",
    "gpuCount",
    "locations",
)
_FIELDS = f"id {' '.join(_KEPT)} gpuIds templateId networkVolumeId"
_LIST = "query { myself { maxServerlessConcurrency endpoints { id modelReferences } } }"
_READ = f"query {{ myself {{ endpoints {{ {_FIELDS} }} }} }}"
_SAVE = "mutation ($input: EndpointInput!) { saveEndpoint(input: $input) { id modelReferences } }"


@dataclass(frozen=True, slots=True)
class Told:
    """What GraphQL tells: cached models by endpoint id, and how many workers the account may have. None: it does
    not tell; `why` then says what it said instead."""

    models: Mapping[str, tuple[str, ...]] | None
    worker_limit: int | None
    why: str = ""


async def read_models(management: Management) -> Told:
    """The cached models of every endpoint, as far as the platform tells; never fails, since a plan can do without."""
    try:
        data = await management.graphql(_LIST, {}, repeat=True)
        myself = data["myself"]
        models = {str(each["id"]): tuple(each.get("modelReferences") or ()) for each in myself["endpoints"]}
        limit = myself.get("maxServerlessConcurrency")
        return Told(models, int(limit) if limit else None)
    except FanscribeError as error:
        return Told(None, None, f"cached models cannot be read back: {error}")
    except (KeyError, TypeError, AttributeError):
        return Told(None, None, "cached models cannot be read back: the answer has another shape")


async def write_model(management: Management, identity: str, references: Sequence[str]) -> None:
    """Give an endpoint this cached model, leaving all else as it is. Raises NotFoundError, PlatformError.

    The mutation resets what it is not told, so what is there is read first and sent back. Fields that GraphQL does
    not show must be set again by REST afterwards.
    """
    data = await management.graphql(_READ, {}, repeat=True)
    listed: list[dict[str, Any]] = (data.get("myself") or {}).get("endpoints") or []
    found = next((each for each in listed if each.get("id") == identity), None)
    if found is None:
        raise NotFoundError(f"{management.platform}: there is no endpoint {identity} (any more)", 404)
    kept = {name: found[name] for name in (*_KEPT, "gpuIds", "templateId") if found.get(name) is not None}
    if found.get("networkVolumeId"):
        kept["networkVolumeId"] = found["networkVolumeId"]
    body = {"id": identity, **kept, "modelReferences": list(references)}
    # The same mutation twice ends in the same state.
    saved = await management.graphql(_SAVE, {"input": body}, repeat=True)
    told = (saved.get("saveEndpoint") or {}).get("modelReferences")
    if told is not None and list(told) != list(references):
        raise PlatformError(
            f"{management.platform}: endpoint {identity} did not take the cached model; it has {told}"
        )
