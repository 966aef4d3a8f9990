"""What endpoints are like right now: their warm workers, their prices, and what earlier runs showed of them."""

import asyncio
from collections.abc import Iterable, Mapping

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.contracts.errors import FanscribeError
from fanscribe.gpu_pools import price_per_s
from fanscribe.pipeline.cost import QUEUE_DELAY_S, Capacity, Factors, capacity_of
from fanscribe.pipeline.platform import Platform
from fanscribe.results.learned import Factor

TIMEOUT_S = 5.0
"""How long an endpoint may take to tell of its workers; without an answer they count as cold."""

RUN, START = "run", "start"
"""The times of which factors are learned: a task on a worker that is ready, and the start of a worker."""

SUPPLY_S = 0.003
"""Seconds to decode, encode and send a second of audio: an hour of FLAC took 10 s on two cores, which it shared with
the local platform and twenty workers that decoded."""

LOCAL = "local"
LOCAL_POOL = "cpu_2"


async def survey(platform: Platform, endpoints: Iterable[DeployedEndpoint]) -> dict[str, Capacity]:
    """The capacity of each endpoint, by its name. An endpoint that does not answer counts as cold."""
    asked = list(endpoints)
    warm = await asyncio.gather(*(_warm(platform, each) for each in asked))
    learned = await asyncio.to_thread(platform.learned.factors) if platform.learned is not None else {}
    return {
        each.name: _capacity(platform, each, count, learned) for each, count in zip(asked, warm, strict=True)
    }


def pool_of(endpoint: DeployedEndpoint, platform_name: str) -> str:
    """The GPU pool whose figures and price stand for the endpoint's workers.

    Its first choice; where it names none, the cheapest that its variant has a figure for.
    """
    if endpoint.gpus:
        return endpoint.gpus[0]
    figures = endpoint.variant.performance.rtf
    if platform_name == LOCAL:
        return LOCAL_POOL
    priced = {pool: price for pool in figures if (price := price_per_s(pool)) is not None}
    return min(priced, key=lambda pool: priced[pool] * figures[pool].value, default=next(iter(figures), ""))


def learned_name(platform_name: str, endpoint: DeployedEndpoint) -> str:
    """Under which name factors of an endpoint are learned: another variant or platform is another matter."""
    return f"{platform_name}/{endpoint.name}/{endpoint.variant.id}"


def _capacity(
    platform: Platform, endpoint: DeployedEndpoint, warm: int, learned: Mapping[tuple[str, str], Factor]
) -> Capacity:
    name = learned_name(platform.name, endpoint)
    factors = Factors(*(learned.get((name, what), Factor()).value for what in (RUN, START)))
    return capacity_of(
        endpoint,
        pool_of(endpoint, platform.name),
        warm=warm,
        # The local platform starts its first worker from zero at once.
        scale_delay_s=0.0 if platform.name == LOCAL else QUEUE_DELAY_S,
        prefetch=endpoint.prefetch,
        supply_s=SUPPLY_S,
        factors=factors,
    )


async def _warm(platform: Platform, endpoint: DeployedEndpoint) -> int:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            workers = (await platform.endpoint(endpoint.id).health()).workers
    except (FanscribeError, TimeoutError):
        return 0
    return max(workers.idle, workers.ready)
