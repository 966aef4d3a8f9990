"""Many simulated workers in one process, joined to a local platform as external workers.

python -m fanscribe_handlers.simulated.fleet --url http://127.0.0.1:8200 \\
    --serve 'words=simulated-transcribe*19' --serve 'speakers=simulated-diarize*1' --option jitter=0.2

The platform's key is read from FANSCRIBE_LOCAL_KEY. A line of JSON on standard output says when all are there;
at SIGTERM or SIGINT another one says what was paid for.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import httpx2
import yaml
from pydantic import ValidationError

from fanscribe.contracts.variant import Variant
from fanscribe.worker_environment import SettingsError
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.simulated.behaviour import Behaviour, Draws, read_behaviour
from fanscribe_handlers.simulated.workers import POLL_TIMEOUT_S, Duties, Paid, SimulatedWorker

_DECODERS = 2  # threads that decode for all workers; more would only press the machine's other processes
_LOOK_S = 0.05  # seconds between two looks at the queue while workers wait for their start
JOIN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Serving:
    """`workers` workers of a variant for one endpoint. `cold`: each starts when there is a job for it."""

    endpoint: str
    variant: Variant
    workers: int
    cold: bool = False


class Fleet:
    """Simulated workers at work. `paid` grows by one entry a job."""

    def __init__(self, duties: Sequence[Duties]) -> None:
        self._duties = duties

    @property
    def paid(self) -> list[Paid]:
        """Every job of every worker that has come to its end, stopped and failed ones too."""
        return [each for duties in self._duties for each in duties.paid]


@asynccontextmanager
async def simulated_workers(url: str, key: str, servings: Sequence[Serving]) -> AsyncIterator[Fleet]:
    """Workers that serve until the block is left; it is entered when all that are not cold have joined.

    Raises ValueError for a variant that is not of this family, TimeoutError when the platform does not let
    the workers in, and what a worker raised that failed by a fault of its own.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoding") as decoding:
        async with httpx2.AsyncClient(timeout=POLL_TIMEOUT_S, limits=limits, trust_env=False) as http:
            duties = [_duties(http, url.rstrip("/"), key, each, decoding) for each in servings]
            async with asyncio.TaskGroup() as together:
                running = [
                    together.create_task(_serve(duty, serving, together))
                    for duty, serving in zip(duties, servings, strict=True)
                ]
                async with asyncio.timeout(JOIN_TIMEOUT_S):
                    for duty, serving in zip(duties, servings, strict=True):
                        await _joined(duty, 0 if serving.cold else serving.workers)
                yield Fleet(duties)
                for each in running:
                    each.cancel()


async def _joined(duties: Duties, count: int) -> None:
    while await _count(duties, "workers", "ready") < count:
        await duties.sleep(_LOOK_S)


async def _serve(duties: Duties, serving: Serving, together: asyncio.TaskGroup) -> None:
    """Start the workers, all at once or as the queue wants them; ends them all when it is cancelled."""
    name = f"simulated-{uuid4().hex[:8]}"
    workers: list[asyncio.Task[None]] = []
    try:
        for number in range(serving.workers):
            if serving.cold:
                while await _count(duties, "jobs", "inQueue", "inProgress") <= number:
                    await duties.sleep(_LOOK_S)
            worker = SimulatedWorker(duties, f"{name}-{number}", cold=serving.cold)
            workers.append(together.create_task(worker.serve()))
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()


async def _count(duties: Duties, group: str, *names: str) -> int:
    """A sum of counters of the endpoint's /health; 0 while the platform does not answer."""
    try:
        response = await duties.http.get(
            f"{duties.url}/v2/{duties.endpoint}/health", headers={"Authorization": duties.key}
        )
        response.raise_for_status()
    except httpx2.HTTPError:
        return 0
    return sum(int(response.json()[group][name]) for name in names)


def _duties(
    http: httpx2.AsyncClient, url: str, key: str, serving: Serving, decoding: ThreadPoolExecutor
) -> Duties:
    behaviour: Behaviour = read_behaviour(serving.variant)
    return Duties(http, url, key, serving.endpoint, serving.variant, behaviour, Draws(behaviour), decoding)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, serve until told to stop, and give the exit code: 0 stopped, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        servings = [_serving(text, options.option, cold=options.cold) for text in options.serve]
    except (SettingsError, ValueError) as error:
        print(f"fanscribe_handlers.simulated.fleet: {error}", file=sys.stderr)
        return 2
    asyncio.run(_until_told(options.url, os.environ.get("FANSCRIBE_LOCAL_KEY", "local"), servings))
    return 0


async def _until_told(url: str, key: str, servings: Sequence[Serving]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with simulated_workers(url, key, servings) as fleet:
        print(json.dumps({"workers": sum(each.workers for each in servings)}), flush=True)
        await stop.wait()
        print(json.dumps({"paid": [asdict(each) for each in fleet.paid]}), flush=True)


def _serving(text: str, options: Sequence[str], *, cold: bool) -> Serving:
    endpoint, equals, rest = text.partition("=")
    variant_id, star, count = rest.partition("*")
    if not (endpoint and equals and variant_id) or (star and not count.isdecimal()):
        raise ValueError(f"--serve takes ENDPOINT=VARIANT*WORKERS, not {text!r}")
    data: dict[str, Any] = read_variant({"FANSCRIBE_VARIANT": variant_id}, "simulated").model_dump(
        mode="json"
    )
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"--option takes NAME=VALUE, not {option!r}")
        data["options"][name] = yaml.safe_load(value)
    try:
        variant = Variant.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"--option: {error.errors(include_url=False)[0]['msg']}") from error
    read_behaviour(variant)
    return Serving(endpoint, variant, int(count or 1), cold)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fanscribe_handlers.simulated.fleet",
        description="Simulated workers for load tests of a local platform.",
    )
    add = parser.add_argument
    add("--url", required=True, help="the platform's address")
    add("--serve", action="append", required=True, metavar="ENDPOINT=VARIANT*WORKERS", help="repeatable")
    add("--cold", action="store_true", help="each worker starts, and loads, when there is a job for it")
    add(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="change an option of the variants"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
