"""What workers write, as the platform streams it: server-sent events with one line each."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2

from fanscribe.contracts.errors import FanscribeError, NotFoundError, TransportError
from fanscribe.deploy.management import Management, reason

QUIET_S = 2.0
"""A stream that says nothing for so long has given what was there; the platform itself never ends it."""


async def lines(
    management: Management, endpoint: str, worker: str, *, tail: int, follow: bool
) -> AsyncIterator[str]:
    """A worker's last `tail` lines, and with `follow` those that come, until the worker ends.

    Raises NotFoundError for a worker that is gone, TransportError where the stream breaks off.
    """
    url = f"{management.rest_url}/serverless/{endpoint}/workers/{worker}/logs"
    timeout = httpx2.Timeout(30.0, read=None if follow else QUIET_S)
    headers = {"Authorization": f"Bearer {management.key}", "Accept": "text/event-stream"}
    try:
        async with management.http.stream(
            "GET", url, params={"tail": str(tail)}, headers=headers, timeout=timeout
        ) as response:
            if not response.is_success:
                await response.aread()
                raise _refused(management, response, worker)
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    yield _line(line.removeprefix("data:").strip())
    except httpx2.ReadTimeout:
        return
    except httpx2.HTTPError as error:
        raise TransportError(
            f"the log of worker {worker} broke off: {error or type(error).__name__}"
        ) from error


async def last_lines(management: Management, endpoint: str, worker: str, tail: int) -> list[str]:
    """A worker's last lines. Raises as `lines`."""
    return [each async for each in lines(management, endpoint, worker, tail=tail, follow=False)]


async def all_lines(
    management: Management, endpoint: str, workers: list[str], *, tail: int, follow: bool
) -> AsyncIterator[tuple[str, str]]:
    """The lines of several workers at once, each with its worker; a log that is gone is one line that says so."""
    queue: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(1000)

    async def read(worker: str) -> None:
        try:
            async for line in lines(management, endpoint, worker, tail=tail, follow=follow):
                await queue.put((worker, line))
        except FanscribeError as error:
            await queue.put((worker, str(error)))
        await queue.put(None)

    tasks = [asyncio.create_task(read(each)) for each in workers]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _refused(management: Management, response: httpx2.Response, worker: str) -> FanscribeError:
    said = (
        f"the log of worker {worker}: {management.redacted(reason(response))} (HTTP {response.status_code})"
    )
    return NotFoundError(said, 404) if response.status_code == 404 else TransportError(said)


def _line(data: str) -> str:
    try:
        return str(json.loads(data)["line"])
    except (ValueError, KeyError, TypeError):
        return data
