"""A small process that ends the platform's workers when the platform is gone, however it went.

It runs this file alone (no package, no site), with `NAME=VALUE`, an entry that the environment of every worker
has, and the temporary folder if there is one. It reads lines `+GROUP` and `-GROUP` from the platform. At the end
of its input, which comes also when the platform was killed, it kills every process group it still knows, then
whatever carries the entry (a worker's child that left the group, a worker not announced yet), and removes the
folder.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def groups_left(lines: Iterable[str]) -> set[int]:
    """The process groups that were announced and not taken back."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def carrying(entry: str, proc: Path = Path("/proc")) -> Iterator[int]:
    """Processes whose environment has the entry, as far as this user may look."""
    wanted = entry.encode()
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def main() -> None:
    """Wait for the end of the input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    entry, *folders = sys.argv[1:]
    for group in groups_left(sys.stdin):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    with contextlib.suppress(OSError):
        for pid in carrying(entry):
            os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
