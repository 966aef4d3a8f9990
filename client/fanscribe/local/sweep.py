"""What an earlier platform left behind although its reaper should have taken it: found by marks, and removed."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import psutil

MARK = "FANSCRIBE_LOCAL_PLATFORM"
"""In the environment of every worker: the platform it belongs to."""
FOLDER_PREFIX = "fanscribe-local-"
OWNER_FILE = "owner"


def mark_of(pid: int) -> str:
    """A text that no other process of this machine has: process id and start time."""
    return f"{pid}-{psutil.Process(pid).create_time():.2f}"


def alive(mark: str) -> bool:
    """Whether the platform of that mark still runs."""
    pid = mark.partition("-")[0]
    try:
        return pid.isdigit() and mark_of(int(pid)) == mark
    except psutil.Error:
        return False


def sweep(folder: Path | None = None) -> int:
    """End worker processes and remove temporary folders of platforms that are gone; returns how many."""
    return _end_processes() + _remove_folders(folder or Path(tempfile.gettempdir()))


def _end_processes() -> int:
    ended, user = 0, os.getuid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real != user:
                continue
            mark = process.environ().get(MARK)
            if mark is not None and not alive(mark):
                process.send_signal(signal.SIGKILL)
                ended += 1
    return ended


def _remove_folders(folder: Path) -> int:
    removed = 0
    for left in folder.glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            mark = (left / OWNER_FILE).read_text()
            if left.stat().st_uid == os.getuid() and not alive(mark):
                shutil.rmtree(left, ignore_errors=True)
                removed += 1
    return removed
