"""What the platform's GPU pools hold and what a second of a serverless worker in one costs."""

from dataclasses import dataclass

PRICES_AS_OF = "2026-06-08"
"""The date of Runpod's published table of flex prices that the figures are from."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of cards. `vram_gb`: of its smallest card, in GB; `usd_per_s`: US dollars for each second from a flex
    worker's start to its stop, None where the published table has no figure."""

    name: str
    vram_gb: int
    usd_per_s: float | None


POOLS: dict[str, Pool] = {
    each.name: each
    for each in (
        Pool("AMPERE_16", 16, 0.00016),
        Pool("AMPERE_24", 24, 0.00019),
        Pool("ADA_24", 24, 0.00031),
        Pool("ADA_32_PRO", 32, None),
        Pool("AMPERE_48", 48, 0.00034),
        Pool("ADA_48_PRO", 48, 0.00053),
        Pool("AMPERE_80", 80, 0.00076),
        Pool("ADA_80_PRO", 80, 0.00116),
        Pool("BLACKWELL_96", 96, 0.00111),
        Pool("HOPPER_141", 141, 0.00155),
        Pool("BLACKWELL_180", 180, 0.00240),
    )
}
"""Every serverless pool, by name."""

FLEX_USD_PER_S: dict[str, float] = {
    each.name: each.usd_per_s for each in POOLS.values() if each.usd_per_s is not None
}
"""US dollars for each second of a flex worker, by pool; no figure for ADA_32_PRO (RTX 5090), nor for CPU workers."""

CPU_GB_PER_VCPU: dict[str, int] = {"cpu3g": 4, "cpu3c": 2, "cpu5c": 2, "cpu5g": 4}
"""Memory that comes with each virtual core of a CPU worker, in GB, by flavour."""

_NEARLY_AS_CHEAP = 1.25
_MOST_CHOSEN = 3


def price_per_s(pool: str) -> float | None:
    """US dollars for a second of a worker in this pool, in either case of letters; None where it is unknown."""
    return FLEX_USD_PER_S.get(pool.upper())


def choose_pools(vram_gb: float, gpu_count: int = 1) -> tuple[str, ...]:
    """The cheapest pool that holds so much VRAM, and with it those at most a quarter dearer, the cheapest first.

    A second pool is a second chance of a free card; the platform takes up to three. Empty: nothing is large enough.
    """
    fitting = sorted(
        (each.usd_per_s, each.vram_gb, each.name)
        for each in POOLS.values()
        if each.usd_per_s is not None and each.vram_gb * gpu_count >= vram_gb
    )
    if not fitting:
        return ()
    most = fitting[0][0] * _NEARLY_AS_CHEAP
    return tuple(name for price, _, name in fitting if price <= most)[:_MOST_CHOSEN]


def choose_cpu(ram_gb: float) -> str | None:
    """The smallest CPU worker with so much memory, as `flavour-vcpus`; None where none is large enough."""
    for vcpus in (2, 4, 8, 16, 32):
        for flavour in ("cpu3c", "cpu3g"):
            if CPU_GB_PER_VCPU[flavour] * vcpus >= ram_gb:
                return f"{flavour}-{vcpus}"
    return None
