"""Fixtures for the whole suite."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """The folder of real recordings with references; the test is skipped where there is none."""
    folder = Path(os.environ.get("FANSCRIBE_SPEECH_DIR", ROOT.parent / "shared" / "audio"))
    if not (folder / "jfk.flac").is_file():
        pytest.skip(f"no speech recordings at {folder}: set FANSCRIBE_SPEECH_DIR to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, through anyio's pytest plugin (anyio comes with httpx)."""
    return "asyncio"
