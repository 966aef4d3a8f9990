"""Results in a local folder: private, capped in size, safe with several processes at once."""

import contextlib
import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fanscribe.contracts.errors import FanscribeError
from fanscribe.results.envelope import DamagedError, pack, unpack
from fanscribe.results.keys import Kind, is_key
from fanscribe.results.store import Entry

DEFAULT_MAX_BYTES = 1_000_000_000
"""Cap of the folder in bytes: some 50,000 tasks of five minutes each."""

_KEPT_SHARE = 0.9  # what an eviction leaves, so that not every put after it evicts again
_LOOK_AGAIN_SHARE = (
    0.05  # of the cap, written by us, after which the folder is measured anew: others write too
)
_PART = ".part-"
_PART_LIFE_S = 3600.0  # a part that is older was left behind by a process that died

_log = logging.getLogger(__name__)


class FolderResults:
    """Results under `root`, one file a value; the least recently used go when `max_bytes` are passed.

    Files are made under another name and moved into place, so a reader sees all of a value or nothing; a file
    that is damaged nevertheless is noticed by its checksum. Several processes may together pass the cap by
    one twentieth each. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._since_measured: int | None = None
        self._size_bytes = 0
        self._warned = False

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def get(self, key: str) -> dict[str, Any] | None:
        """See ResultStore. A hit counts as a use."""
        file = self._file(key)
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error)
            return None
        try:
            value = unpack(key, data)
        except DamagedError as damage:
            _log.warning(
                "the result %s is damaged (%s): it is removed and the work done again", key[:17], damage
            )
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        now = self._clock()
        with contextlib.suppress(OSError):
            os.utime(file, (now, now))
        return value

    def put(self, key: str, value: dict[str, Any]) -> None:
        """See ResultStore. A value larger than the cap is not kept."""
        file, data = self._file(key), pack(key, value)
        if len(data) > self._max_bytes:
            _log.warning("a result of %d bytes is not kept: the cap is %d bytes", len(data), self._max_bytes)
            return
        try:
            self._write(file, data)
            with self._lock:
                self._make_room(len(data))
        except OSError as error:
            self._warn("written", error)

    def entries(self) -> Iterator[Entry]:
        """See ResultStore."""
        try:
            yield from self._entries()
        except OSError as error:
            raise FanscribeError(f"{self._root}: cannot be listed: {error.strerror or error}") from error

    def clear(self) -> int:
        """See ResultStore. Other files in the folder stay."""
        count = 0
        try:
            for entry in list(self._entries()):
                with contextlib.suppress(FileNotFoundError):
                    self._file(entry.key).unlink()
                    count += 1
            self._sweep(older_than_s=0.0)
        except OSError as error:
            raise FanscribeError(f"{self._root}: cannot be cleared: {error.strerror or error}") from error
        with self._lock:
            self._since_measured = None
        return count

    def _file(self, key: str) -> Path:
        if not is_key(key):
            raise ValueError(f"not a key: {key[:80]!r}")
        kind, digest = key.split("/")
        return self._root / kind / digest[:2] / digest

    def _write(self, file: Path, data: bytes) -> None:
        self._make_private()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=_PART, dir=file.parent)  # readable by its owner alone
        try:
            with open(descriptor, "wb") as opened:
                opened.write(data)
            now = self._clock()
            os.utime(part, (now, now))
            os.replace(part, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise

    def _make_private(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self._root.stat().st_mode) & 0o077:
            self._root.chmod(0o700)

    def _make_room(self, written: int) -> None:
        """Note `written` bytes; remove what was not used for longest when the cap is passed."""
        self._size_bytes += written
        if self._since_measured is not None:
            self._since_measured += written
            fresh = self._since_measured < self._max_bytes * _LOOK_AGAIN_SHARE
            if fresh and self._size_bytes <= self._max_bytes:
                return
        self._sweep(older_than_s=_PART_LIFE_S)
        oldest_first = sorted(self._entries(), key=lambda each: each.used_at)
        self._size_bytes = sum(each.size_bytes for each in oldest_first)
        self._since_measured = 0
        if self._size_bytes <= self._max_bytes:
            return
        for entry in oldest_first:
            if self._size_bytes <= self._max_bytes * _KEPT_SHARE:
                break
            with contextlib.suppress(FileNotFoundError):
                self._file(entry.key).unlink()
            self._size_bytes -= entry.size_bytes

    def _entries(self) -> Iterator[Entry]:
        for kind, name, file in self._files():
            if is_key(key := f"{kind}/{name}"):
                with contextlib.suppress(FileNotFoundError):
                    about = file.stat()
                    yield Entry(key, about.st_size, about.st_mtime)

    def _sweep(self, older_than_s: float) -> None:
        for _, name, file in self._files():
            with contextlib.suppress(FileNotFoundError):
                if name.startswith(_PART) and self._clock() - file.stat().st_mtime >= older_than_s:
                    os.unlink(file)

    def _files(self) -> "Iterator[tuple[str, str, os.DirEntry[str]]]":
        for kind in Kind:
            for shelf in _listed(self._root / kind):
                if shelf.is_dir(follow_symlinks=False):
                    for file in _listed(shelf):
                        yield kind, file.name, file

    def _warn(self, what: str, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "results in %s cannot be %s (%s): work that they would save is paid again",
                self._root,
                what,
                error.strerror or error,
            )


def _listed(folder: "Path | os.DirEntry[str]") -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
