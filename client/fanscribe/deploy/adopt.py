"""Takes over an endpoint that was made by hand: it gets the project's mark, and the next plan shows what differs."""

from collections.abc import Mapping, Sequence

from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import (
    ENDPOINT_ENTRY,
    PROJECT_ENTRY,
    Account,
    Desired,
    DesiredEndpoint,
    LiveEndpoint,
)


def id_variables(endpoint: DesiredEndpoint, variant: Variant | None) -> tuple[str, ...]:
    """The environment variables that may hold this endpoint's id, as guides of split endpoints name them: after the
    endpoint, its variant, its family or its stage, such as WHISPER_ENDPOINT_ID and RUNPOD_DIARIZE_ENDPOINT_ID."""
    words = [endpoint.endpoint]
    if variant is not None:
        words += [variant.id, variant.family, *variant.stages]
        words += [{"transcribe": "ASR", "diarize": "DIARIZATION"}.get(each, each) for each in variant.stages]
    names = dict.fromkeys("".join(c if c.isalnum() else "_" for c in word).upper() for word in words)
    return tuple(f"{prefix}{name}_ENDPOINT_ID" for name in names for prefix in ("", "RUNPOD_"))


def find(
    desired: Desired,
    account: Account,
    name: str,
    variants: Mapping[str, Variant],
    environment: Mapping[str, str],
    identity: str | None = None,
) -> LiveEndpoint:
    """The live endpoint that is to become `name` of the file: by the id given, the file's id, an id variable of the
    environment, else by its name on the platform.

    Raises UsageError where there is none, several, or one of another project.
    """
    wanted = next((each for each in desired.endpoints if each.endpoint == name), None)
    if wanted is None:
        known = ", ".join(each.endpoint for each in desired.endpoints)
        raise UsageError(f"adopt {name}: the file has no such endpoint; it has {known}")
    variables = id_variables(wanted, variants.get(wanted.variant or ""))
    given, source = _given(wanted, identity, variables, environment)
    if given is not None:
        found = [each for each in account.endpoints if each.id == given]
        missing = f"the account has no endpoint {given} ({source})"
    else:
        found = [each for each in account.endpoints if each.state.name in (wanted.state.name, name)]
        missing = f"no endpoint is called {name} or {wanted.state.name}; give --id, or set {variables[0]}"
    if not found:
        raise UsageError(f"adopt {name}: {missing}")
    if len(found) > 1:
        raise UsageError(f"adopt {name}: there are several ({_ids(found)}); say which with --id")
    if found[0].project not in (None, desired.project):
        raise UsageError(f"adopt {name}: endpoint {found[0].id} belongs to project {found[0].project}")
    return found[0]


async def adopt(management: Management, live: LiveEndpoint, project: str, name: str) -> bool:
    """Mark an endpoint as the project's own; its other settings stay. False where it was so already."""
    mark = {PROJECT_ENTRY: project, ENDPOINT_ENTRY: name}
    if mark.items() <= live.state.env.items():
        return False
    await management.rest("PATCH", f"serverless/{live.id}", {"env": {**live.state.env, **mark}})
    return True


def _given(
    wanted: DesiredEndpoint, identity: str | None, variables: Sequence[str], environment: Mapping[str, str]
) -> tuple[str | None, str]:
    if identity is not None:
        return identity, "--id"
    if wanted.id is not None:
        return wanted.id, f"endpoints.{wanted.endpoint}.id"
    for variable in variables:
        if environment.get(variable):
            return environment[variable], variable
    return None, ""


def _ids(found: Sequence[LiveEndpoint]) -> str:
    return ", ".join(each.id for each in found)
