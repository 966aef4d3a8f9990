"""Which endpoints a project has, asked of the platform: no state file, no ids to copy."""

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from fanscribe.catalogue import DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.account import read_endpoints
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import (
    DEPLOYMENT_ENTRY,
    PREFETCH_ENTRY,
    VARIANT_ENTRY,
    VARIANT_JSON_ENTRY,
    LiveEndpoint,
    Unknown,
)


async def deployed_endpoints(
    management: Management, project: str, variants: Mapping[str, Variant] | None = None
) -> tuple[DeployedEndpoint, ...]:
    """The live endpoints that carry a project's mark, with the variants that their environments name.

    `variants`: those that are known here, the built-in ones where left out. The orchestrator and endpoints of unknown
    variants are not among them. Raises what the list of endpoints is refused with.
    """
    known = load_catalogue().variants if variants is None else variants
    return endpoints_of(await read_endpoints(management), project, known)


async def deployed_orchestrator(management: Management, project: str) -> LiveEndpoint | None:
    """The live orchestrator that carries a project's mark, None where there is none.

    Raises what the list of endpoints is refused with.
    """
    return orchestrator_of(await read_endpoints(management), project)


def orchestrator_of(live: Iterable[LiveEndpoint], project: str) -> LiveEndpoint | None:
    """The orchestrator among live endpoints: the one that is told of the others, the oldest where there are several."""
    found = [each for each in live if each.project == project and DEPLOYMENT_ENTRY in each.state.env]
    return min(found, key=lambda each: (each.created_at, each.id), default=None)


def endpoints_of(
    live: Iterable[LiveEndpoint], project: str, variants: Mapping[str, Variant]
) -> tuple[DeployedEndpoint, ...]:
    """The deployed endpoints among live ones, the oldest of each name, by name."""
    found: dict[str, DeployedEndpoint] = {}
    for each in sorted(live, key=lambda each: (each.created_at, each.id)):
        variant = _variant(each, variants)
        if each.project == project and variant is not None:
            found.setdefault(each.endpoint or each.state.name, _deployed(each, variant))
    return tuple(found[name] for name in sorted(found))


def _deployed(live: LiveEndpoint, variant: Variant) -> DeployedEndpoint:
    state = live.state
    most = max(1, state.workers_max)
    idle = state.idle_timeout_s if isinstance(state.idle_timeout_s, int) else None
    timeout = None if isinstance(state.execution_timeout_s, Unknown) else state.execution_timeout_s
    return DeployedEndpoint(
        name=live.endpoint or state.name,
        id=live.id,
        variant=variant,
        workers=Workers(min=min(state.workers_min, most), max=most),
        idle_timeout_s=60 if idle is None else idle,
        gpus=state.gpus,
        prefetch=bool(state.env.get(PREFETCH_ENTRY)),
        execution_timeout_s=timeout,
    )


def _variant(live: LiveEndpoint, variants: Mapping[str, Variant]) -> Variant | None:
    if spelled := live.state.env.get(VARIANT_JSON_ENTRY):
        try:
            return Variant.model_validate_json(spelled)
        except ValidationError:
            return None
    return variants.get(live.state.env.get(VARIANT_ENTRY, ""))
