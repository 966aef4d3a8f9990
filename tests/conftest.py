"""Fixtures for the whole suite."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children; here tests send it to them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """The folder of real recordings with references; the test is skipped where there is none."""
    folder = Path(os.environ.get("FANSCRIBE_SPEECH_DIR", ROOT.parent / "shared" / "audio"))
    if not (folder / "jfk.flac").is_file():
        pytest.skip(f"no speech recordings at {folder}: set FANSCRIBE_SPEECH_DIR to a folder that has them")
    return folder


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a store that speaks S3, on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def _results_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Also fixtures that live longer than a test must not find what an earlier session left in the user's cache."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANSCRIBE_RESULTS", str(folder / "shared"))
        patch.setenv("FANSCRIBE_RECORDS", str(folder / "shared" / "runs.jsonl"))
        yield folder


@pytest.fixture(autouse=True)
def results_dir(_results_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for results of the test's own: what one run kept must not save another's work, nor the user's."""
    folder = _results_dir / uuid4().hex
    monkeypatch.setenv("FANSCRIBE_RESULTS", str(folder))
    monkeypatch.setenv("FANSCRIBE_RECORDS", str(folder / "runs.jsonl"))
    for name in ("FANSCRIBE_TRACES", "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, through anyio's pytest plugin (anyio comes with httpx2)."""
    return "asyncio"


@pytest.fixture(scope="session")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WAV of one second, 16 kHz mono: a quiet tone."""
    import math
    import struct
    import wave

    file = tmp_path_factory.mktemp("audio") / "tone.wav"
    samples = (int(3000 * math.sin(2 * math.pi * 440 * i / 16_000)) for i in range(16_000))
    with wave.open(str(file), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        target.writeframes(b"".join(struct.pack("<h", each) for each in samples))
    return file
