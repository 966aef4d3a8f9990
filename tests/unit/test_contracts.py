"""The wire models: what is refused, what is sent, and that the first version is read for ever."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fanscribe.contracts.task import (
    INPUTS,
    OUTPUTS,
    DiarizeInput,
    Stage,
    Timestamps,
    TranscribeInput,
    to_wire,
)
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn, Word
from fanscribe.contracts.version import CONTRACT_VERSION, major

DATA = Path(__file__).resolve().parent.parent / "data"
AUDIO = "https://example.com/a.flac"


@pytest.mark.parametrize("file", sorted(DATA.glob("contract-*/*-input.json")), ids=lambda file: file.name)
def test_inputs_of_every_version_are_read(file: Path) -> None:
    stage = Stage(file.name.split("-")[0])
    task = INPUTS[stage].model_validate_json(file.read_text())
    assert task.audio


@pytest.mark.parametrize("file", sorted(DATA.glob("contract-*/*-output.json")), ids=lambda file: file.name)
def test_outputs_of_every_version_are_read_completely(file: Path) -> None:
    data = json.loads(file.read_text())
    output = OUTPUTS[Stage(file.name.split("-")[0])].model_validate(data)
    kept = json.loads(output.model_dump_json())
    assert _covers(kept, data)


def test_transcripts_of_every_version_are_read_completely() -> None:
    files = sorted(DATA.glob("contract-*/transcript.json"))
    assert files
    for file in files:
        data = json.loads(file.read_text())
        assert _covers(Transcript.from_dict(data).to_dict(), data)


def _covers(kept: Any, data: Any) -> bool:
    """Whether everything in `data` is still in `kept`."""
    if isinstance(data, dict):
        return all(key in kept and _covers(kept[key], value) for key, value in data.items())
    if isinstance(data, list):
        return len(kept) == len(data) and all(_covers(*pair) for pair in zip(kept, data, strict=True))
    return bool(kept == data)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"audio": "file:///etc/passwd"}, "audio"),
        ({"audio": "/etc/passwd"}, "audio"),
        ({"audio": AUDIO, "lang": "en"}, "lang"),
        ({"audio": AUDIO, "language": "English"}, "language"),
        ({"audio": AUDIO, "clip": {"start": 5, "end": 5}}, "clip"),
        ({"audio": AUDIO, "clip": {"start": -1, "end": 5}}, "clip.start"),
        ({"audio": AUDIO, "channel": -1}, "channel"),
        ({"audio": AUDIO, "timestamps": "letter"}, "timestamps"),
        ({"audio": AUDIO, "task": "sing"}, "task"),
        ({"audio": AUDIO, "response_format": "docx"}, "response_format"),
        ({}, "audio"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TranscribeInput.model_validate(fields)
    assert where in [".".join(str(part) for part in each["loc"]) for each in caught.value.errors()]


@pytest.mark.parametrize(
    ("said", "meant"),
    [(True, Timestamps.WORD), (False, Timestamps.NONE), ("segment", Timestamps.SEGMENT)],
)
def test_timestamps_take_a_boolean(said: object, meant: Timestamps) -> None:
    assert TranscribeInput.model_validate({"audio": AUDIO, "timestamps": said}).timestamps is meant


@pytest.mark.parametrize(
    "bounds",
    [
        {"num_speakers": 2, "min_speakers": 1},
        {"min_speakers": 3, "max_speakers": 2},
        {"num_speakers": 0},
        {"max_speakers": 65},
    ],
)
def test_contradicting_speaker_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        DiarizeInput.model_validate({"audio": AUDIO, **bounds})


def test_only_what_differs_from_the_defaults_travels() -> None:
    assert to_wire(TranscribeInput(audio=AUDIO)) == {"audio": AUDIO, "contract_version": CONTRACT_VERSION}
    wire = to_wire(TranscribeInput(audio=AUDIO, language="de", timestamps=Timestamps.NONE))
    assert wire["language"] == "de"
    assert wire["timestamps"] == "none"
    assert TranscribeInput.model_validate(wire).language == "de"


def test_the_major_version_decides() -> None:
    assert major("1.7") == major(CONTRACT_VERSION) == "1"


def test_a_transcript_survives_its_json() -> None:
    transcript = Transcript(
        text="Hi there.",
        language="en",
        duration=2.5,
        speakers=["SPEAKER_00"],
        segments=[
            Segment(0, 1, "Hi there.", "SPEAKER_00", [Word("Hi", 0, 0.5, 0.9, "SPEAKER_00", 1.0, True)])
        ],
        turns=[Turn(0, 1, "SPEAKER_00")],
        gaps=[Gap(1, 2, "transcribe", "lost")],
        warnings=["w"],
        tasks=[TaskRecord("t", "transcribe", "v", 0, 2.5, {"load": 1.0}, error="lost")],
    )
    again = Transcript.from_dict(json.loads(json.dumps(transcript.to_dict())))
    assert again == transcript
    assert again.partial
    assert [word.text for word in again.words] == ["Hi"]
    assert not Transcript().partial
