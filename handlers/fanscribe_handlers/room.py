"""Whether a combination fits into this worker's memory, asked before anything is fetched or loaded."""

import subprocess
from pathlib import Path

from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import OutOfMemory

_GB = 1e9
_ALLOWANCE = 0.1
"""A machine sold with 8 GB shows its programs up to this share less: firmware and drivers keep some of it."""

_TIMEOUT_S = 10.0
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def refuse_too_little_room(variant: Variant, ram_bytes: int, vram_bytes: int) -> None:
    """Raise OutOfMemory where the parts together need more memory than there is.

    `vram_bytes` is 0 where no GPU is seen; whether one has to be there is another check's question.
    """
    needs = variant.hardware
    for kind, needed_gb, there in (
        ("memory", needs.min_ram_gb, ram_bytes),
        ("GPU memory", needs.min_vram_gb, vram_bytes),
    ):
        if there and needed_gb * _GB * (1 - _ALLOWANCE) > there:
            parts = ", ".join(part.id for part in variant.parts)
            raise OutOfMemory(
                f"{variant.id} does not fit: its parts ({parts}) need {needed_gb:g} GB of {kind} together, and this "
                f"worker has {there / _GB:.1f} GB: choose a larger one, or deploy the parts as endpoints of their own"
            )


def ram_bytes(meminfo: Path = Path("/proc/meminfo"), limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Memory that this container may have, bytes: the machine's or its control group's; 0 where neither is known."""
    found = []
    for file in (meminfo, *limits):
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            continue
        if file is meminfo:
            lines = (line.split() for line in text.splitlines() if line.startswith("MemTotal:"))
            found += [int(line[1]) * 1024 for line in lines]
        elif text.strip().isdigit():  # "max" stands for no limit
            found.append(int(text))
    return min(found, default=0)


def vram_bytes() -> int:
    """Memory of the first GPU, bytes; 0 where there is no driver or it does not answer."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    first = done.stdout.strip().splitlines()[:1] if done.returncode == 0 else []
    return int(first[0]) * 2**20 if first and first[0].strip().isdigit() else 0
