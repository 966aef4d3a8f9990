"""The client's side of a platform's object store."""

from pathlib import Path

import httpx

from fanscribe.objects import ObjectStore


async def test_an_object_goes_away_at_the_address_that_we_know(tmp_path: Path) -> None:
    """Workers in containers know the platform by a name that the client's machine does not have."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url}")
        return httpx.Response(201, json={"url": "http://platform:8008/objects/abc"})

    (tmp_path / "a").write_bytes(b"x")
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        store = ObjectStore(http, "http://127.0.0.1:8008", "key")
        address = await store.put(tmp_path / "a")
        await store.delete(address)
    assert address == "http://platform:8008/objects/abc", "what the worker is told"
    assert seen == ["PUT http://127.0.0.1:8008/objects", "DELETE http://127.0.0.1:8008/objects/abc"]
