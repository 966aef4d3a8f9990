"""What endpoints.toml may say.

The models carry the field descriptions of the published JSON schema (docs/endpoints.schema.json), so editors and
this code say the same.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from fanscribe.gpu_pools import CPU_GB_PER_VCPU, POOLS

NAME = r"^[a-z0-9][a-z0-9._-]*$"
OWN_ENV_PREFIXES = (
    "FANSCRIBE_PROJECT",
    "FANSCRIBE_ENDPOINT",
    "FANSCRIBE_VARIANT",
    "FANSCRIBE_CACHED_MODEL",
    "FANSCRIBE_PREFETCH",
    "FANSCRIBE_DEPLOYMENT",
    "FANSCRIBE_EXECUTION_TIMEOUT_S",
)
"""Environment entries that `fanscribe deploy` writes itself."""

_SECRET_NAMES = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE
)
_SECRET_VALUES = re.compile(r"^(hf_|rpa_|rps_|sk-|ghp_|github_pat_|AKIA|xox[bp]-)[A-Za-z0-9_-]{12,}$")

Name = Annotated[str, Field(pattern=NAME)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


GpuPool = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(POOLS)})]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Workers(_Strict):
    """How many workers an endpoint may have."""

    min: int = Field(default=0, ge=0, le=1000, description="Always on, and paid for.")
    max: int = Field(default=1, ge=1, le=1000, description="Never more than this.")

    @model_validator(mode="after")
    def _ordered(self) -> "Workers":
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class Scaling(_Strict):
    """When workers are added: one of the two."""

    queue_delay_s: float | None = Field(default=None, ge=0.5, description="A job waits longer than this.")
    jobs_per_worker: int | None = Field(
        default=None, ge=1, description="More jobs than this for each worker, waiting ones included."
    )

    @model_validator(mode="after")
    def _one(self) -> "Scaling":
        if (self.queue_delay_s is None) == (self.jobs_per_worker is None):
            raise ValueError("give one of queue_delay_s and jobs_per_worker")
        return self


class Settings(_Strict):
    """What defaults, profiles and endpoints may all say. What is left out comes from the next wider place."""

    workers: Workers | None = Field(default=None, description="Left out: { min = 0, max = 1 }.")
    idle_timeout_s: int | None = Field(
        default=None, ge=1, le=3600, description="How long an idle worker stays, paid. Left out: 60."
    )
    execution_timeout_s: int | None = Field(
        default=None, ge=5, le=604_800, description="A job that runs longer is ended. Left out: 600."
    )
    scaling: Scaling | None = Field(default=None, description="Left out: { queue_delay_s = 4 }.")
    flashboot: Literal["off", "on", "priority"] | None = Field(
        default=None, description="Keep the state of stopped workers for a quicker start. Left out: on."
    )
    prefetch: bool | None = Field(
        default=None, description="A worker fetches its next job while the engine is busy. Left out: false."
    )
    disk_gb: int | None = Field(default=None, ge=1, le=4096, description="Container disk. Left out: 20.")
    data_centres: list[str] | None = Field(
        default=None, description="Ids such as EU-RO-1. Left out or empty: any."
    )
    volumes: list[Name] | None = Field(default=None, description="Names from [volumes].")
    secrets: dict[EnvName, SecretName] | None = Field(
        default=None,
        description="Environment entry = name of a Runpod secret. Only the name stands here, never the secret.",
    )
    env: dict[EnvName, str] | None = Field(
        default=None, description="Further environment entries; no secrets."
    )
    min_cuda: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None = Field(
        default=None, description="Lowest CUDA version of a host, for GPU endpoints."
    )

    @field_validator("data_centres", "volumes")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        return _once(value)

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, text in (value or {}).items():
            if name.startswith(OWN_ENV_PREFIXES):
                raise ValueError(f"{name} is set by fanscribe itself: leave it out")
            if _SECRET_NAMES.search(name) or _SECRET_VALUES.match(text):
                raise ValueError(f"{name} looks like a secret: keep it on Runpod and name it under secrets")
        return value

    @field_validator("secrets")
    @classmethod
    def _names_only(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, text in (value or {}).items():
            if name.startswith(OWN_ENV_PREFIXES):
                raise ValueError(f"{name} is set by fanscribe itself: leave it out")
            if _SECRET_VALUES.match(text):
                raise ValueError(f"{name} holds a secret itself: write the name of a Runpod secret instead")
        return value


class EndpointConfig(Settings):
    """One endpoint: which variant, on which hardware. `gpus` and `cpu` exclude each other; both may be left out."""

    variant: str = Field(description="A variant's id; `fanscribe engines list` shows them.")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = Field(
        default=None, description="The platform's id of an endpoint that exists already."
    )
    gpus: list[GpuPool] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="GPU pools in order of preference. Left out: the cheapest that hold the variant.",
    )
    excluded_gpus: list[str] | None = Field(
        default=None, description="GPU types of these pools that are not wanted, such as NVIDIA RTX A4500."
    )
    gpu_count: int | None = Field(default=None, ge=1, le=8, description="GPUs of each worker. Left out: 1.")
    cpu: list[str] | None = Field(
        default=None, min_length=1, description="CPU workers as flavour-vCPUs, such as cpu3c-4; no GPU then."
    )
    group: Name | None = Field(
        default=None, description="Endpoints of one group share one box where endpoints become containers."
    )

    @field_validator("gpus")
    @classmethod
    def _known_pools(cls, value: list[str] | None) -> list[str] | None:
        for pool in value or ():
            if pool not in POOLS:
                raise ValueError(f"unknown GPU pool {pool!r}; known are {', '.join(sorted(POOLS))}")
        return _once(value)

    @field_validator("cpu")
    @classmethod
    def _known_flavours(cls, value: list[str] | None) -> list[str] | None:
        for each in value or ():
            cpu_flavour(each)
        return _once(value)

    @model_validator(mode="after")
    def _one_kind(self) -> "EndpointConfig":
        if self.cpu is not None:
            for key in ("gpus", "excluded_gpus", "gpu_count", "min_cuda"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} and cpu exclude each other")
        if self.excluded_gpus is not None and self.gpus is None:
            raise ValueError("excluded_gpus needs gpus: it takes cards out of the pools that are named")
        return self


class OrchestratorConfig(Settings):
    """The CPU endpoint that takes one call and fans out to the others."""

    name: Name = "orchestrator"
    cpu: list[str] = Field(default=["cpu3c-2"], min_length=1, description="CPU workers as flavour-vCPUs.")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = Field(
        default=None, description="The platform's id of an endpoint that exists already."
    )
    group: Name | None = None

    @field_validator("cpu")
    @classmethod
    def _known_flavours(cls, value: list[str]) -> list[str]:
        for each in value:
            cpu_flavour(each)
        return value


class Images(_Strict):
    """Where the worker images lie: `<registry>/fanscribe-<family>:<tag>`, or `@<digest>` where one is given."""

    registry: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.:/_-]*[a-z0-9]$")] = Field(
        default="ghcr.io/fanscribe", description="Host and path before the image's name."
    )
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = Field(
        default=None, description="Version tag. Left out: the version of this fanscribe."
    )
    digests: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Digest] = Field(
        default_factory=dict, description="Family = digest: pins that image, whatever its tag says."
    )
    credential: str | None = Field(
        default=None, description="Name of the registry credential on Runpod, for private images."
    )

    @field_validator("tag")
    @classmethod
    def _moves_never(cls, value: str | None) -> str | None:
        if value == "latest":
            raise ValueError("latest says not which version runs, and a push to it replaces no worker")
        return value


class Volume(_Strict):
    """A network volume. `deploy` makes it when there is none of its name; nothing ever deletes it."""

    data_centre: str = Field(min_length=2, description="Where it lies; its endpoints run only there.")
    size_gb: int = Field(ge=10, le=4096)
    tier: Literal["standard", "high_performance"] = "standard"
    id: str | None = Field(default=None, description="The platform's id of a volume that exists already.")


class Profile(_Strict):
    """A choice of endpoints, with defaults of its own."""

    endpoints: list[Name] = Field(min_length=1, description="Names from [endpoints].")
    orchestrator: bool = Field(default=False, description="Whether the orchestrator belongs to it.")
    defaults: Settings = Field(default_factory=Settings, description="Stand above [defaults].")


class Project(_Strict):
    """What the file is about."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)] = Field(
        description="Marks what belongs to it on the platform; the first part of every endpoint's name there."
    )
    variants: list[str] = Field(
        default_factory=list, description="Folders with your own variant files, relative to this file."
    )
    profile: Name | None = Field(
        default=None, description="The profile used when none is named. Left out: every endpoint."
    )
    worker_limit: int | None = Field(
        default=None,
        ge=1,
        description="How many workers the account may have, where the platform does not tell.",
    )


class EndpointsFile(_Strict):
    """endpoints.toml, whole."""

    schema_version: Literal[1] = 1
    project: Project
    images: Images = Images()
    defaults: Settings = Settings()
    endpoints: dict[Name, EndpointConfig]
    orchestrator: OrchestratorConfig | None = None
    volumes: dict[Name, Volume] = Field(default_factory=dict)
    profiles: dict[Name, Profile] = Field(default_factory=dict)


def cpu_flavour(text: str) -> tuple[str, int]:
    """`cpu3c-4` as flavour and number of virtual cores. Raises ValueError that says what is wrong."""
    flavour, _, count = text.partition("-")
    if flavour not in CPU_GB_PER_VCPU:
        raise ValueError(f"unknown CPU flavour in {text!r}; known are {', '.join(sorted(CPU_GB_PER_VCPU))}")
    vcpus = int(count) if count.isdecimal() else 0
    if not 2 <= vcpus <= 32 or vcpus & (vcpus - 1):
        raise ValueError(f"{text!r}: the virtual cores are 2, 4, 8, 16 or 32, as in {flavour}-4")
    return flavour, vcpus


def _once(value: list[str] | None) -> list[str] | None:
    if value is not None and len(set(value)) < len(value):
        raise ValueError("something stands there twice")
    return value
