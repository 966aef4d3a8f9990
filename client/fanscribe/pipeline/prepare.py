"""The audio of a request, brought into the form that workers take: 16 kHz mono FLAC, one file a channel."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fanscribe import media
from fanscribe.background import in_thread
from fanscribe.contracts.task import Stage
from fanscribe.pipeline.events import Event, Listener, State
from fanscribe.scratch import no_room


@dataclass(frozen=True, slots=True)
class Prepared:
    """The audio as FLAC files, by channel (None: the mix of all)."""

    files: dict[int | None, Path]
    duration_s: float
    warnings: tuple[str, ...]


async def prepare(
    source: Path, name: str, channels: Sequence[int | None], folder: Path, listener: Listener
) -> Prepared:
    """Decode `source` once and write a FLAC for each channel into `folder`.

    Runs in a thread and stops at the next block when it is cancelled. Raises AudioError.
    """
    loop = asyncio.get_running_loop()

    def report(share: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have closed while the thread came to its end
            loop.call_soon_threadsafe(
                listener, Event("prepare", Stage.PREPARE, State.PREPARING, min(share, 1.0), name)
            )

    prepared = await in_thread(lambda stopped: _transcode(source, name, channels, folder, report, stopped))
    listener(Event("prepare", Stage.PREPARE, State.DONE, 1.0, name))
    return prepared


def _transcode(
    source: Path,
    name: str,
    channels: Sequence[int | None],
    folder: Path,
    report: Callable[[float], None],
    stopped: Callable[[], bool],
) -> Prepared:
    files = {channel: folder / f"{'mix' if channel is None else channel}.flac" for channel in channels}
    try:
        with ExitStack() as stack:
            targets = {channel: stack.enter_context(file.open("wb")) for channel, file in files.items()}
            done = media.transcode(source, name, targets, on_progress=report, stopped=stopped)
    except OSError as error:
        raise no_room(name, folder, error) from error
    return Prepared(files, done.duration_s, tuple(done.warnings))
