"""How much memory worker processes take: each with everything in its process group."""

import os
from collections import defaultdict
from collections.abc import Set

import psutil


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
