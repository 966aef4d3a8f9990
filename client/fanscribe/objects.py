"""Audio that does not fit inside a request: put where the workers can fetch it, and taken away afterwards.

The local platform has such a store under /objects. It answers a PUT with the address under which the body
can be read, and holds it until it is deleted or its lifetime is over.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx

from fanscribe.contracts.errors import AnswerError, TransportError
from fanscribe.endpoint import refusal

_BLOCK_BYTES = 1 << 20


class ObjectStore:
    """The object store of a local platform. `url` is the platform's own address."""

    def __init__(self, http: httpx.AsyncClient, url: str, api_key: str) -> None:
        self._http = http
        self._url = f"{url.rstrip('/')}/objects"
        self._headers = {"Authorization": f"Bearer {api_key}"}

    async def put(self, file: Path) -> str:
        """Store a file, streamed, and give the address under which workers can read it."""
        headers = {**self._headers, "Content-Length": str(file.stat().st_size)}
        try:
            response = await self._http.put(self._url, content=_blocks(file), headers=headers)
        except httpx.HTTPError as error:
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
        except httpx.HTTPError as error:
            raise TransportError(f"an object could not be removed from the platform: {error}") from error


async def _blocks(file: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(file, "rb") as opened:
        while block := await opened.read(_BLOCK_BYTES):
            yield block
