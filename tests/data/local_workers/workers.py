"""Handlers as anybody would write them for the official SDK; the first argument says which one to serve."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

kind = sys.argv[1]
if kind == "crash-at-import":
    raise ModuleNotFoundError("No module named 'an_engine_that_is_not_there'")

import runpod  # noqa: E402

Job = dict[str, Any]


def plain(job: Job) -> Any:
    """Obeys its input: fails, crashes, sleeps, reports progress, fills memory, or echoes it."""
    asked = job["input"]
    if "fail" in asked:
        raise ValueError(asked["fail"])
    if "refuse" in asked:
        return {"error": asked["refuse"]}
    if asked.get("crash"):
        os._exit(7)
    if "crash_once" in asked:
        try:
            os.close(os.open(asked["crash_once"], os.O_CREAT | os.O_EXCL))
            os._exit(7)
        except FileExistsError:
            pass
    if "fill_mib" in asked:
        held = bytearray(asked["fill_mib"] * 1024 * 1024)
        held[::4096] = b"x" * len(held[::4096])
    if "progress" in asked:
        runpod.serverless.progress_update(job, asked["progress"])
    time.sleep(asked.get("sleep_s", 0))
    if asked.get("refresh"):
        return {"refresh_worker": True, "pid": os.getpid()}
    if "big" in asked:
        return {"text": "x" * asked["big"]}
    return {"echo": asked, "pid": os.getpid()}


async def concurrent(job: Job) -> Any:
    """Sleeps without holding up others; says so when it is stopped."""
    try:
        await asyncio.sleep(job["input"].get("sleep_s", 0))
    except asyncio.CancelledError:
        print(f"let go of {job['id']}", flush=True)
        raise
    return {"pid": os.getpid()}


def generator(job: Job) -> Iterator[Any]:
    """Streams numbers; fails after them when told to."""
    for number in range(job["input"]["count"]):
        yield {"number": number}
    if "fail" in job["input"]:
        raise ValueError(job["input"]["fail"])


async def async_generator(job: Job) -> AsyncIterator[Any]:
    """The same, asynchronously."""
    for number in range(job["input"]["count"]):
        await asyncio.sleep(0)
        yield number


configs: dict[str, dict[str, Any]] = {
    "plain": {"handler": plain},
    "concurrent": {"handler": concurrent, "concurrency_modifier": lambda current: 4},
    "generator": {"handler": generator},
    "async-generator": {"handler": async_generator, "return_aggregate_stream": True},
    "refreshing": {"handler": plain, "refresh_worker": True},
    "unfit": {"handler": plain},
}

if kind == "unfit":

    @runpod.serverless.register_fitness_check  # type: ignore[untyped-decorator]
    def model_is_there() -> None:
        """A check that never passes."""
        raise RuntimeError("the model is not there")


runpod.serverless.start(configs[kind])
