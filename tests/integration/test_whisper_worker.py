"""The real Whisper worker under the unmodified SDK, called over HTTP on a local platform."""

import base64
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.task import TranscribeOutput
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.timeout(120)]


def spec(name: str, **env: str) -> EndpointSpec:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return EndpointSpec(
        name=name,
        command=(sys.executable, "-m", "fanscribe_handlers.whisper"),
        env={"FANSCRIBE_VARIANT": "whisper-base", "XDG_CACHE_HOME": cache, "FANSCRIBE_THREADS": "2"} | env,
        scaler_value=0.1,
        idle_timeout_s=30,
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    nowhere = str(tmp_path_factory.mktemp("nowhere"))
    without_model = spec(
        "no-model",
        FANSCRIBE_VARIANT="whisper-large-v3",
        FANSCRIBE_MODEL_STORE=nowhere,
        HF_HOME=nowhere,
        HF_HUB_OFFLINE="1",
    )
    with start([spec("whisper"), without_model]) as running:
        yield running


class Endpoint:
    """Calls one endpoint of the platform, as curl would."""

    def __init__(self, platform: RunningPlatform, name: str) -> None:
        self._url = f"{platform.url}/v2/{name}"
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {platform.key}"}, timeout=60)

    def run(self, body: dict[str, Any]) -> str:
        answer = self._http.post(f"{self._url}/run", json={"input": body}).raise_for_status()
        return JobState.model_validate(answer.json()).id

    def state(self, job_id: str) -> JobState:
        return JobState.model_validate(self._http.get(f"{self._url}/status/{job_id}").json())

    def cancel(self, job_id: str) -> None:
        self._http.post(f"{self._url}/cancel/{job_id}").raise_for_status()

    def done(self, job_id: str) -> JobState:
        while not (state := self.state(job_id)).status.final:
            time.sleep(0.05)
        return state

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def whisper(platform: RunningPlatform) -> Iterator[Endpoint]:
    endpoint = Endpoint(platform, "whisper")
    yield endpoint
    endpoint.close()


def inline(file: Path) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(file.read_bytes()).decode()


def engine_seconds(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def workers(platform: RunningPlatform, name: str) -> list[dict[str, Any]]:
    (found,) = [each for each in platform.status()["endpoints"] if each["name"] == name]
    listed: list[dict[str, Any]] = found["workers"]
    return listed


def test_a_recording_becomes_text(whisper: Endpoint, speech_dir: Path) -> None:
    state = whisper.done(whisper.run({"audio": inline(speech_dir / "jfk.flac")}))
    assert state.status is JobStatus.COMPLETED, state.error
    output = TranscribeOutput.model_validate(state.output)
    assert "ask what you can do for your country" in output.text
    assert output.language == "en"
    assert output.engine.startswith("faster-whisper ")
    assert output.timing.cold_start
    assert output.timing.load_s > 0
    assert output.timing.inference_s > 0


def test_two_calls_label_the_speakers(whisper: Endpoint, speech_dir: Path) -> None:
    body = {
        "audio": inline(speech_dir / "jfk.flac"),
        "clip": {"start": 7.6, "end": 11},
        "language": "en",
        "diarization_segments": [{"start": 0, "end": 11, "speaker": "SPEAKER_00"}],
        "response_format": "srt",
    }
    state = whisper.done(whisper.run(body))
    assert state.status is JobStatus.COMPLETED, state.error
    assert "00:00:08," in state.output["text"]


def test_a_wrong_field_fails_the_job(whisper: Endpoint) -> None:
    state = whisper.done(whisper.run({"audio": "data:,", "langauge": "en"}))
    assert state.status is JobStatus.FAILED
    error = TaskError.parse(state.error)
    assert error.code is ErrorCode.INVALID_INPUT
    assert "langauge" in error.message


def test_a_job_is_stopped_in_mid_inference(
    platform: RunningPlatform, whisper: Endpoint, speech_dir: Path
) -> None:
    body = {"audio": inline(speech_dir / "two_cities.flac"), "language": "en"}
    job_id = whisper.run(body)
    while not isinstance(output := whisper.state(job_id).output, dict) or output.get("phase") != "running":
        assert not whisper.state(job_id).status.final
        time.sleep(0.02)
    (worker,) = [each for each in workers(platform, "whisper") if each.get("pid")]
    whisper.cancel(job_id)
    time.sleep(1.0)
    try:
        before = engine_seconds(worker["pid"])
        time.sleep(0.5)
        assert engine_seconds(worker["pid"]) - before < 0.1
    except FileNotFoundError:
        pass  # the worker ended itself, which stops the engine for certain
    assert whisper.state(job_id).status is JobStatus.CANCELLED
    again = whisper.done(whisper.run({**body, "clip": {"start": 0, "end": 5}}))
    assert again.status is JobStatus.COMPLETED, again.error
    assert "best of times" in again.output["text"]


def test_a_model_that_is_nowhere_says_where_it_was_looked_for(
    platform: RunningPlatform, speech_dir: Path
) -> None:
    endpoint = Endpoint(platform, "no-model")
    state = endpoint.done(endpoint.run({"audio": inline(speech_dir / "jfk.flac")}))
    endpoint.close()
    error = TaskError.parse(state.error)
    assert error.code is ErrorCode.MODEL_MISSING
    assert not error.retryable
    for place in ("given folder", "Model Store", "Hugging Face cache", "packaged", "bundled", "hub download"):
        assert place in error.message
