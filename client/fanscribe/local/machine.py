"""What this machine has: RAM within its control group, GPU memory."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from fanscribe.local.memory import Limits
from fanscribe.local.spec import MIB, EndpointSpec

# The rest is for the system, the platform and the client.
RAM_SHARE = 0.8
_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024 * MIB, "T": 1024 * 1024 * MIB}


def memory_limits(ram_bytes: int | None, vram_bytes: int | None, specs: Sequence[EndpointSpec]) -> Limits:
    """The limits given, else 80 % of the RAM this process may use and all the memory of the GPUs."""
    if ram_bytes is None:
        ram_bytes = int(usable_ram_bytes() * RAM_SHARE)
    if vram_bytes is None:
        vram_bytes = gpu_memory_bytes() if any(spec.vram_bytes for spec in specs) else 0
    return Limits(ram_bytes, vram_bytes)


def usable_ram_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Physical memory, or the limit of the control group where that is less, in bytes."""
    sizes = [psutil.virtual_memory().total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int((cgroup / name).read_text()))
    return min(size for size in sizes if size > 0)


def gpu_memory_bytes() -> int:
    """Memory of all GPUs together, in bytes, as the driver's tool says; 0 without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return sum(int(line) for line in done.stdout.split()) * MIB
    return 0


def parse_size(text: str) -> int:
    """Bytes of `12G`, `512M`, `1.5g`, `1073741824`; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"not a size: {text!r}; write it like 12G or 512M")
    return int(float(match[1]) * _UNITS[match[2].upper()])
