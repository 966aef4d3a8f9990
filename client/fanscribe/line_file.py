"""A file of lines to which several processes add: private, and bounded by dropping its older half."""

import contextlib
import fcntl
import os
from pathlib import Path


def append(file: Path, text: str, max_bytes: int) -> None:
    """Add whole lines to a file, all of them next to each other; its folder is made where it is missing.

    A line that a crash left unfinished is ended first, so that it damages nothing but itself. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "r+b", closefd=True, buffering=0) as opened:
        with contextlib.suppress(OSError):  # not every network volume has locks; the lines go out in one call
            fcntl.flock(opened, fcntl.LOCK_EX)
        size = opened.seek(0, os.SEEK_END)
        if size > max_bytes:
            opened.seek(-max_bytes // 2, os.SEEK_END)
            newer = opened.read().partition(b"\n")[2]
            opened.truncate(0)
            size = opened.write(newer)
        content = text.encode()
        if size:
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                content = b"\n" + content
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[opened.write(remaining) :]
