"""How a task's audio travels: inside the request where it fits, else by reference to an object store."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fanscribe.contracts.errors import FanscribeError, PayloadTooLargeError
from fanscribe.endpoint import REQUEST_LIMIT_BYTES
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.cleanup import to_its_end

INLINE_LIMIT_BYTES = (REQUEST_LIMIT_BYTES - 64_000) * 3 // 4
"""The largest FLAC, in bytes, that fits inside a request as base64 with room for the other fields."""


@asynccontextmanager
async def references(
    files: Mapping[int | None, Path], objects: ObjectStore | None
) -> AsyncIterator[dict[int | None, str]]:
    """The value of `audio` for each channel. Objects that were stored are removed at the end.

    Raises PayloadTooLargeError when a file neither fits nor can be stored; nothing was sent then.
    """
    for file in files.values():
        size = file.stat().st_size
        if size > INLINE_LIMIT_BYTES and objects is None:
            raise PayloadTooLargeError(
                f"the audio has {size / 1e6:.1f} MB as 16 kHz FLAC, and a request takes {INLINE_LIMIT_BYTES / 1e6:.1f} "
                "MB: cut the recording into shorter files, or use --platform local"
            )
    addresses: dict[int | None, str] = {}
    stored: list[str] = []
    try:
        for channel, file in files.items():
            if file.stat().st_size <= INLINE_LIMIT_BYTES:
                addresses[channel] = await asyncio.to_thread(_data_uri, file)
            else:
                assert objects is not None
                addresses[channel] = await objects.put(file)
                stored.append(addresses[channel])
        yield addresses
    finally:
        for address in stored:
            await _remove(objects, address)


def _data_uri(file: Path) -> str:
    return "data:audio/flac;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


async def _remove(objects: ObjectStore | None, address: str) -> None:
    """Never raises: the store's own lifetime of objects is the net below."""
    assert objects is not None
    with contextlib.suppress(FanscribeError, TimeoutError):
        await to_its_end(objects.delete(address))
