"""The real local platform with the real engines, once for all tests of this folder that ask for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanscribe import Client


@pytest.fixture(scope="session")
def private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of its own, so that a platform that somebody left up is neither used nor stopped."""
    folder = tmp_path_factory.mktemp("state")
    before = os.environ.get("FANSCRIBE_STATE_DIR")
    os.environ["FANSCRIBE_STATE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FANSCRIBE_STATE_DIR"]
    else:
        os.environ["FANSCRIBE_STATE_DIR"] = before


@pytest.fixture(scope="session")
def client(private_state: Path) -> Iterator[Client]:
    """A client on a local platform of its own, warm from its first use on."""
    with Client(platform="local") as client:
        yield client
