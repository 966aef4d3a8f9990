"""Folders for the time of a call, and what a full disk means for them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fanscribe.contracts.errors import FanscribeError


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A private folder for the work on the audio that messages call `name`; removed afterwards.

    Raises FanscribeError when there is no room for it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="fanscribe-", ignore_cleanup_errors=True)
    except OSError as error:
        raise no_room(name, tempfile.gettempdir(), error) from error
    with folder as path:
        yield Path(path)


def no_room(name: str, folder: object, error: OSError) -> FanscribeError:
    """What is said when audio cannot be written to a folder of ours."""
    return FanscribeError(
        f"{name}: cannot be written to {folder} ({error.strerror or error}): make room there, or set TMPDIR to a "
        "folder that has some"
    )
