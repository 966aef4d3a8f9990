"""docs/endpoints.md is run as it stands: with curl on a local platform, and on handlers started by hand."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import srt
import webvtt

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import (
    INPUTS,
    AlignOutput,
    DiarizeOutput,
    ResponseFormat,
    Stage,
    TranscribeInput,
    TranscribeOutput,
)
from fanscribe.deploy.local import local_specs
from fanscribe.local.process import RunningPlatform, start
from fanscribe.media import decode

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LENGTH_S = 13.0
VARIANTS = {"TRANSCRIBE": "whisper-base", "DIARIZE": "diarize-onnx", "ALIGN": "align-pocketsphinx-en"}
BY_HAND = {
    "transcribe": "whisper-base",
    "clip": "whisper-base",
    "diarize": "diarize-onnx",
    "two-speakers": "diarize-onnx",
    "align": "align-pocketsphinx-en",
    **{f"two-call-{each}": "whisper-base" for each in ResponseFormat},
}
"""The page's requests and who answers them."""

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("curl") is None, reason="curl is not installed: the page's examples use it"
    ),
]


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    specs = [each for each in local_specs() if each.name in VARIANTS.values()]
    assert len(specs) == len(VARIANTS)
    with start(specs) as running:
        yield running


@pytest.fixture(scope="module")
def followed(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole page has been followed."""
    folder = tmp_path_factory.mktemp("reader")
    write_mp3(folder / "talk.mp3")
    script = "\n".join(BLOCKS)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **by_hand_environment(),
            "RUNPOD_API_KEY": platform.key or "any",
            **{name: f"{platform.url}/v2/{variant}" for name, variant in VARIANTS.items()},
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.count("completed successfully") == 2, "the two handlers started by hand"
    return folder


def by_hand_environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**clean, "PATH": path, "FANSCRIBE_THREADS": "2"}


def write_mp3(file: Path) -> None:
    """The start of the sample conversation, small enough for a command line."""
    with (ROOT / "docs" / "samples" / "conversation.flac").open("rb") as source:
        samples = decode(source, "the sample", clip=(0, LENGTH_S)).samples
    whole = np.rint(samples * 32_767).clip(-32_768, 32_767).astype(np.int16)
    with av.open(str(file), "w", format="mp3") as target:
        stream = target.add_stream("libmp3lame", rate=16_000, layout="mono", format="s16p")
        stream.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(whole[np.newaxis], format="s16p", layout="mono")
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            target.mux(packet)


def answer(folder: Path, name: str) -> dict[str, Any]:
    state = json.loads((folder / f"{name}.json").read_text())
    assert state["status"] == "COMPLETED", state
    output: dict[str, Any] = state["output"]
    return output


def test_the_stages_answer_as_the_page_says(followed: Path) -> None:
    heard = TranscribeOutput.model_validate(answer(followed, "transcribed"))
    assert "harbor" in heard.text or "harbour" in heard.text
    assert all(segment.words for segment in heard.segments)
    clipped = TranscribeOutput.model_validate(answer(followed, "clipped"))
    assert max(segment.end for segment in clipped.segments) <= 5
    assert not any(segment.words for segment in clipped.segments)
    turns = DiarizeOutput.model_validate(answer(followed, "diarized"))
    assert turns.num_speakers == 2
    assert sorted(turns.embeddings) == ["SPEAKER_00", "SPEAKER_01"]
    aligned = AlignOutput.model_validate(answer(followed, "aligned"))
    assert [word.text for part in aligned.segments for word in part.words][:3] == ["Good", "morning,", "Tom."]
    assert len(answer(followed, "two-speakers-rttm")["text"].splitlines()) >= 3


def test_two_calls_say_who_said_what(followed: Path) -> None:
    output = TranscribeOutput.model_validate(answer(followed, "two-call-answer"))
    told = [(segment.speaker, segment.text) for segment in output.segments]
    assert told[0][0] == "SPEAKER_00"
    assert "Did you listen" in " ".join(text for speaker, text in told if speaker == "SPEAKER_00")
    assert "all three of them" in " ".join(text for speaker, text in told if speaker == "SPEAKER_01")


def test_every_format_is_what_its_name_says(followed: Path) -> None:
    outputs = {each: answer(followed, f"answer-{each}") for each in ResponseFormat}
    assert all(output["variant"] == "whisper-base" for output in outputs.values())
    assert outputs[ResponseFormat.NATIVE]["segments"][0]["words"]
    assert outputs[ResponseFormat.JSON].keys() >= {"text", "usage"}
    assert outputs[ResponseFormat.VERBOSE_JSON]["segments"][0]["speaker"] == "SPEAKER_00"
    assert {part["speaker"] for part in outputs[ResponseFormat.DIARIZED_JSON]["segments"]} == {"A", "B"}
    assert "SPEAKER_01" in outputs[ResponseFormat.TEXT]["text"]
    assert len(list(srt.parse(outputs[ResponseFormat.SRT]["text"]))) >= 2
    assert len(webvtt.from_string(outputs[ResponseFormat.VTT]["text"])) >= 2
    assert {line.split()[7] for line in outputs[ResponseFormat.RTTM]["text"].splitlines()} == {
        "SPEAKER_00",
        "SPEAKER_01",
    }


def test_jobs_are_found_stopped_and_refused(followed: Path) -> None:
    status = json.loads((followed / "status.json").read_text())
    cancelled = json.loads((followed / "cancelled.json").read_text())
    assert status["id"] == cancelled["id"]
    assert cancelled["status"] in ("CANCELLED", "COMPLETED")  # it may have been quicker
    assert json.loads((followed / "health.json").read_text())["jobs"]["completed"] >= 10
    refused = json.loads((followed / "refused.json").read_text())
    assert refused["status"] == "FAILED"
    assert TaskError.parse(refused["error"]).code is ErrorCode.INVALID_INPUT
    assert "langauge" in TaskError.parse(refused["error"]).message


@pytest.mark.parametrize(("name", "variant"), BY_HAND.items())
def test_a_handler_started_by_hand_answers_the_same_request(
    followed: Path, platform: RunningPlatform, name: str, variant: str
) -> None:
    (spec,) = [each for each in local_specs() if each.name == variant]
    done = subprocess.run(
        [*spec.command, "--test_input", (followed / f"{name}.json").read_text()],
        cwd=followed,
        env={**by_hand_environment(), "FANSCRIBE_VARIANT": variant},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Job result: {'output': {" in done.stdout


def test_the_page_names_every_field_and_format() -> None:
    fields = {name for stage in Stage if stage in INPUTS for name in INPUTS[stage].model_fields}
    fields -= {"contract_version"}  # of our own client
    assert {name for name in fields if f"`{name}" not in PAGE} == set()
    assert {each.value for each in ResponseFormat if each.value not in PAGE} == set()
    assert {name for name in TranscribeInput.model_fields if name.startswith("diarization")} == {
        "diarization_segments"
    }
