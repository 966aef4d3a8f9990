"""A combination is refused where its parts do not fit into the worker together."""

import stat
from pathlib import Path

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe_handlers.engine import OutOfMemory
from fanscribe_handlers.room import ram_bytes, refuse_too_little_room, vram_bytes

TURBO = load_catalogue().variants["whisper-large-v3-turbo-diarized"]
"""6.5 GB of memory, 6 GB of the GPU's."""


@pytest.mark.parametrize(
    ("ram", "vram"),
    [
        (6_500_000_000, 6_000_000_000),
        (5_900_000_000, 5_500_000_000),  # what a machine sold with that much shows
        (0, 0),  # nothing is known
    ],
)
def test_what_fits_passes(ram: int, vram: int) -> None:
    refuse_too_little_room(TURBO, ram, vram)


@pytest.mark.parametrize(
    ("ram", "vram", "said"),
    [
        (5_000_000_000, 24_000_000_000, "need 6.5 GB of memory together, and this worker has 5.0 GB"),
        (16_000_000_000, 4_000_000_000, "need 6 GB of GPU memory together, and this worker has 4.0 GB"),
    ],
)
def test_what_does_not_is_refused_with_advice(ram: int, vram: int, said: str) -> None:
    with pytest.raises(OutOfMemory) as caught:
        refuse_too_little_room(TURBO, ram, vram)
    assert said in str(caught.value)
    assert "whisper-large-v3-turbo, diarize-onnx" in str(caught.value)
    assert "deploy the parts as endpoints of their own" in str(caught.value)


def test_memory_is_the_machine_s_or_what_the_container_may_have(tmp_path: Path) -> None:
    meminfo, limit, none = (tmp_path / name for name in ("meminfo", "limit", "none"))
    meminfo.write_text("MemTotal:       8000 kB\nMemFree:        100 kB\n")
    limit.write_text("4096000\n")
    none.write_text("max\n")
    assert ram_bytes(meminfo, (none, tmp_path / "absent")) == 8_192_000
    assert ram_bytes(meminfo, (none, limit)) == 4_096_000
    assert ram_bytes(tmp_path / "absent", ()) == 0


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 24564; echo 16000", 24_564 * 2**20),
        ("echo 'No devices were found'; exit 6", 0),
        ("echo '[N/A]'", 0),
        (None, 0),
    ],
)
def test_the_first_gpu_counts(
    script: str | None, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        file = tmp_path / "nvidia-smi"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vram_bytes() == found
