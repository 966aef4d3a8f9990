"""What endpoints.toml comes to where endpoints are containers: workers, and the boxes that they share. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.desired import ORCHESTRATOR_IMAGE, image_of, read_desired
from fanscribe.deploy.diff import deployment_entry
from fanscribe.deploy.state import (
    CACHED_MODEL_ENTRY,
    DEPLOYMENT_ENTRY,
    ENDPOINT_ENTRY,
    GPU,
    PROJECT_ENTRY,
    Desired,
    DesiredEndpoint,
)
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.endpoints_schema import EndpointsFile, cpu_flavour
from fanscribe.gpu_pools import CPU_GB_PER_VCPU, POOLS
from fanscribe.local.spec import EndpointSpec, SpecError

PLATFORM = "platform"
"""What the service with the queue is called, beside the endpoints."""

PORT = 8008
"""Where that service listens."""

ORIGINS_ENTRY = "FANSCRIBE_ALLOWED_ORIGINS"
THREADS_ENTRY = "FANSCRIBE_THREADS"

_ORCHESTRATOR_RAM_GB = 1.0
_SECRET = re.compile(r"\{\{\s*RUNPOD_SECRET_([A-Za-z0-9_.-]+)\s*\}\}")
_RUNPODS_OWN = (CACHED_MODEL_ENTRY, PROJECT_ENTRY, ENDPOINT_ENTRY, "RUNPOD_API_KEY")
"""Entries that say nothing here; a worker's key is that of the platform which it joins."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """The workers of one endpoint as containers. Times in seconds, sizes in GB.

    `secrets` maps environment entries to names of secrets; no value of one is known here. `vram_gb` is what a
    worker takes on all its cards, `card_gb` what each card is to have: both 0 on a CPU endpoint, as `vcpus` is on a GPU
    endpoint. `box` is its group, or its own name.
    """

    endpoint: str
    image: str
    module: str
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    labels: Mapping[str, str]
    box: str
    workers_min: int
    workers_max: int
    ram_gb: float
    vram_gb: float
    card_gb: float
    gpu_count: int
    vcpus: int
    disk_gb: int
    idle_timeout_s: int
    execution_timeout_s: float
    scaling: str

    @property
    def command(self) -> list[str]:
        """What starts one of them, but for where its platform is."""
        return ["python", "-m", self.module]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that is to run: the platform's image, and the workers in the order of the file."""

    project: str
    profile: str | None
    platform_image: str
    workers: tuple[WorkerSpec, ...]

    def boxes(self) -> dict[str, tuple[WorkerSpec, ...]]:
        """The workers by box, in the order of the file."""
        found: dict[str, tuple[WorkerSpec, ...]] = {}
        for each in self.workers:
            found[each.box] = (*found.get(each.box, ()), each)
        return found

    def secrets(self) -> dict[str, tuple[str, ...]]:
        """The secrets that are needed, each with its endpoints."""
        found: dict[str, tuple[str, ...]] = {}
        for each in self.workers:
            for name in sorted(set(each.secrets.values())):
                found[name] = (*found.get(name, ()), each.endpoint)
        return dict(sorted(found.items()))


def read_deployment(file: Path, profile: str | None, platform_url: str) -> Deployment:
    """What the file and one of its profiles want. `platform_url`: where workers find the platform.

    Raises CatalogueError with the faults of the file, UsageError for what containers cannot be.
    """
    faults: list[str] = []
    config = read_endpoints_file(file, faults)
    if config is None:
        raise CatalogueError(faults)
    wanted = read_desired(file, profile)
    return deployment(config, wanted, load_catalogue(file).variants, platform_url, str(file))


def deployment(
    config: EndpointsFile,
    wanted: Desired,
    variants: Mapping[str, Variant],
    platform_url: str,
    label: str = "endpoints.toml",
) -> Deployment:
    """The same from what was read. Raises UsageError that names every fault."""
    listed = deployment_entry((each, each.endpoint) for each in wanted.endpoints if each.variant)
    faults: list[str] = []
    workers = []
    for each in wanted.endpoints:
        variant = variants[each.variant] if each.variant else None
        if each.endpoint == PLATFORM:
            faults.append(f"endpoints.{each.endpoint}: the queue's own service has this name: choose another")
        env, secrets = _environment(each, faults)
        if variant is None:
            env[DEPLOYMENT_ENTRY] = listed
        env[ORIGINS_ENTRY] = ",".join(filter(None, (platform_url, env.get(ORIGINS_ENTRY))))
        workers.append(_worker(config, each, variant, env, secrets))
        faults += _name_faults(workers[-1])
    groups = {each.group for each in (*config.endpoints.values(), config.orchestrator) if each and each.group}
    for name in sorted(groups & {each.endpoint for each in workers if each.endpoint == each.box}):
        if any(each.box == name and each.endpoint != name for each in workers):
            faults.append(f"endpoints.{name}: is also the name of a group: choose another for one of the two")
    if faults:
        raise UsageError("\n".join(f"{label}: {fault}" for fault in faults))
    return Deployment(wanted.project, wanted.profile, image_of(config.images, PLATFORM), tuple(workers))


def _name_faults(each: WorkerSpec) -> list[str]:
    """What the local platform would say of the endpoint's name."""
    try:
        EndpointSpec(each.endpoint)
    except SpecError as error:
        return [f"endpoints.{each.endpoint}: {error}"]
    return []


def _environment(each: DesiredEndpoint, faults: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for name, text in sorted(each.state.env.items()):
        if name in _RUNPODS_OWN:
            continue
        if (found := _SECRET.fullmatch(text.strip())) is not None:
            secrets[name] = found[1]
        elif _SECRET.search(text):
            faults.append(
                f"endpoints.{each.endpoint}.env.{name}: a secret amid other text cannot be passed by its name: "
                "make it an entry of its own"
            )
        else:
            env[name] = text
    return env, secrets


def _worker(
    config: EndpointsFile,
    each: DesiredEndpoint,
    variant: Variant | None,
    env: dict[str, str],
    secrets: Mapping[str, str],
) -> WorkerSpec:
    state = each.state
    on_gpu = state.kind == GPU
    given = config.endpoints.get(each.endpoint) if variant is not None else config.orchestrator
    # Several flavours are alternatives; the first is the one that was wanted most.
    flavour, vcpus = cpu_flavour(state.cpu[0]) if not on_gpu else ("", 0)
    ram_gb = variant.hardware.min_ram_gb if variant is not None else _ORCHESTRATOR_RAM_GB
    if not on_gpu:
        ram_gb = max(ram_gb, float(CPU_GB_PER_VCPU[flavour] * vcpus))
        if variant is not None:
            env.setdefault(THREADS_ENTRY, str(vcpus))
    vram_gb = max(1.0, variant.hardware.min_vram_gb) if on_gpu and variant is not None else 0.0
    family = variant.family if variant is not None else ""
    return WorkerSpec(
        endpoint=each.endpoint,
        image=state.image,
        module=f"fanscribe_handlers.{family}" if family else f"fanscribe_{ORCHESTRATOR_IMAGE}",
        env=dict(sorted(env.items())),
        secrets=secrets,
        labels={"variant": variant.id, "stages": ",".join(variant.stages)}
        if variant is not None
        else {"orchestrator": "1"},
        box=(given.group if given is not None else None) or each.endpoint,
        workers_min=state.workers_min,
        workers_max=state.workers_max,
        ram_gb=ram_gb,
        vram_gb=vram_gb,
        card_gb=_card_gb(config, each, vram_gb) if on_gpu else 0.0,
        gpu_count=state.gpu_count if on_gpu else 0,
        vcpus=vcpus,
        disk_gb=state.disk_gb if isinstance(state.disk_gb, int) else 0,
        idle_timeout_s=state.idle_timeout_s if isinstance(state.idle_timeout_s, int) else 60,
        execution_timeout_s=state.execution_timeout_s
        if isinstance(state.execution_timeout_s, float)
        else 600.0,
        scaling=state.scaling,
    )


def _card_gb(config: EndpointsFile, each: DesiredEndpoint, vram_gb: float) -> float:
    """The smallest pool that the file names, else what the variant needs."""
    pools = config.endpoints[each.endpoint].gpus
    if pools is not None:
        return float(min(POOLS[pool].vram_gb for pool in pools))
    return vram_gb / each.state.gpu_count
