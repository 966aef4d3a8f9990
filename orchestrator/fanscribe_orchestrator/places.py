"""Where an orchestrator keeps its work, and whether the next worker will find it there."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fanscribe.contracts.errors import UsageError
from fanscribe.results import LearnedFactors, ResultStore, learned_file, open_results
from fanscribe.results.store import LOCATION_VARIABLE, OFF

DURABLE_VARIABLE = "FANSCRIBE_RESULTS_DURABLE"
"""Environment variable with the operator's word, 1 or 0, on whether the folder of results outlives a worker."""

MOUNTS = Path("/proc/self/mountinfo")

_PASSING = frozenset({"overlay", "aufs", "tmpfs", "ramfs", "fuse.fuse-overlayfs"})
"""Filesystems that go with the container: its own layer, and memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place for finished work, with what was learned of the endpoints beside it; without a store nothing is kept.

    `durable`: what is kept there outlives the worker, and the next one finds it.
    """

    store: ResultStore | None = None
    durable: bool = False
    learned: LearnedFactors | None = None


def open_place(environ: Mapping[str, str], platform_url: str, mounts: Path = MOUNTS) -> Place:
    """The place that FANSCRIBE_RESULTS names: s3://bucket/prefix, or a folder. Unset or `off`, nothing is kept.

    A bucket is durable. So is a folder where the platform at `platform_url` runs on this very machine, whose disk
    outlives the worker's process; elsewhere a folder is durable on a volume only, since what a container writes
    beside its volumes goes with it. FANSCRIBE_RESULTS_DURABLE has the last word on folders. Raises UsageError.
    """
    location = environ.get(LOCATION_VARIABLE) or OFF
    said = _said(environ)
    if location == OFF:
        return Place()
    store = open_results(location, environ)
    learned = LearnedFactors(learned_file(environ))
    if location.startswith("s3://"):
        return Place(store, True, learned)
    if said is None:
        said = _loopback(platform_url) or on_volume(Path(location).expanduser(), _read(mounts))
    return Place(store, said, learned)


def on_volume(folder: Path, mountinfo: str) -> bool:
    """Whether a folder lies on a filesystem of its own that outlives the container: not its layer, nor memory.

    `mountinfo` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)): the mount point is the fifth field, the
    type follows the lone hyphen. Later mounts hide earlier ones.
    """
    path, found = os.path.realpath(folder), ("", "")
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        point = parts[4].replace("\\040", " ")
        under = path == point or path.startswith(point.rstrip("/") + "/")
        if under and len(point) >= len(found[0]):
            found = (point, rest.split()[0])
    point, kind = found
    return point not in ("", "/") and kind not in _PASSING


def _said(environ: Mapping[str, str]) -> bool | None:
    text = environ.get(DURABLE_VARIABLE, "")
    if text not in ("", "0", "1"):
        raise UsageError(
            f"{DURABLE_VARIABLE} is {text!r}: set it to 1 where the folder outlives a worker, else to 0"
        )
    return None if text == "" else text == "1"


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(mounts: Path) -> str:
    try:
        return mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux: nothing is known of volumes, so the operator has to say it
        return ""
