"""What an account holds. Each record is replaced as a whole when it changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fanscribe.local.spec import QUEUE_DELAY, REQUEST_COUNT

OFF = "OFF"
FLASHBOOT_MODES = (OFF, "FLASHBOOT", "PRIORITY_FLASHBOOT")


@dataclass(frozen=True, slots=True)
class Container:
    """What a worker's container is made of. `disk` in GB."""

    image: str
    args: str = ""
    disk: int = 20
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    registry: str | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """Which graphics cards a worker may run on."""

    pools: tuple[str, ...]
    excluded_types: tuple[str, ...] = ()
    count: int = 1
    allowed_cuda: tuple[str, ...] = ()
    min_cuda: str = ""


@dataclass(frozen=True, slots=True)
class Cpu:
    """A kind of processor that a worker may run on."""

    flavor: str
    vcpus: int


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a release changed."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Release:
    """One version of what an endpoint's workers are."""

    id: str
    version: int
    created_at: datetime
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as its owner asked for it. GPU endpoints have `gpu`, CPU endpoints `cpu`."""

    id: str
    name: str
    container: Container
    created_at: datetime
    template_id: str
    """Of the account's templates, or an id of its own: then it has no template but its container."""
    gpu: Gpu | None = None
    cpu: tuple[Cpu, ...] = ()
    workers_min: int = 0
    workers_max: int = 3
    idle_timeout_s: int = 10
    scaler: str = QUEUE_DELAY
    scaler_value: float = 4.0
    """Seconds of waiting (QUEUE_DELAY) or requests per worker (REQUEST_COUNT)."""
    timeout_ms: int = 300_000
    """Of one request; 0 for no limit."""
    flashboot: str = OFF
    data_centers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    """Newest first."""

    @property
    def version(self) -> int:
        """Of the release that is the live one."""
        return self.releases[0].version if self.releases else 0

    @property
    def counts_requests(self) -> bool:
        """Whether it scales on requests: then the platform takes no idle timeout for it."""
        return self.scaler == REQUEST_COUNT


@dataclass(frozen=True, slots=True)
class Template:
    """Container settings under a name. `mount` is the size in GB and the path of its persistent mount."""

    id: str
    name: str
    container: Container
    serverless: bool = False
    public: bool = False
    category: str = "NVIDIA"
    start_ssh: bool = True
    start_jupyter: bool = True
    allowed_cuda: tuple[str, ...] = ()
    mount: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """A network volume. `size` in GB."""

    id: str
    name: str
    size: int
    data_center: str
    type: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class Registry:
    """Credentials of an image registry. Nothing is pulled here, so they are not kept."""

    id: str
    name: str


def released(endpoint: Endpoint, changes: tuple[Change, ...], release_id: str, now: datetime) -> Endpoint:
    """The endpoint with one more release."""
    release = Release(release_id, endpoint.version + 1, now, changes)
    return replace(endpoint, releases=(release, *endpoint.releases))
