"""The spans of audio that tasks are about, and what stands for them on their way to a worker."""

import asyncio
import base64
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanscribe.contracts.errors import FanscribeError, PayloadTooLargeError
from fanscribe.endpoint import REQUEST_LIMIT_BYTES
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.pipeline.cuts import Chunk

INLINE_LIMIT_BYTES = (REQUEST_LIMIT_BYTES - 64_000) * 3 // 4
"""The largest FLAC, in bytes, that fits inside a request as base64 with room for the other fields."""


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk of one channel (None: of the mix of all) and its audio: a FLAC file, or an address with a clip.

    `digest` stands for the samples of the heard span, 64 hex digits. `size_bytes` is the file's.
    """

    chunk: Chunk
    channel: int | None
    digest: str
    file: Path | None = None
    size_bytes: int = 0
    address: str | None = None
    whole: bool = False
    half: str = ""

    @property
    def number(self) -> str:
        """Its number among the spans of its stage; halves carry a or b behind it."""
        return f"{self.chunk.index}{self.half}"

    @property
    def heard_s(self) -> float:
        """Seconds of audio that the worker hears."""
        return self.chunk.heard_end - self.chunk.heard_start

    @property
    def offset_s(self) -> float:
        """Where the times of the worker's answer count from: an address keeps the recording's own."""
        return self.chunk.heard_start if self.address is None else 0.0


class Cargo:
    """The audio of one span on its way, for `holders` tasks. Each may ask for `fields` several times."""

    def __init__(self, span: Span, objects: ObjectStore | None, holders: int = 1) -> None:
        self._span = span
        self._objects = objects
        self._holders = holders
        self._stored: str | None = None
        self._storing = asyncio.Lock()

    async def fields(self) -> dict[str, Any]:
        """The fields of a task's input that say where its audio is.

        Raises PayloadTooLargeError when the file neither fits into a request nor can be stored.
        """
        span = self._span
        if span.address is not None:
            fields: dict[str, Any] = {"audio": span.address}
            if not span.whole:
                fields["clip"] = {"start": span.chunk.heard_start, "end": span.chunk.heard_end}
            return fields if span.channel is None else {**fields, "channel": span.channel}
        assert span.file is not None, "a span has a file or an address"
        if span.size_bytes <= INLINE_LIMIT_BYTES:
            return {"audio": await asyncio.to_thread(_data_uri, span.file)}
        if self._objects is None:
            raise PayloadTooLargeError(
                f"{span.heard_s:.0f} s of audio have {span.size_bytes / 1e6:.1f} MB as 16 kHz FLAC, and a request "
                f"takes {INLINE_LIMIT_BYTES / 1e6:.1f} MB: use --platform local, or shorter files"
            )
        async with self._storing:
            if self._stored is None:
                self._stored = await self._objects.put(span.file)
        return {"audio": self._stored}

    async def release(self) -> None:
        """One holder needs it no longer; after the last one what was stored and the file are removed."""
        self._holders -= 1
        if self._holders == 0:
            await self.discard()

    async def discard(self) -> None:
        """Remove what was stored, and the file. Of what can go wrong nothing is raised but a cancellation, when it
        is done: the store's own lifetime of objects is the net below.
        """
        stored, self._stored = self._stored, None
        if self._span.file is not None:
            with contextlib.suppress(OSError):
                self._span.file.unlink(missing_ok=True)
        if stored is not None and self._objects is not None:
            with contextlib.suppress(FanscribeError, TimeoutError):
                await to_its_end(self._objects.delete(stored))


def _data_uri(file: Path) -> str:
    return "data:audio/flac;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
