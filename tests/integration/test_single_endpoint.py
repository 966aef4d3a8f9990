"""One endpoint that does it all, beside the fan-out over two, with the real engines on a local platform."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe import Transcript
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.task import TranscribeOutput
from fanscribe.contracts.transcript import Segment
from fanscribe.deploy.local import local_catalogue, local_specs
from fanscribe.endpoint import open_http
from fanscribe.local.process import RunningPlatform, start
from fanscribe.pipeline.events import ignore
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, transcribe

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.slow, pytest.mark.timeout(300)]

ENDPOINTS = """
schema_version = 1

[project]
name = "three-ways"

[defaults]
workers = { min = 0, max = 1 }
idle_timeout_s = 60
scaling = { queue_delay_s = 0.5 }

[endpoints.words]
variant = "whisper-base"

[endpoints.speakers]
variant = "diarize-onnx"

[endpoints.single]
variant = "whisper-base-diarized"

[endpoints.timed]
variant = "mine"
"""

TIMED = """
schema_version: 1
id: mine
family: combined
name: Whisper base with an aligner
parts: [align-pocketsphinx-en, whisper-base]
"""

RECORDINGS = ["jfk.flac", "pyannote_sample.wav", "multilingual.mp3"]

Said = list[tuple[str | None, str]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    (folder / "own").mkdir()
    (folder / "own" / "mine.yaml").write_text(TIMED)
    whole = folder / "endpoints.toml"
    whole.write_text(ENDPOINTS.replace('"three-ways"', '"three-ways"\nvariants = ["own"]'))
    return whole


@pytest.fixture(scope="module")
def platform(file: Path) -> Iterator[RunningPlatform]:
    with start(local_specs(file)) as running:
        yield running


@pytest.fixture(scope="module")
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=f"{platform.url}/v2", headers={"Authorization": f"Bearer {platform.key}"}, timeout=120
    ) as client:
        yield client


def inline(file: Path) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(file.read_bytes()).decode()


def posted(http: httpx2.Client, endpoint: str, **body: Any) -> JobState:
    answer = http.post(f"/{endpoint}/runsync", json={"input": body}).raise_for_status()
    state = JobState.model_validate(answer.json())
    while not state.status.final:
        time.sleep(0.1)
        state = JobState.model_validate(http.get(f"/{endpoint}/status/{state.id}").json())
    return state


async def called(platform: RunningPlatform, catalogue: Catalogue, file: Path, **options: Any) -> Transcript:
    async with open_http(proxied=False) as http:
        return await transcribe(
            Recording(file, file.name, None),
            make_request(diarize=True, **options),
            catalogue,
            Platform(http, f"{platform.url}/v2", platform.key, "local", None),
            ignore,
        )


def said(segments: list[Segment]) -> Said:
    """Who says each word."""
    return [(word.speaker, word.text) for segment in segments for word in segment.words]


def times(segments: list[Segment]) -> list[float]:
    return [time for segment in segments for word in segment.words for time in (word.start, word.end)]


@pytest.mark.parametrize("name", RECORDINGS)
async def test_it_gives_the_words_and_speakers_of_the_fan_out(
    platform: RunningPlatform, http: httpx2.Client, file: Path, speech_dir: Path, name: str
) -> None:
    recording, deployed = speech_dir / name, local_catalogue(file)
    fanned = await called(platform, deployed, recording, model="whisper-base")
    assert sorted(task.stage for task in fanned.tasks) == ["diarize", "transcribe"], "in one piece each"
    assert said(fanned.segments)
    alone = await called(platform, deployed, recording, model="whisper-base-diarized")
    (task,) = alone.tasks
    assert task.variant == "whisper-base-diarized"
    assert (alone.segments, alone.turns, alone.speakers) == (fanned.segments, fanned.turns, fanned.speakers)
    assert (alone.language, alone.warnings) == (fanned.language, fanned.warnings)

    state = posted(http, "single", audio=inline(recording), diarize=True)
    assert state.status is JobStatus.COMPLETED, state.error
    output = TranscribeOutput.model_validate(state.output)
    assert said(output.segments) == said(fanned.segments)
    # It heard the file itself; the others heard it in the 16 bits of the FLAC that the fan-out sends.
    assert times(output.segments) == pytest.approx(times(fanned.segments), abs=0.3)
    assert output.diarization is not None
    assert output.diarization.num_speakers == len({turn.speaker for turn in fanned.turns})
    assert output.engine.startswith("faster-whisper ")
    assert " + onnxruntime " in output.engine


async def test_a_plan_takes_it_where_it_is_all_there_is(
    platform: RunningPlatform, file: Path, speech_dir: Path
) -> None:
    deployed = local_catalogue(file)
    only = deployed.deployed(each for each in deployed.endpoints if each.name == "single")
    transcript = await called(platform, only, speech_dir / "pyannote_sample.wav", language="en")
    assert [(task.stage, task.variant) for task in transcript.tasks] == [
        ("transcribe", "whisper-base-diarized")
    ]
    assert transcript.speakers == ["SPEAKER_00", "SPEAKER_01"]


def test_formats_and_bounds_are_those_of_any_engine(http: httpx2.Client, speech_dir: Path) -> None:
    audio = inline(speech_dir / "pyannote_sample.wav")
    one = posted(
        http, "single", audio=audio, diarize=True, num_speakers=1, response_format="rttm", language="en"
    )
    assert {line.split()[7] for line in one.output["text"].splitlines()} == {"SPEAKER_00"}
    short = posted(
        http,
        "single",
        audio=audio,
        diarize=True,
        language="en",
        timestamps="segment",
        clip={"start": 10, "end": 20},
        response_format="srt",
    )
    assert "00:00:1" in short.output["text"]
    assert "SPEAKER_01" in short.output["text"]
    plain = TranscribeOutput.model_validate(posted(http, "single", audio=audio, language="en").output)
    assert plain.diarization is None
    assert {speaker for speaker, _ in said(plain.segments)} == {None}


def test_a_combination_of_ones_own_times_words_with_its_aligner(
    http: httpx2.Client, speech_dir: Path
) -> None:
    audio = inline(speech_dir / "two_cities.flac")
    aligned = TranscribeOutput.model_validate(posted(http, "timed", audio=audio, language="en").output)
    plain = TranscribeOutput.model_validate(posted(http, "words", audio=audio, language="en").output)
    assert said(aligned.segments) == said(plain.segments)
    assert times(aligned.segments) != times(plain.segments)
    assert times(aligned.segments) == pytest.approx(times(plain.segments), abs=1.5)
    assert aligned.variant == "mine"
    assert "pocketsphinx" in aligned.engine
    refused = posted(http, "timed", audio=audio, diarize=True)
    error = TaskError.parse(refused.error)
    assert error.code is ErrorCode.INVALID_INPUT
    assert "field diarize: mine does not diarize" in error.message


def test_a_cancelled_job_stops_both_engines(
    platform: RunningPlatform, http: httpx2.Client, speech_dir: Path
) -> None:
    body = {"audio": inline(speech_dir / "multilingual.mp3"), "diarize": True}
    job_id = http.post("/single/run", json={"input": body}).raise_for_status().json()["id"]
    while True:
        state = http.get(f"/single/status/{job_id}").json()
        assert state["status"] in ("IN_QUEUE", "IN_PROGRESS"), state
        if (state.get("output") or {}).get("phase") == "running" and state["output"]["share"] > 0:
            break
        time.sleep(0.05)
    http.post(f"/single/cancel/{job_id}").raise_for_status()
    assert http.get(f"/single/status/{job_id}").json()["status"] == "CANCELLED"
    again = posted(http, "single", audio=inline(speech_dir / "hotwords.mp3"), diarize=True)
    assert again.status is JobStatus.COMPLETED, again.error
