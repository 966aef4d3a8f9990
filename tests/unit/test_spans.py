"""Audio on its way: inside the request, stored once for all who need it, or by its address; and taken away."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from fanscribe.contracts.errors import PayloadTooLargeError
from fanscribe.objects import ObjectStore
from fanscribe.pipeline import spans
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.spans import INLINE_LIMIT_BYTES, Cargo, Span

CHUNK = Chunk(3, 10.0, 20.0, 8.5, 21.5)


class Store:
    """An object store that notes what is put and deleted."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.held: dict[str, bytes] = {}
        self.puts = 0
        self.breaks = breaks

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT":
            await asyncio.sleep(0)
            self.puts += 1
            address = f"http://p/objects/{self.puts}"
            self.held[address] = await request.aread()
            return httpx2.Response(200, json={"url": address})
        if self.breaks:
            raise httpx2.ReadError("broken")
        self.held.pop(str(request.url), None)
        return httpx2.Response(200)

    def objects(self) -> ObjectStore:
        return ObjectStore(httpx2.AsyncClient(transport=httpx2.MockTransport(self)), "http://p", "k")


@pytest.fixture
def span(tmp_path: Path) -> Span:
    file = tmp_path / "piece.flac"
    file.write_bytes(b"fLaC and so on")
    return Span(CHUNK, None, "d" * 64, file, file.stat().st_size)


@pytest.fixture
def large(span: Span, monkeypatch: pytest.MonkeyPatch) -> Span:
    monkeypatch.setattr(spans, "INLINE_LIMIT_BYTES", 4)
    return span


def test_a_span_knows_its_name_and_its_times(span: Span) -> None:
    assert (span.number, span.heard_s, span.offset_s) == ("3", 13.0, 8.5)
    half = replace(span, half="ab", address="https://example.org/a", file=None)
    assert (half.number, half.offset_s) == ("3ab", 0.0)


async def test_what_fits_travels_inside_the_request(span: Span) -> None:
    store = Store()
    fields = await Cargo(span, store.objects()).fields()
    head, _, body = fields.pop("audio").partition(",")
    assert head == "data:audio/flac;base64"
    assert base64.b64decode(body) == b"fLaC and so on"
    assert fields == {}
    assert store.puts == 0


def test_what_may_travel_inside_fits_into_a_request() -> None:
    assert INLINE_LIMIT_BYTES * 4 / 3 < 10_000_000 - 50_000


async def test_what_does_not_is_stored_once_and_removed_after_the_last(large: Span) -> None:
    store = Store()
    cargo = Cargo(large, store.objects(), holders=2)
    asked = await asyncio.gather(*(cargo.fields() for _ in range(5)))
    assert asked == [{"audio": "http://p/objects/1"}] * 5
    assert store.held == {"http://p/objects/1": b"fLaC and so on"}
    assert large.file is not None
    await cargo.release()
    assert large.file.exists(), "the other stage still needs it"
    assert store.held
    await cargo.release()
    assert not large.file.exists()
    assert store.held == {}
    await cargo.discard()


async def test_without_a_store_it_cannot_travel(large: Span) -> None:
    with pytest.raises(PayloadTooLargeError, match=r"13 s of audio have 0\.0 MB as 16 kHz FLAC"):
        await Cargo(large, None).fields()


async def test_a_store_that_breaks_stops_nobody(large: Span) -> None:
    cargo = Cargo(large, Store(breaks=True).objects())
    await cargo.fields()
    await cargo.release()
    assert large.file is not None
    assert not large.file.exists()


async def test_an_address_goes_as_it_is_with_its_clip() -> None:
    span = Span(CHUNK, None, "d" * 64, address="https://example.org/talk.mp3")
    clip = {"start": 8.5, "end": 21.5}
    assert await Cargo(span, None).fields() == {"audio": span.address, "clip": clip}
    on_channel = replace(span, channel=1)
    assert await Cargo(on_channel, None).fields() == {"audio": span.address, "clip": clip, "channel": 1}
    cargo = Cargo(replace(span, whole=True), None)
    assert await cargo.fields() == {"audio": span.address}
    await cargo.release()
