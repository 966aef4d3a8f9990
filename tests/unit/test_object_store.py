"""The client's side of a platform's object store."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from fanscribe.objects import ObjectStore


async def test_an_object_goes_away_at_the_address_that_we_know(tmp_path: Path) -> None:
    """Workers in containers know the platform by a name that the client's machine does not have."""
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(f"{request.method} {request.url}")
        return httpx2.Response(201, json={"url": "http://platform:8008/objects/abc"})

    (tmp_path / "a").write_bytes(b"x")
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        store = ObjectStore(http, "http://127.0.0.1:8008", "key")
        address = await store.put(tmp_path / "a")
        await store.delete(address)
    assert address == "http://platform:8008/objects/abc", "what the worker is told"
    assert seen == ["PUT http://127.0.0.1:8008/objects", "DELETE http://127.0.0.1:8008/objects/abc"]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_cancelled_upload_is_taken_back(tmp_path: Path, whole: bool) -> None:
    """Also one that the store has in full, and whose answer is still on its way when we leave."""
    seen: list[str] = []
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "DELETE":
                seen.append(str(request.url))
                return httpx2.Response(204)
            assert isinstance(request.stream, httpx2.AsyncByteStream)
            async for _ in request.stream:
                if not whole:
                    break
            reached.set()
            await go_on.wait()
            return httpx2.Response(201, json={"url": "http://p/objects/abc"})

    (tmp_path / "a").write_bytes(bytes(3 << 20))
    shares: list[float] = []
    async with httpx2.AsyncClient(transport=Transport()) as http:
        putting = asyncio.ensure_future(
            ObjectStore(http, "http://p", "key").put(tmp_path / "a", shares.append)
        )
        await reached.wait()
        putting.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await putting
    assert seen == (["http://p/objects/abc"] if whole else [])
    assert shares == ([1 / 3, 2 / 3, 1.0] if whole else [])
