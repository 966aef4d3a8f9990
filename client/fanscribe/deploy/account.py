"""What is live: the account's endpoints and whatever a plan needs to know, asked for in parallel."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from fanscribe.contracts.errors import FanscribeError, NotFoundError, PlatformError, UsageError
from fanscribe.deploy.cached_model import read_models
from fanscribe.deploy.management import RUNPOD_GRAPHQL_URL, RUNPOD_REST_URL, Management
from fanscribe.deploy.state import CPU, GPU, Account, Desired, LiveEndpoint
from fanscribe.deploy.wire import live_endpoint, live_volume
from fanscribe.endpoint import RUNPOD_URL

_AT_ONCE = 10
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)


async def read_account(management: Management, desired: Desired | None = None) -> Account:
    """The account as far as `desired` needs it; without it only the endpoints.

    At most six calls, all at once, and one more for each endpoint that the list shows without its environment.

    Raises AuthenticationError for a refused key, and what else the list of endpoints is refused with.
    """
    volumes = desired is not None and bool(desired.volumes)
    credentials = desired is not None and desired.credential is not None
    listed, told, held, known, prices = await asyncio.gather(
        management.get("serverless"),
        read_models(management),
        management.get("network-volumes") if volumes else _nothing({"networkVolumes": []}),
        management.get("registries") if credentials else _nothing({"registries": []}),
        _quoted(management, desired) if desired is not None else _nothing(({}, ())),
    )
    quoted, notes = prices
    return Account(
        endpoints=tuple(
            live_endpoint(each, told.models) for each in await _whole(management, listed["endpoints"])
        ),
        volumes=tuple(live_volume(each) for each in held["networkVolumes"]),
        credentials={str(each["name"]): str(each["id"]) for each in known["registries"]},
        worker_limit=told.worker_limit,
        prices=quoted,
        notes=tuple(note for note in (told.why, *notes) if note),
    )


async def read_everything(management: Management) -> Account:
    """The account's endpoints and volumes, without what only a plan needs."""
    endpoints, held = await asyncio.gather(read_endpoints(management), management.get("network-volumes"))
    return Account(endpoints, tuple(live_volume(each) for each in held["networkVolumes"]))


async def read_endpoints(management: Management) -> tuple[LiveEndpoint, ...]:
    """The account's endpoints; what only GraphQL tells of them is left unknown."""
    listed = await management.get("serverless")
    return tuple(live_endpoint(each, None) for each in await _whole(management, listed["endpoints"]))


def runpod(key: str | None, environment: Mapping[str, str] = os.environ) -> Management:
    """Runpod's management API; RUNPOD_REST_V2_API_URL, RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL lead elsewhere.

    Raises UsageError where there is no key.
    """
    if not key:
        raise UsageError(
            "--platform runpod: there is no API key; set RUNPOD_API_KEY, or use --platform local"
        )
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key (RUNPOD_API_KEY) holds characters that no key has: copy it again")
    graphql = environment.get("RUNPOD_API_BASE_URL")
    return Management(
        http=httpx2.AsyncClient(timeout=_TIMEOUT),
        rest_url=environment.get("RUNPOD_REST_V2_API_URL", RUNPOD_REST_URL).rstrip("/"),
        graphql_url=f"{graphql.rstrip('/')}/graphql" if graphql else RUNPOD_GRAPHQL_URL,
        data_url=environment.get("RUNPOD_ENDPOINT_BASE_URL", RUNPOD_URL).rstrip("/"),
        key=key,
        platform="runpod",
    )


def local(url: str, key: str) -> Management:
    """The management API of a local platform at `url`; never through a proxy."""
    return Management(
        http=httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False),
        rest_url=f"{url}/v2",
        graphql_url=f"{url}/graphql",
        data_url=f"{url}/v2",
        key=key,
        platform="local",
    )


async def _nothing(value: Any) -> Any:
    return value


async def _whole(management: Management, listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The endpoints with their environments, which hold the marks."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def whole(each: dict[str, Any]) -> dict[str, Any] | None:
        if "env" in each:
            return each
        async with limit:
            found: dict[str, Any] | None = await management.get(f"serverless/{each['id']}", missing={})
            return found

    return [each for each in await asyncio.gather(*(whole(each) for each in listed)) if each]


async def _quoted(management: Management, desired: Desired) -> tuple[dict[str, float], tuple[str, ...]]:
    """The catalogue's serverless prices, per second; none where the platform has no catalogue."""
    if management.platform == "local":
        return {}, ()
    kinds = {each.state.kind for each in desired.endpoints}
    try:
        gpus, cpus = await asyncio.gather(
            management.get("catalog/gpus") if GPU in kinds else _nothing({}),
            management.get("catalog/cpus") if CPU in kinds else _nothing({}),
        )
    except NotFoundError:
        return {}, ()
    except FanscribeError as error:
        if isinstance(error, PlatformError) and error.status_code == 401:
            raise
        return {}, (f"prices are of the published table, since the catalogue did not answer: {error}",)
    found: dict[str, float] = {}
    for each in gpus.get("gpus") or ():
        price, pool = (each.get("price") or {}).get("serverless"), each.get("pool")
        if pool and price:
            # Cards of a pool cost the same; should they not, the dearest one is what may be billed.
            found[pool] = max(found.get(pool, 0.0), price / 3600)
    for each in cpus.get("cpus") or ():
        if price := (each.get("price") or {}).get("serverlessPerVcpu"):
            found[each["id"]] = price / 3600
    return found, ()
