"""What an endpoint of endpoints.toml comes to: defaults and profile applied, hardware chosen. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fanscribe.contracts.variant import Variant
from fanscribe.endpoints_schema import EndpointConfig, Scaling, Settings, Workers, cpu_flavour
from fanscribe.gpu_pools import CPU_GB_PER_VCPU, POOLS, choose_cpu, choose_pools

T = TypeVar("T")

DEFAULT_QUEUE_DELAY_S = 4.0
"""How long a job waits before workers are added, where the file says nothing: Runpod's own default."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of one endpoint with nothing left out. Times in seconds, sizes in GB."""

    workers: Workers
    idle_timeout_s: int
    execution_timeout_s: int
    scaling: Scaling
    flashboot: str
    prefetch: bool
    disk_gb: int
    data_centres: tuple[str, ...]
    volumes: tuple[str, ...]
    secrets: Mapping[str, str]
    env: Mapping[str, str]
    min_cuda: str | None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What workers run on: GPU pools, or CPU flavours with their virtual cores. One of the two is empty."""

    gpus: tuple[str, ...] = ()
    excluded_gpus: tuple[str, ...] = ()
    gpu_count: int = 1
    cpu: tuple[tuple[str, int], ...] = ()


def effective(*narrow_to_wide: Settings) -> Effective:
    """The settings once the wider places fill what the narrower ones leave out; `env` and `secrets` add up."""

    places = narrow_to_wide
    return Effective(
        workers=_first((each.workers for each in places), Workers()),
        idle_timeout_s=_first((each.idle_timeout_s for each in places), 60),
        execution_timeout_s=_first((each.execution_timeout_s for each in places), 600),
        scaling=_first((each.scaling for each in places), Scaling(queue_delay_s=DEFAULT_QUEUE_DELAY_S)),
        flashboot=_first((each.flashboot for each in places), "on"),
        prefetch=_first((each.prefetch for each in places), False),
        disk_gb=_first((each.disk_gb for each in places), 20),
        data_centres=tuple(_first((each.data_centres for each in places), [])),
        volumes=tuple(_first((each.volumes for each in places), [])),
        secrets=_merged(each.secrets for each in places),
        env=_merged(each.env for each in places),
        min_cuda=next((each.min_cuda for each in places if each.min_cuda is not None), None),
    )


def _first(values: Iterable[T | None], default: T) -> T:
    return next((value for value in values if value is not None), default)


def _merged(narrow_to_wide: Iterable[Mapping[str, str] | None]) -> dict[str, str]:
    result: dict[str, str] = {}
    for each in narrow_to_wide:
        result = {**(each or {}), **result}
    return result


def hardware_of(config: EndpointConfig, variant: Variant) -> tuple[Hardware, list[str]]:
    """What the endpoint runs on, and what is wrong with it, each as `key: fault`.

    Where the file names neither GPU nor CPU, a variant that wants no VRAM and runs on a CPU gets the smallest CPU
    worker that holds it, any other the cheapest GPU pools.
    """
    needs = variant.hardware
    if config.cpu is not None:
        return _named_cpu(config.cpu, variant)
    if config.gpus is not None:
        count = config.gpu_count or 1
        small = [pool for pool in config.gpus if POOLS[pool].vram_gb * count < needs.min_vram_gb]
        faults = [
            f"gpus: {pool} has {POOLS[pool].vram_gb * count} GB, but {variant.id} needs {needs.min_vram_gb:g} GB; "
            f"{_large_enough(needs.min_vram_gb, count)}"
            for pool in small
        ]
        return Hardware(tuple(config.gpus), tuple(config.excluded_gpus or ()), count), faults
    if needs.cpu and needs.min_vram_gb == 0 and config.gpu_count is None and config.min_cuda is None:
        chosen = choose_cpu(needs.min_ram_gb)
        if chosen is not None:
            return Hardware(cpu=(cpu_flavour(chosen),)), []
    count = config.gpu_count or 1
    pools = choose_pools(needs.min_vram_gb, count)
    faults = [] if pools else [f"gpus: no pool has the {needs.min_vram_gb:g} GB that {variant.id} needs"]
    return Hardware(pools, (), count), faults


def _named_cpu(names: list[str], variant: Variant) -> tuple[Hardware, list[str]]:
    faults = []
    if not variant.hardware.cpu:
        faults.append(f"cpu: {variant.id} needs a GPU: leave cpu out, or name gpus")
    flavours = [cpu_flavour(each) for each in names]
    for (flavour, vcpus), text in zip(flavours, names, strict=True):
        held = CPU_GB_PER_VCPU[flavour] * vcpus
        if held < variant.hardware.min_ram_gb:
            faults.append(
                f"cpu: {text} has {held} GB, but {variant.id} needs {variant.hardware.min_ram_gb:g} GB; "
                f"{choose_cpu(variant.hardware.min_ram_gb) or 'nothing'} is the smallest that holds it"
            )
    return Hardware(cpu=tuple(flavours)), faults


def _large_enough(vram_gb: float, count: int) -> str:
    names = [each.name for each in POOLS.values() if each.vram_gb * count >= vram_gb]
    return f"large enough are {', '.join(names)}" if names else "no pool is large enough"
