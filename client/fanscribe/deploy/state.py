"""What an endpoint is, in the same terms for the one that is wanted and the one that is live. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

Value = str | int | float | tuple[str, ...] | None
"""What a field may hold."""


class Unknown(StrEnum):
    """Stands where the platform does not say what a field holds."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

PROJECT_ENTRY = "FANSCRIBE_PROJECT"
"""The environment entry that marks an endpoint as a project's own; endpoints have no tags."""
ENDPOINT_ENTRY = "FANSCRIBE_ENDPOINT"
"""The environment entry with the endpoint's name in endpoints.toml."""
CACHED_MODEL_ENTRY = "FANSCRIBE_CACHED_MODEL"
"""The environment entry that says which cached model was asked for. It is written after the model was, so it also
tells an endpoint that is complete from one whose making broke off."""
VARIANT_ENTRY = "FANSCRIBE_VARIANT"
VARIANT_JSON_ENTRY = "FANSCRIBE_VARIANT_JSON"
PREFETCH_ENTRY = "FANSCRIBE_PREFETCH"
DEPLOYMENT_ENTRY = "FANSCRIBE_DEPLOYMENT"
"""The environment entry that tells the orchestrator which endpoints there are."""
TIMEOUT_ENTRY = "FANSCRIBE_EXECUTION_TIMEOUT_S"
"""The environment entry that tells the orchestrator when the platform ends its jobs, in seconds."""

GPU = "gpu"
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint's configuration. Times in seconds, sizes in GB; volumes and the credential by platform id."""

    name: str
    kind: str
    image: str
    env: Mapping[str, str]
    workers_min: int
    workers_max: int
    idle_timeout_s: int | Unknown | None
    """None where the platform takes none: jobs per worker scale it."""
    execution_timeout_s: float | Unknown
    scaling: str
    """`queue_delay_s=4` or `jobs_per_worker=4`."""
    flashboot: str | Unknown
    disk_gb: int | Unknown
    gpus: tuple[str, ...] = ()
    excluded_gpus: tuple[str, ...] = ()
    gpu_count: int = 1
    min_cuda: str | None = None
    cuda_versions: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    data_centres: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    args: str = ""
    ports: tuple[str, ...] = ()
    credential: str | Unknown | None = None
    cached_model: tuple[str, ...] | Unknown = ()
    routing: str = "QUEUE"

    def fields(self) -> dict[str, Value | Unknown]:
        """Every field by the name it has for people; environment entries one by one."""
        named: dict[str, Value | Unknown] = {
            "name": self.name,
            "kind": self.kind,
            "routing": self.routing,
            "image": self.image,
            "args": self.args,
            "ports": self.ports,
            "disk_gb": self.disk_gb,
            "credential": self.credential,
            "workers.min": self.workers_min,
            "workers.max": self.workers_max,
            "idle_timeout_s": self.idle_timeout_s,
            "execution_timeout_s": self.execution_timeout_s,
            "scaling": self.scaling,
            "flashboot": self.flashboot,
            "data_centres": self.data_centres,
            "volumes": self.volumes,
        }
        if self.kind == GPU:
            named |= {
                "gpus": self.gpus,
                "excluded_gpus": self.excluded_gpus,
                "gpu_count": self.gpu_count,
                "min_cuda": self.min_cuda,
                "cuda_versions": self.cuda_versions,
                "cached_model": self.cached_model,
            }
        else:
            named["cpu"] = self.cpu
        return named | {f"env.{name}": value for name, value in sorted(self.env.items())}


@dataclass(frozen=True, slots=True)
class DesiredEndpoint:
    """An endpoint as endpoints.toml wants it. `id`: of one that exists already, where the file gives it."""

    endpoint: str
    state: EndpointState
    id: str | None = None
    variant: str | None = None
    """The variant's id; None for the orchestrator."""


@dataclass(frozen=True, slots=True)
class LiveEndpoint:
    """An endpoint as the platform has it."""

    id: str
    state: EndpointState
    created_at: str = ""

    @property
    def project(self) -> str | None:
        """Whose it is, by its mark; None for an endpoint without one."""
        return self.state.env.get(PROJECT_ENTRY)

    @property
    def endpoint(self) -> str | None:
        """Its name in the project's endpoints.toml."""
        return self.state.env.get(ENDPOINT_ENTRY)


@dataclass(frozen=True, slots=True)
class DesiredVolume:
    """A network volume that endpoints name."""

    key: str
    name: str
    data_centre: str
    size_gb: int
    tier: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class LiveVolume:
    """A network volume as the platform has it."""

    id: str
    name: str
    data_centre: str
    size_gb: int


@dataclass(frozen=True, slots=True)
class Desired:
    """What a profile of endpoints.toml wants the account to be. `worker_limit`: the file's, where it has one."""

    project: str
    endpoints: tuple[DesiredEndpoint, ...]
    volumes: tuple[DesiredVolume, ...] = ()
    credential: str | None = None
    profile: str | None = None
    worker_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What is live. `models`: cached models by endpoint id, None where the platform does not tell."""

    endpoints: tuple[LiveEndpoint, ...]
    volumes: tuple[LiveVolume, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    """Registry credentials: id by name."""
    worker_limit: int | None = None
    prices: Mapping[str, float] = field(default_factory=dict)
    """US dollars for a second, by GPU pool or CPU flavour, as the platform's catalogue quotes them."""
    notes: tuple[str, ...] = ()
    """What could not be asked, each as a sentence."""

    def of(self, project: str) -> tuple[LiveEndpoint, ...]:
        """The endpoints that carry a project's mark."""
        return tuple(each for each in self.endpoints if each.project == project)
