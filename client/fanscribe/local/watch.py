"""How much memory worker processes take: each with everything in its process group."""

import contextlib
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Set

import psutil

from fanscribe.local.spec import MIB


def memory_of_groups(groups: Set[int]) -> dict[int, int]:
    """Resident bytes of each process group; groups that have gone are left out.

    Pages that a child shares are counted with the leader of the group only, so that a forked heartbeat does
    not count a model twice.
    """
    taken: dict[int, int] = defaultdict(int)
    for pid in psutil.pids():
        try:
            group = os.getpgid(pid)
            if group in groups:
                memory = psutil.Process(pid).memory_info()
                taken[group] += memory.rss if pid == group else max(0, memory.rss - memory.shared)
        except (psutil.Error, OSError):
            continue
    return dict(taken)


def gpu_memory_of_groups(groups: Set[int]) -> dict[int, int] | None:
    """GPU memory of each process group in bytes, as the driver's tool says; None where it cannot say."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return gpu_memory(said, groups)


def gpu_memory(said: str, groups: Set[int]) -> dict[int, int]:
    """The tool's lines of process and MiB, summed by process group; others' processes are left out."""
    taken: dict[int, int] = defaultdict(int)
    for line in said.splitlines():
        pid, _, mib = line.partition(",")
        with contextlib.suppress(ValueError, OSError):
            group = os.getpgid(int(pid))
            if group in groups:
                taken[group] += int(mib) * MIB
    return dict(taken)
