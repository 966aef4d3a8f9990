"""What callers pass as audio (a path, a URL, bytes, an open file), as one local file for the time of a call."""

import asyncio
import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from fanscribe.background import in_thread
from fanscribe.contracts.errors import AudioError
from fanscribe.scratch import no_room, scratch

Audio = str | os.PathLike[str] | bytes | BinaryIO
"""A path, a URL (https, s3, data), the bytes of a file, or a file opened for reading in binary."""

_SCHEMES = ("https://", "http://", "s3://", "data:")


def name_of(audio: Audio) -> str:
    """What messages call the audio; of a URL only the part before its query, which may hold a secret."""
    if isinstance(audio, bytes | bytearray):
        return "audio bytes"
    if isinstance(audio, str):
        if audio.lower().startswith("data:"):
            return "data URI"
        return _without_secrets(audio) if _is_address(audio) else audio
    if isinstance(audio, os.PathLike):
        return os.fspath(audio)
    return str(getattr(audio, "name", "audio stream"))


def _is_address(audio: str) -> bool:
    return audio.lower().startswith(_SCHEMES)


def _without_secrets(url: str) -> str:
    """A URL without user, query and fragment."""
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def public_address(audio: Audio) -> str | None:
    """The address under which workers can read the audio themselves: a plain https or s3 URL, without a password."""
    if not isinstance(audio, str) or not audio.startswith(("https://", "s3://")):
        return None
    return None if "@" in audio.split("/")[2] else audio


def check_file(audio: Audio) -> None:
    """Refuse a path under which there is no file that can be read; anything else passes. Raises AudioError."""
    if isinstance(audio, os.PathLike) or (isinstance(audio, str) and not _is_address(audio)):
        _existing(Path(audio))


@asynccontextmanager
async def local_file(audio: Audio, report: Callable[[float], None]) -> AsyncIterator[Path]:
    """The audio as a local file; one that we made is removed afterwards.

    `report` gets the share of a download that is done. Raises AudioError that names the file or URL.
    """
    if isinstance(audio, os.PathLike) or (isinstance(audio, str) and not _is_address(audio)):
        yield _existing(Path(audio))
        return
    name = name_of(audio)
    with scratch(name) as folder:
        file = folder / "audio"
        try:
            if isinstance(audio, str):
                await _download(audio, file, report)
            else:
                await asyncio.to_thread(_store, audio, file)
        except OSError as error:
            raise no_room(name, folder, error) from error
        yield file


def _existing(path: Path) -> Path:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise AudioError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise AudioError(f"{path}: cannot be opened ({said})") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder; name the audio files in it")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path}: may not be read; check its permissions")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
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

    def download(stopped: Callable[[], bool]) -> None:
        with file.open("wb") as target:
            fetch(url, target, on_progress=report, stopped=stopped)

    await in_thread(download)
