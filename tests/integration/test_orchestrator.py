"""The orchestrator over the real local platform with real engines, called by curl and by the official SDK."""

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import runpod
from tests.orchestrated import ORCHESTRATOR, orchestrator_spec

from fanscribe.catalogue import DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.orchestration import OrchestratorOutput, OrchestratorProgress, StreamedSegments
from fanscribe.contracts.transcript import Segment, Transcript
from fanscribe.deploy.local import spec_of
from fanscribe.local.process import RunningPlatform, start

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.timeout(180)]

CHILDREN = ("whisper-base", "diarize-onnx")
ASKED = "ask not what your country can do for you"


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    variants = load_catalogue().variants
    children = [
        spec_of(DeployedEndpoint(name, name, variants[name], Workers(max=1), 120)) for name in CHILDREN
    ]
    ours = orchestrator_spec([(name, variants[name], 1) for name in CHILDREN], {"FANSCRIBE_RESULTS": "off"})
    with start([ours, *children], key="test") as running:
        yield running


@pytest.fixture(scope="module")
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {platform.key}"}
    with httpx2.Client(base_url=platform.url, headers=headers, timeout=150, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def jfk(speech_dir: Path) -> str:
    """Eleven seconds of speech, inside of the request."""
    audio = base64.b64encode((speech_dir / "jfk.flac").read_bytes()).decode()
    return f"data:audio/flac;base64,{audio}"


@pytest.fixture(scope="module")
def talk(speech_dir: Path, http: httpx2.Client) -> str:
    """Two people, stored with the platform."""
    answer = http.put("/objects", content=(speech_dir / "pyannote_sample.wav").read_bytes())
    return str(answer.raise_for_status().json()["url"])


@pytest.fixture
def curl(platform: RunningPlatform, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Calls the orchestrator with plain curl: a path, and a body where it is to post one."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl on this machine: install it to run these tests")

    def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        command = [
            program,
            "-sS",
            "--fail-with-body",
            "--noproxy",
            "*",
            "-H",
            f"Authorization: Bearer {platform.key}",
        ]
        if body is not None:
            file = tmp_path / "body.json"
            file.write_text(json.dumps(body))
            command += ["-H", "Content-Type: application/json", "--data-binary", f"@{file}"]
        command.append(f"{platform.url}/v2/{ORCHESTRATOR}/{path}")
        ended = subprocess.run(command, capture_output=True, text=True, timeout=150)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer

    return call


@pytest.fixture
def sdk(platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The official SDK's client, unmodified."""
    monkeypatch.setattr(runpod, "endpoint_url_base", f"{platform.url}/v2")
    return runpod.Endpoint(ORCHESTRATOR, api_key=platform.key)


def transcript_of(output: Any) -> Transcript:
    return OrchestratorOutput.model_validate(output).transcript()


def children(http: httpx2.Client) -> dict[str, dict[str, int]]:
    """The jobs of the children, by their state."""
    return {name: http.get(f"/v2/{name}/health").raise_for_status().json()["jobs"] for name in CHILDREN}


def made(http: httpx2.Client) -> int:
    """How many jobs the children have had and have."""
    words = ("completed", "failed", "inProgress", "inQueue")
    return sum(jobs[word] for jobs in children(http).values() for word in words)


def until(found: Callable[[], Any], limit_s: float = 60.0) -> Any:
    ends = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)
    return value


def test_curl_gets_a_transcript_from_one_call(curl: Callable[..., dict[str, Any]], jfk: str) -> None:
    state = curl("runsync?wait=120000", {"input": {"audio": jfk}})
    assert state["status"] == "COMPLETED", state
    transcript = transcript_of(state["output"])
    assert ASKED in transcript.text.lower().replace(",", "")
    assert (transcript.language, transcript.gaps, transcript.speakers) == ("en", [], [])
    assert transcript.words[0].end > 0
    assert (state["output"]["variant"], state["output"]["durable"]) == ("whisper-base", False)


def test_the_input_of_the_split_endpoint_guide(curl: Callable[..., dict[str, Any]], talk: str) -> None:
    asked = {"audio": talk, "response_format": "diarized_json", "diarize": True, "timestamps": True}
    state = curl("runsync?wait=120000", {"input": asked})
    assert state["status"] == "COMPLETED", state
    speakers = {segment["speaker"] for segment in state["output"]["segments"]}
    assert speakers == {"A", "B"}  # as OpenAI calls them
    assert state["output"]["contract_version"]


def test_a_call_that_does_not_wait_long_enough_gets_its_id(
    curl: Callable[..., dict[str, Any]], talk: str
) -> None:
    state = curl("runsync?wait=1000", {"input": {"audio": talk, "diarize": True, "cache": False}})
    assert state["status"] in ("IN_PROGRESS", "IN_QUEUE"), "the machine is too fast for this test"
    assert "output" not in state or "text" in state["output"]
    done = until(lambda: (now := curl(f"status/{state['id']}"))["status"] == "COMPLETED" and now)
    assert len(transcript_of(done["output"]).speakers) == 2


def test_progress_is_seen_and_segments_stream_in_order(
    curl: Callable[..., dict[str, Any]], talk: str
) -> None:
    asked = {"audio": talk, "diarize": True, "stream": True, "language": "en"}
    job = curl("run", {"input": asked})
    assert job["status"] == "IN_QUEUE"
    streamed: list[Segment] = []
    reports: list[OrchestratorProgress] = []
    until_s = 0.0
    while True:
        state = curl(f"status/{job['id']}")
        if state["status"] == "IN_PROGRESS" and state.get("output"):
            reports.append(OrchestratorProgress.model_validate(state["output"]))
        for each in curl(f"stream/{job['id']}?wait=1000")["stream"]:
            chunk = StreamedSegments.model_validate(each["output"])
            streamed += chunk.segments
            assert chunk.until_s >= until_s
            until_s = chunk.until_s
        if state["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            break
    transcript = transcript_of(state["output"])
    assert streamed == transcript.segments
    assert until_s == transcript.duration
    assert {word.speaker for word in transcript.words} == {"SPEAKER_00", "SPEAKER_01"}
    assert reports
    assert [each.share for each in reports] == sorted(each.share for each in reports)


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({}, ErrorCode.INVALID_INPUT, "field audio"),
        ({"audio": "talk.mp3"}, ErrorCode.INVALID_INPUT, "field audio"),
        ({"audio": "data:,x", "diarise": True}, ErrorCode.INVALID_INPUT, "field diarise"),
        ({"audio": "data:,x", "clip": {"start": 3}}, ErrorCode.INVALID_INPUT, "field clip.end"),
        ({"audio": "data:,x", "num_speakers": 2}, ErrorCode.INVALID_INPUT, "num_speakers"),
        ({"audio": "data:,x", "notify": {"url": "ftp://x"}}, ErrorCode.INVALID_INPUT, "field notify.url"),
        ({"audio": "data:,x", "contract_version": "9.0"}, ErrorCode.CONTRACT_MISMATCH, "9.0"),
        ({"audio": "data:audio/wav;base64,AAAA"}, ErrorCode.AUDIO_UNREADABLE, "data URI"),
        ({"audio": "http://127.0.0.1:9/a.mp3"}, ErrorCode.INVALID_INPUT, "field audio"),
    ],
)
def test_bad_input_is_refused_before_any_child_job(
    curl: Callable[..., dict[str, Any]],
    http: httpx2.Client,
    asked: dict[str, Any],
    code: ErrorCode,
    named: str,
) -> None:
    before = made(http)
    state = curl("runsync", {"input": asked})
    error = TaskError.model_validate_json(state["error"])
    assert (state["status"], error.code, error.retryable) == ("FAILED", code, False), error
    assert named in error.message
    assert made(http) == before


def test_an_unknown_model_is_refused_with_those_there_are(
    curl: Callable[..., dict[str, Any]], http: httpx2.Client, jfk: str
) -> None:
    before = made(http)
    error = TaskError.parse(curl("runsync", {"input": {"audio": jfk, "model": "whisper-giant"}})["error"])
    assert error.code is ErrorCode.INVALID_INPUT
    assert error.message.startswith("field model whisper-giant: unknown model; known are")
    error = TaskError.parse(curl("runsync", {"input": {"audio": jfk, "model": "whisper-large-v3"}})["error"])
    assert error.code is ErrorCode.MODEL_MISSING
    assert made(http) == before


def test_a_clip_of_one_channel(
    curl: Callable[..., dict[str, Any]], speech_dir: Path, http: httpx2.Client
) -> None:
    stereo = http.put("/objects", content=(speech_dir / "stereo_diarization.wav").read_bytes())
    address = stereo.raise_for_status().json()["url"]
    clip = {"start": 2.0, "end": 12.0}
    whole = curl("runsync?wait=120000", {"input": {"audio": address, "channel": 0, "language": "en"}})
    part = curl(
        "runsync?wait=120000", {"input": {"audio": address, "channel": 0, "clip": clip, "language": "en"}}
    )
    words = transcript_of(part["output"]).words
    assert words
    assert all(2.0 <= word.start <= word.end <= 12.0 for word in words)
    near = {
        word.text.lower().strip(",.")
        for word in transcript_of(whole["output"]).words
        if 2.5 < word.start < 11
    }
    assert len(near & {word.text.lower().strip(",.") for word in words}) >= len(near) / 2
    error = TaskError.parse(curl("runsync", {"input": {"audio": address, "channel": 7}})["error"])
    assert "channel 7" in error.message


def test_the_official_sdk(sdk: Any, jfk: str) -> None:
    asked = {"input": {"audio": jfk, "response_format": "srt"}}
    output = sdk.run_sync(asked, timeout=120)
    assert output["text"].startswith("1\n00:00:0")
    job = sdk.run({"input": {"audio": jfk, "stream": True, "response_format": "text"}})
    chunks = [StreamedSegments.model_validate(each) for each in job.stream()]
    assert ASKED in job.output()["text"].lower().replace(",", "")
    assert ASKED in " ".join(part.text for each in chunks for part in each.segments).lower().replace(",", "")
    assert job.status() == "COMPLETED"


def test_the_sdk_cancels_and_no_child_is_left_running(sdk: Any, http: httpx2.Client, talk: str) -> None:
    job = sdk.run({"input": {"audio": talk, "diarize": True, "cache": False}})
    until(lambda: any(jobs["inProgress"] for jobs in children(http).values()))
    job.cancel()
    assert job.status() == "CANCELLED"
    until(lambda: not any(jobs["inProgress"] + jobs["inQueue"] for jobs in children(http).values()), 10)
    again = sdk.run_sync({"input": {"audio": talk}}, timeout=120)
    assert again["text"]


class _Receiver(BaseHTTPRequestHandler):
    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The test's output stays clean."""


def test_the_platforms_webhook(curl: Callable[..., dict[str, Any]], jfk: str) -> None:
    heard: list[dict[str, Any]] = []
    receiver = type("Receiver", (_Receiver,), {"heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/done"
        job = curl("run", {"input": {"audio": jfk}, "webhook": url})
        until(lambda: heard)
        server.shutdown()
        thread.join()
    assert (heard[0]["id"], heard[0]["status"], heard[0]["webhook"]) == (job["id"], "COMPLETED", url)
    assert ASKED in heard[0]["output"]["text"].lower().replace(",", "")
