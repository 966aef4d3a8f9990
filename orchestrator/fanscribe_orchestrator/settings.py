"""What an orchestrator learns from its environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.variant import Variant
from fanscribe.endpoint import RUNPOD_URL
from fanscribe.fetch.policy import DEFAULT_MAX_BYTES
from fanscribe.trace import traces_file
from fanscribe.worker_environment import SettingsError, cores, first_fault, number

DEPLOYMENT_VARIABLE = "FANSCRIBE_DEPLOYMENT"
"""The endpoints that there are, as JSON: `fanscribe deploy` writes it."""

DEFAULT_JOBS_HELD = 50
"""Requests that one worker works on at once: each costs it little more than its decoding."""

DEFAULT_EXECUTION_TIMEOUT_S = 600.0
"""When the platform ends a job whose endpoint says nothing about it (Runpod's own default)."""

DEFAULT_MAX_AUDIO_S = 43_200.0
"""The longest recording in seconds (12 hours), unless the environment says otherwise."""


class _Workers(BaseModel):
    min: int = Field(0, ge=0)
    max: int = Field(1, ge=1)


class _Deployed(BaseModel):
    """One entry of FANSCRIBE_DEPLOYMENT. Fields that a later version adds are left aside."""

    model_config = ConfigDict(extra="ignore")

    name: str
    id: str
    variant: str | None = None
    variant_json: str | None = None
    workers: _Workers = _Workers()
    gpus: list[str] = Field(default_factory=list)
    idle_timeout_s: int = 60
    execution_timeout_s: float | None = None
    prefetch: bool = False


_DEPLOYMENT: TypeAdapter[list[_Deployed]] = TypeAdapter(list[_Deployed])


@dataclass(frozen=True, slots=True)
class Settings:
    """The orchestrator's settings.

    `base_url` is the data plane's, up to and without the endpoint's id. `jobs_held` is how many requests it works
    on at once, `decodes` how many recordings it decodes at once. `execution_timeout_s` is when the platform ends its
    jobs. `allowed_origins` (scheme, host, port) may be fetched although they resolve to private addresses. `local`:
    the platform is a local one, which has an object store of its own. `traces` is the file for the traces of requests.
    """

    base_url: str
    api_key: str
    catalogue: Catalogue
    allowed_origins: tuple[str, ...] = ()
    jobs_held: int = DEFAULT_JOBS_HELD
    decodes: int = 4
    max_bytes: int = DEFAULT_MAX_BYTES
    max_audio_s: float = DEFAULT_MAX_AUDIO_S
    execution_timeout_s: float = DEFAULT_EXECUTION_TIMEOUT_S
    traces: Path | None = None

    @property
    def local(self) -> bool:
        """Whether the endpoints are on a local platform: its own origin is one that may be fetched."""
        return origin_of(self.base_url) in self.allowed_origins

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read every variable. Raises SettingsError, and UsageError for FANSCRIBE_TRACES."""
        key = environ.get("RUNPOD_API_KEY", "").strip()
        if not key:
            raise SettingsError(
                "RUNPOD_API_KEY is not set: the orchestrator calls the other endpoints with it; give the endpoint a "
                "secret of that name"
            )
        origins = environ.get("FANSCRIBE_ALLOWED_ORIGINS", "")
        return cls(
            base_url=(environ.get("RUNPOD_ENDPOINT_BASE_URL") or RUNPOD_URL).rstrip("/"),
            api_key=key,
            catalogue=read_deployment(environ),
            allowed_origins=tuple(origin.strip() for origin in origins.split(",") if origin.strip()),
            jobs_held=int(number(environ, "FANSCRIBE_CONCURRENCY", DEFAULT_JOBS_HELD)),
            decodes=int(number(environ, "FANSCRIBE_DECODES", max(4, 2 * cores()))),
            max_bytes=int(number(environ, "FANSCRIBE_MAX_BYTES", DEFAULT_MAX_BYTES)),
            max_audio_s=number(environ, "FANSCRIBE_MAX_AUDIO_S", DEFAULT_MAX_AUDIO_S),
            execution_timeout_s=number(environ, "FANSCRIBE_EXECUTION_TIMEOUT_S", DEFAULT_EXECUTION_TIMEOUT_S),
            traces=traces_file(environ),
        )


def read_deployment(environ: Mapping[str, str]) -> Catalogue:
    """The endpoints that FANSCRIBE_DEPLOYMENT names. Raises SettingsError."""
    text = environ.get(DEPLOYMENT_VARIABLE, "")
    try:
        entries = _DEPLOYMENT.validate_python(json.loads(text))
    except ValueError as error:
        where = first_fault(error) if isinstance(error, ValidationError) else "it is not JSON"
        raise SettingsError(
            f"{DEPLOYMENT_VARIABLE} does not list the endpoints ({where}): deploy the orchestrator with "
            "`fanscribe deploy`, which sets it"
        ) from error
    catalogue = load_catalogue()
    found = [_endpoint(each, catalogue) for each in entries]
    variants = {each.variant.id: each.variant for each in found}
    return replace(catalogue, variants=catalogue.variants | variants, endpoints=tuple(found))


def _endpoint(entry: _Deployed, catalogue: Catalogue) -> DeployedEndpoint:
    if entry.variant_json is not None:
        try:
            variant = Variant.model_validate_json(entry.variant_json)
        except ValidationError as error:
            raise SettingsError(
                f"{DEPLOYMENT_VARIABLE}: the endpoint {entry.name} has a variant that cannot be read "
                f"({first_fault(error)})"
            ) from error
    else:
        known = catalogue.variants.get(entry.variant or "")
        if known is None:
            raise SettingsError(
                f"{DEPLOYMENT_VARIABLE}: the endpoint {entry.name} has the unknown variant {entry.variant!r}: deploy "
                "the orchestrator with the same version of fanscribe as the endpoints"
            )
        variant = known
    return DeployedEndpoint(
        entry.name,
        entry.id,
        variant,
        Workers(min=min(entry.workers.min, entry.workers.max), max=entry.workers.max),
        entry.idle_timeout_s,
        tuple(entry.gpus),
        entry.prefetch,
        entry.execution_timeout_s,
    )


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as they are written there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
