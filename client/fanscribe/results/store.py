"""What every place for results can do, and which place a user means."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fanscribe.contracts.errors import UsageError

LOCATION_VARIABLE = "FANSCRIBE_RESULTS"
"""Environment variable that names another place for results: a folder, or s3://bucket/prefix."""

SIZE_VARIABLE = "FANSCRIBE_RESULTS_MAX_BYTES"
"""Environment variable that caps the size of the folder, in bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept value: its size in bytes, and when it was last used (in a bucket: written), seconds since 1970."""

    key: str
    size_bytes: int
    used_at: float


class ResultStore(Protocol):
    """A place for results. Blocking; safe to use from several threads and processes at once.

    Keeping results only saves money, so `get` and `put` never fail for the place's sake: what cannot be read
    counts as missing, what cannot be written is not kept, and a warning is logged. `entries` and `clear` are
    asked for by people and raise FanscribeError.
    """

    @property
    def location(self) -> str:
        """The place, as a user would name it."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The value kept under a key; None when there is none or it is damaged, which removes it."""

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep a JSON object. An older value under the same key is replaced."""

    def entries(self) -> Iterator[Entry]:
        """Everything that is kept, in no order."""

    def clear(self) -> int:
        """Remove everything that is kept; how many values that were."""


OFF = "off"
"""The location that stands for: keep nothing."""


def open_results(location: str | None = None, environ: Mapping[str, str] = os.environ) -> ResultStore | None:
    """The results at `location`, else where FANSCRIBE_RESULTS says, else in the user's cache folder.

    A location is a folder, s3://bucket/prefix (needs boto3, the extra `s3`), or "off". Nothing is read or written
    yet. Raises UsageError.
    """
    from fanscribe.results.folder import DEFAULT_MAX_BYTES, FolderResults

    location = location or environ.get(LOCATION_VARIABLE) or None
    if location == OFF:
        return None
    if location is not None and location.startswith("s3://"):
        from fanscribe.results.bucket import open_bucket

        return open_bucket(location)
    if location is not None and "://" in location:
        raise UsageError(f"{LOCATION_VARIABLE}: {location}: give a folder or s3://bucket/prefix")
    size = environ.get(SIZE_VARIABLE) or str(DEFAULT_MAX_BYTES)
    if not size.isdecimal() or int(size) == 0:
        raise UsageError(f"{SIZE_VARIABLE} is {size!r}: set it to a whole number of bytes above 0")
    if location is None:
        from platformdirs import user_cache_path

        return FolderResults(user_cache_path("fanscribe") / "results", max_bytes=int(size))
    return FolderResults(Path(location).expanduser(), max_bytes=int(size))


def learned_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the measured factors of endpoints are kept: beside the results where these lie in a folder."""
    location = environ.get(LOCATION_VARIABLE) or ""
    if location and location != OFF and "://" not in location:
        return Path(location).expanduser() / "learned.json"
    from platformdirs import user_cache_path

    return user_cache_path("fanscribe") / "learned.json"
