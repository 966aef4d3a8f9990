"""How a recording reaches an orchestrator: as an address, inside the request, or by way of a store."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from fanscribe import media
from fanscribe.contracts.errors import FanscribeError, UsageError
from fanscribe.contracts.task import Stage
from fanscribe.endpoint import REQUEST_LIMIT_BYTES
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.pipeline.events import Event, Listener, State
from fanscribe.source import Audio, local_file, public_address

_ENVELOPE_BYTES = 2000  # of a request's body, beside its input: the policy, quotes, the data URI's own head
_HEAD = "data:application/octet-stream;base64,"


class Store(Protocol):
    """A place for a file that does not fit into a request."""

    async def put(self, file: Path, report: Callable[[float], None]) -> str:
        """Store a file, and give the address under which the orchestrator can read it."""

    async def delete(self, address: str) -> None:
        """Remove what was stored."""


@asynccontextmanager
async def reference(
    store: Store | None, audio: Audio, name: str, fields: dict[str, Any], listener: Listener
) -> AsyncIterator[str]:
    """What the orchestrator reads the audio by, beside the other `fields` of its request.

    A URL is passed on; a file goes into the address itself where the request has room for it, else to `store`, from
    which it is removed afterwards. Raises AudioError for what is no recording, UsageError where a store is missing.
    """
    public = public_address(audio)
    if public is not None:
        yield public
        return
    loop = asyncio.get_running_loop()

    def told(task: str, state: State) -> Callable[[float], None]:
        def report(share: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have closed while a thread came to its end
                loop.call_soon_threadsafe(listener, Event(task, Stage.PREPARE, state, share, name))

        return report

    async with contextlib.AsyncExitStack() as leaving:
        async with local_file(audio, told("prepare", State.PREPARING)) as file:
            await asyncio.to_thread(
                media.probe, file, name
            )  # what is no recording is refused before it is sent
            size = (await asyncio.to_thread(file.stat)).st_size
            room = (
                REQUEST_LIMIT_BYTES - _ENVELOPE_BYTES - len(json.dumps(fields, ensure_ascii=False).encode())
            )
            if len(_HEAD) + (size + 2) // 3 * 4 <= room:
                address = _HEAD + await asyncio.to_thread(_encoded, file)
            elif store is None:
                raise UsageError(
                    f"{name}: has {size / 1e6:.1f} MB, and a request takes {room * 3 / 4 / 1e6:.1f} MB: set "
                    "FANSCRIBE_UPLOADS to a bucket of yours (s3://bucket/prefix), give a URL, or do without the "
                    "orchestrator"
                )
            else:
                address = await store.put(file, told("upload", State.SENDING))
                leaving.push_async_callback(_removed, store, address)
                await asyncio.sleep(0)  # what the upload told last is heard before this
                listener(Event("upload", Stage.PREPARE, State.DONE, 1.0, name))
        yield address


async def _removed(store: Store, address: str) -> None:
    with contextlib.suppress(FanscribeError, TimeoutError):  # the store's own rules are the net below
        await to_its_end(store.delete(address))


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")
