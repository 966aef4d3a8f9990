"""What an orchestrator takes and gives, on the wire."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from fanscribe.contracts.orchestration import (
    NotifyEvent,
    OrchestratorAbout,
    OrchestratorInput,
    OrchestratorOutput,
    to_wire,
)
from fanscribe.contracts.task import Timestamps
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn, Word
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.pipeline.request import Request

AUDIO = "https://example.org/talk.mp3"


def read(**fields: Any) -> OrchestratorInput:
    return OrchestratorInput.model_validate({"audio": AUDIO} | fields)


def test_the_input_of_the_guide() -> None:
    asked = read(response_format="diarized_json", diarize=True, timestamps=True)
    assert (asked.speaker_detection, asked.timestamps) == ("diarize", Timestamps.WORD)


def test_everything_a_request_can_ask_is_there() -> None:
    assert set(Request.model_fields) - set(OrchestratorInput.model_fields) == {"send"}
    mine, theirs = OrchestratorInput.model_fields, Request.model_fields
    for name in set(mine) & set(theirs):
        default = mine[name].get_default(call_default_factory=True)
        expected = theirs[name].get_default(call_default_factory=True)
        assert (default or None) == (expected or None) or list(default) == list(expected), name


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"audio": "talk.mp3"}, ("audio",), "https URL"),
        ({"diarise": True}, ("diarise",), ""),
        ({"clip": {"start": 2, "end": 1}}, ("clip",), "after clip.start"),
        ({"clip": {"start": 2, "end": 1, "x": 1}}, ("clip", "x"), ""),
        ({"channel": -1}, ("channel",), ""),
        ({"language": "English"}, ("language",), "ISO 639"),
        ({"timestamps": "letters"}, ("timestamps",), ""),
        ({"num_speakers": 0}, ("num_speakers",), ""),
        ({"num_speakers": 2}, (), "diarize: true"),
        ({"diarize": True, "num_speakers": 2, "min_speakers": 2}, (), "excludes"),
        ({"diarize": True, "speaker_detection": "per_channel"}, (), "contradicts"),
        ({"channel": 1, "speaker_detection": "per_channel"}, (), "excludes"),
        ({"speaker_detection": "guess"}, ("speaker_detection",), ""),
        ({"model": ""}, ("model",), ""),
        ({"deadline_s": 0}, ("deadline_s",), ""),
        ({"deadline_s": float("inf")}, ("deadline_s",), ""),
        ({"idempotency_key": "x" * 256}, ("idempotency_key",), ""),
        ({"keyterms": ["x"] * 1001}, ("keyterms",), ""),
        ({"speaker_names": ["x" * 201]}, ("speaker_names", 0), ""),
        ({"notify": {"url": "ftp://x.org"}}, ("notify", "url"), "https"),
        ({"notify": {"url": "https://a:b@x.org"}}, ("notify", "url"), "password"),
        ({"notify": {"url": "https://x.org", "events": ["born"]}}, ("notify", "events", 0), ""),
        ({"notify": {"url": "https://x.org", "events": []}}, ("notify", "events"), ""),
        ({"notify": {"url": "https://x.org", "key": "k"}}, ("notify", "key"), ""),
        ({"stream": "perhaps"}, ("stream",), ""),
    ],
)
def test_what_is_refused_and_where(fields: dict[str, Any], path: tuple[str | int, ...], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    (fault,) = caught.value.errors()
    assert fault["loc"] == path
    assert said in fault["msg"]


def test_a_false_short_form_contradicts_nothing() -> None:
    assert read(diarize=False, speaker_detection="per_channel").speaker_detection == "per_channel"
    assert read(speaker_detection="diarize", num_speakers=2).num_speakers == 2
    assert read(diarize=True, speaker_detection="diarize").diarize


def test_whoever_is_to_be_told_hears_the_end() -> None:
    notify = read(notify={"url": "https://x.org/done"}).notify
    assert notify is not None
    assert notify.events == [NotifyEvent.COMPLETED, NotifyEvent.FAILED, NotifyEvent.CANCELLED]


def test_the_wire_holds_what_differs_from_the_defaults() -> None:
    assert to_wire(read()) == {"audio": AUDIO, "contract_version": CONTRACT_VERSION}
    asked = read(diarize=True, timestamps=False, stream=True)
    body = to_wire(asked)
    assert body == {
        "audio": AUDIO,
        "diarize": True,
        "timestamps": "none",
        "stream": True,
        "contract_version": CONTRACT_VERSION,
    }
    again = OrchestratorInput.model_validate(json.loads(json.dumps(body)))
    assert again.model_dump(exclude={"contract_version"}) == asked.model_dump(exclude={"contract_version"})


def test_a_transcript_and_back() -> None:
    word = Word("Hello.", 0.0, 0.5, 0.9, "SPEAKER_00", 1.0)
    transcript = Transcript(
        text="Hello.",
        language="en",
        language_probability=0.9,
        duration=2.0,
        speakers=["SPEAKER_00"],
        segments=[Segment(0.0, 0.5, "Hello.", "SPEAKER_00", [word])],
        turns=[Turn(0.0, 0.6, "SPEAKER_00")],
        gaps=[Gap(1.0, 2.0, "transcribe", "lost")],
        warnings=["one"],
        tasks=[TaskRecord("transcribe-0", "transcribe", "whisper-base", 0.0, 1.0)],
    )
    about = OrchestratorAbout(engine="fanscribe-orchestrator 1", durable=True, partial=True)
    output = OrchestratorOutput.of(transcript, about).model_dump(mode="json")
    assert {name: output[name] for name in transcript.to_dict()} == transcript.to_dict()
    assert (output["durable"], output["partial"], output["engine"]) == (
        True,
        True,
        "fanscribe-orchestrator 1",
    )
    sent = json.loads(json.dumps(output))
    assert OrchestratorOutput.model_validate(sent).transcript() == transcript
    assert Transcript.from_dict(sent) == transcript
