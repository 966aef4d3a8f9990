"""What callers pass as audio (a path, a URL, bytes, an open file), as one local file for the time of a call."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event as Flag
from typing import BinaryIO

from fanscribe.contracts.errors import AudioError

Audio = str | os.PathLike[str] | bytes | BinaryIO
"""A path, a URL (https, s3, data), the bytes of a file, or a file opened for reading in binary."""

_SCHEMES = ("https://", "http://", "s3://", "data:")


def name_of(audio: Audio) -> str:
    """What messages call the audio; of a URL only the part before its query, which may hold a secret."""
    if isinstance(audio, bytes | bytearray):
        return "audio bytes"
    if isinstance(audio, str):
        if audio.startswith("data:"):
            return "data URI"
        return audio.split("?", 1)[0] if audio.startswith(_SCHEMES) else audio
    if isinstance(audio, os.PathLike):
        return os.fspath(audio)
    return str(getattr(audio, "name", "audio stream"))


@asynccontextmanager
async def local_file(audio: Audio, report: Callable[[float], None]) -> AsyncIterator[Path]:
    """The audio as a local file; one that we made is removed afterwards.

    `report` gets the share of a download that is done. Raises AudioError that names the file or URL.
    """
    if isinstance(audio, os.PathLike) or (isinstance(audio, str) and not audio.startswith(_SCHEMES)):
        yield _existing(Path(audio))
        return
    with tempfile.TemporaryDirectory(prefix="fanscribe-") as folder:
        file = Path(folder) / "audio"
        if isinstance(audio, str):
            await _download(audio, file, report)
        else:
            await asyncio.to_thread(_store, audio, file)
        yield file


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; name the audio files in it")
    if not path.exists():
        raise AudioError(f"{path}: there is no such file")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path}: may not be read; check its permissions")
    if path.is_file() and path.stat().st_size == 0:
        raise AudioError(f"{path}: is empty")
    return path


def _store(audio: bytes | BinaryIO, file: Path) -> None:
    with file.open("wb") as target:
        if isinstance(audio, bytes | bytearray):
            target.write(audio)
        else:
            shutil.copyfileobj(audio, target)
    if file.stat().st_size == 0:
        raise AudioError(f"{name_of(audio)}: is empty")


async def _download(url: str, file: Path, report: Callable[[float], None]) -> None:
    from fanscribe.fetch import fetch

    stopped = Flag()

    def download() -> None:
        with file.open("wb") as target:
            fetch(url, target, on_progress=report, stopped=stopped.is_set)

    work = asyncio.ensure_future(asyncio.to_thread(download))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        stopped.set()
        with contextlib.suppress(Exception):
            await work
        raise
