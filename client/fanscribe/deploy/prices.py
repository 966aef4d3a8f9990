"""What a deployment costs: a month at its smallest number of workers, and an hour of audio. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from fanscribe.contracts.variant import Variant
from fanscribe.deploy.state import GPU, EndpointState
from fanscribe.gpu_pools import POOLS

MONTH_S = 730 * 3600.0
"""A month, in seconds: 730 hours, a twelfth of a year."""

VOLUME_USD_PER_GB_MONTH = 0.07
"""What Runpod quotes for the first terabyte of network volumes (2026-06)."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars; None where a figure is missing. `usd_per_s`: one worker; `pool`: what it was priced as."""

    pool: str
    usd_per_s: float | None
    usd_per_month: float | None
    usd_per_audio_hour: float | None


def price_of(state: EndpointState, variant: Variant | None, quoted: Mapping[str, float]) -> Price:
    """What an endpoint costs on the first hardware it names. `quoted`: the platform's own prices per second by pool or
    CPU flavour, before which the published table stands back.

    A month counts the workers that are always on. An hour of audio counts work only (its length times the variant's
    real-time factor on that pool, its slowest where there is none), neither starts nor idle seconds.
    """
    if state.kind == GPU:
        pool = state.gpus[0]
        each = quoted.get(pool, POOLS[pool].usd_per_s if pool in POOLS else None)
        per_s = None if each is None else each * state.gpu_count
    else:
        pool = state.cpu[0]
        flavour, _, vcpus = pool.rpartition("-")
        each = quoted.get(flavour)
        per_s = None if each is None else each * int(vcpus)
    month = 0.0 if state.workers_min == 0 else None if per_s is None else per_s * state.workers_min * MONTH_S
    hour = None if per_s is None or variant is None else per_s * 3600 * _rtf(variant, pool, state.kind)
    return Price(pool, per_s, month, hour)


def _rtf(variant: Variant, pool: str, kind: str) -> float:
    figures = {name.lower(): fact.value for name, fact in variant.performance.rtf.items()}
    slowest = max(figures.values(), default=1.0)
    if kind == GPU:
        return figures.get(pool.lower(), slowest)
    on_cpu = [value for name, value in figures.items() if name.startswith("cpu")]
    return max(on_cpu, default=slowest)
