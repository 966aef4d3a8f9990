"""Audio that does not fit inside a request: put where the workers can fetch it, and taken away afterwards.

The local platform has such a store under /objects. It answers a PUT with the address under which the body
can be read, and holds it until it is deleted or its lifetime is over.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import httpx2

from fanscribe.contracts.errors import AnswerError, FanscribeError, TransportError
from fanscribe.endpoint import refusal
from fanscribe.pipeline.cleanup import to_its_end

_BLOCK_BYTES = 1 << 20


class ObjectStore:
    """The object store of a local platform. `url` is the platform's own address."""

    def __init__(self, http: httpx2.AsyncClient, url: str, api_key: str) -> None:
        self._http = http
        self._url = f"{url.rstrip('/')}/objects"
        self._headers = {"Authorization": f"Bearer {api_key}"}

    async def put(self, file: Path, report: Callable[[float], None] = lambda share: None) -> str:
        """Store a file, streamed, and give the address under which workers can read it.

        `report` gets the share that was sent, 0 to 1. When this is cancelled, nothing stays stored.
        """
        body = _Body(file, report)
        sending = asyncio.ensure_future(self._put(body))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            if not body.whole:  # half a body is not kept; of a whole one only the answer tells where it lies
                sending.cancel()
            with contextlib.suppress(
                FanscribeError, TimeoutError
            ):  # the store's own lifetime is the net below
                await to_its_end(self._taken_back(sending))
            sending.cancel()
            raise

    async def _taken_back(self, sending: "asyncio.Future[str]") -> None:
        await asyncio.wait({sending})
        if not sending.cancelled() and sending.exception() is None:
            await self.delete(sending.result())

    async def _put(self, body: "_Body") -> str:
        headers = {**self._headers, "Content-Length": str(body.size_bytes)}
        try:
            async with body:
                response = await self._http.put(self._url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise TransportError(f"the platform's object store could not be reached: {error}") from error
        if not response.is_success:
            raise refusal(response, "objects")
        try:
            return str(response.json()["url"])
        except (ValueError, KeyError, TypeError) as error:
            raise AnswerError("the platform's object store sent an answer without a url") from error

    async def delete(self, address: str) -> None:
        """Remove an object; one that is gone already is fine."""
        # Workers may know the platform by another name than we do.
        own = f"{self._url}/{address.rpartition('/')[2]}"
        try:
            await self._http.delete(own, headers=self._headers)
        except httpx2.HTTPError as error:
            raise TransportError(f"an object could not be removed from the platform: {error}") from error


class _Body:
    """A file on its way. `whole`: its last block was handed over, so that the store may have all of it."""

    def __init__(self, file: Path, report: Callable[[float], None]) -> None:
        self.size_bytes = file.stat().st_size
        self.whole = False
        self._file = file
        self._report = report

    async def __aenter__(self) -> None:
        self._opened = await anyio.open_file(self._file, "rb")

    async def __aexit__(self, *_: object) -> None:
        # Not left to the iterator, which whoever breaks off in the middle does not end.
        await self._opened.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sent = 0
        while block := await self._opened.read(_BLOCK_BYTES):
            sent += len(block)
            self.whole = sent >= self.size_bytes
            yield block
            self._report(min(sent / self.size_bytes, 1.0))
