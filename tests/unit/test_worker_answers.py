import json
from typing import Any

import pytest

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import (
    DiarizeResult,
    Provenance,
    Stage,
    Timing,
    TranscribeInput,
    TranscribeOutput,
    TranscribeResult,
)
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.contracts.variant import Variant
from fanscribe.job_input import Refused
from fanscribe.pipeline.merge import shift
from fanscribe_handlers import answers
from fanscribe_handlers.answers import answer, failure, read_input, refuse_unserved

AUDIO = "data:audio/wav;base64,c2VjcmV0"
ABOUT = Provenance(engine="e 1", variant="v", model="m", contract_version="1.0", timing=Timing(load_s=1))


def result() -> TranscribeResult:
    words = [Word("One", 0.5, 0.9, 0.8), Word("two.", 1.0, 1.4, 0.9)]
    return TranscribeResult(
        text="One two.", language="en", duration=2, segments=[Segment(0.5, 1.4, "One two.", words=words)]
    )


def two_speakers() -> DiarizeResult:
    turns = [Turn(0.4, 0.95, "SPEAKER_00"), Turn(0.95, 1.5, "SPEAKER_01")]
    return DiarizeResult(segments=turns, exclusive_segments=turns, num_speakers=2, duration=2)


def variant(*stages: str) -> Variant:
    fact = {"value": 1, "source": "made up for a test"}
    return Variant.model_validate(
        {
            "schema_version": 1,
            "id": "one-pass",
            "family": "whisperx",
            "stages": stages,
            "name": "One pass",
            "model": {"source": "huggingface", "repo": "a/b", "licence": "mit"},
            "hardware": {"min_ram_gb": 1},
            "performance": {"load_s": fact, "rtf": {}, "overhead_s": fact},
        }
    )


def refusal(body: object) -> Refused:
    with pytest.raises(Refused) as caught:
        read_input(Stage.TRANSCRIBE, body)
    return caught.value


def test_an_input_is_read() -> None:
    task = read_input(Stage.TRANSCRIBE, {"audio": AUDIO, "timestamps": False, "contract_version": "1.7"})
    assert isinstance(task, TranscribeInput)
    assert task.timestamps == "none"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "input must be a JSON object"),
        ([], "input must be a JSON object"),
        ({}, "field audio: Field required"),
        ({"audio": AUDIO, "clip": {"start": -1, "end": 2}}, "field clip.start:"),
        ({"audio": AUDIO, "clip": {"start": 3, "end": 2}}, "field clip: "),
        ({"audio": AUDIO, "langauge": "en"}, "field langauge: is unknown; check its spelling"),
        ({"audio": AUDIO, "response_format": "doc"}, "field response_format:"),
        ({"audio": AUDIO, "num_speakers": 2}, "need diarize: true"),
        ({"audio": AUDIO, "max_speakers": 2}, "need diarize: true"),
        ({"audio": AUDIO, "diarize": True, "num_speakers": 2, "min_speakers": 1}, "num_speakers excludes"),
        ({"audio": AUDIO, "diarize": True, "diarization_segments": []}, "diarize excludes"),
    ],
)
def test_a_wrong_input_names_the_field(body: object, says: str) -> None:
    error = refusal(body)
    assert error.code is ErrorCode.INVALID_INPUT
    assert says in str(error)


def test_what_was_sent_is_never_repeated() -> None:
    bodies: list[dict[str, Any]] = [{"audio": "secret-audio"}, {"audio": AUDIO, "prompt": ["secret-text"]}]
    for body in bodies:
        assert "secret" not in str(refusal(body))


def test_another_major_contract_version_is_a_mismatch() -> None:
    error = refusal({"audio": AUDIO, "contract_version": "2.0", "new_field": 1})
    assert error.code is ErrorCode.CONTRACT_MISMATCH


def test_failure_is_a_task_error_as_text() -> None:
    error = TaskError.parse(failure(ErrorCode.AUDIO_UNREACHABLE, "gone")["error"])
    assert (error.code, error.message, error.retryable) == (ErrorCode.AUDIO_UNREACHABLE, "gone", True)
    assert not TaskError.parse(failure(ErrorCode.INVALID_INPUT, "no")["error"]).retryable


def test_times_count_from_the_start_of_the_file() -> None:
    transcribed = result()
    shift(transcribed, 10)
    (segment,) = transcribed.segments
    assert (segment.start, segment.end) == (10.5, 11.4)
    assert [word.start for word in segment.words] == [10.5, 11.0]
    diarized = DiarizeResult(segments=[Turn(0, 1, "A")], exclusive_segments=[Turn(0, 1, "A")])
    shift(diarized, 2)
    assert (diarized.segments[0].start, diarized.exclusive_segments[0].end) == (2, 3)


def test_the_native_answer_fits_the_contract_and_says_who_gave_it() -> None:
    output = answer(Stage.TRANSCRIBE, TranscribeInput(audio=AUDIO), result(), ABOUT, ["short"])
    read = TranscribeOutput.model_validate(json.loads(json.dumps(output)))
    assert (read.engine, read.variant, read.model, read.timing.load_s) == ("e 1", "v", "m", 1)
    assert read.segments == result().segments
    assert read.warnings == ["short"]


def test_turns_sent_along_name_the_speakers() -> None:
    turns = [Turn(0, 0.95, "SPEAKER_01"), Turn(0.95, 2, "SPEAKER_01")]
    task = TranscribeInput(audio=AUDIO, diarization_segments=turns)
    output = answer(Stage.TRANSCRIBE, task, result(), ABOUT, [])
    assert {word["speaker"] for segment in output["segments"] for word in segment["words"]} == {"SPEAKER_01"}


def test_a_variant_without_the_stage_refuses_to_diarize() -> None:
    task = TranscribeInput(audio=AUDIO, diarize=True, num_speakers=2)
    with pytest.raises(Refused, match="field diarize: one-pass does not diarize") as caught:
        refuse_unserved(task, variant("transcribe", "align"))
    assert caught.value.code is ErrorCode.INVALID_INPUT
    refuse_unserved(task, variant("transcribe", "align", "diarize"))
    refuse_unserved(TranscribeInput(audio=AUDIO), variant("transcribe"))


def test_a_diarization_beside_the_words_moves_with_them() -> None:
    both = result().model_copy(update={"diarization": two_speakers()})
    shift(both, 10)
    assert both.diarization is not None
    assert [turn.start for turn in both.diarization.segments] == [10.4, 10.95]
    assert [turn.end for turn in both.diarization.exclusive_segments] == [10.95, 11.5]


def test_one_pass_gives_words_with_speakers_and_the_turns() -> None:
    task = TranscribeInput(audio=AUDIO, diarize=True)
    both = result().model_copy(update={"diarization": two_speakers()})
    output = TranscribeOutput.model_validate(answer(Stage.TRANSCRIBE, task, both, ABOUT, []))
    assert output.diarization == two_speakers()
    assert [(segment.speaker, segment.text) for segment in output.segments] == [
        ("SPEAKER_00", "One"),
        ("SPEAKER_01", "two."),
    ]


@pytest.mark.parametrize(
    ("name", "piece"),
    [("rttm", "0.400 0.550 <NA> <NA> SPEAKER_00"), ("vtt", "SPEAKER_01"), ("text", "SPEAKER_01: two.")],
)
def test_one_pass_shows_its_speakers_in_every_format(name: str, piece: str) -> None:
    task = TranscribeInput.model_validate({"audio": AUDIO, "diarize": True, "response_format": name})
    both = result().model_copy(update={"diarization": two_speakers()})
    assert piece in answer(Stage.TRANSCRIBE, task, both, ABOUT, [])["text"]


def test_text_formats_come_in_the_field_text() -> None:
    for name, piece in (("text", "One two."), ("srt", "00:00:00,500 -->"), ("vtt", "WEBVTT")):
        task = TranscribeInput.model_validate({"audio": AUDIO, "response_format": name})
        output = answer(Stage.TRANSCRIBE, task, result(), ABOUT, [])
        assert piece in output["text"]
        assert output["engine"] == "e 1"


def test_turns_as_rttm() -> None:
    task = read_input(Stage.DIARIZE, {"audio": AUDIO, "response_format": "rttm"})
    diarized = DiarizeResult(segments=[Turn(0, 1, "SPEAKER_00")], num_speakers=1, duration=1)
    assert answer(Stage.DIARIZE, task, diarized, ABOUT, [])["text"].startswith("SPEAKER ")


def test_an_answer_that_cannot_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_RESULT_BYTES", 100)
    with pytest.raises(Refused, match="100") as caught:
        answer(Stage.TRANSCRIBE, TranscribeInput(audio=AUDIO), result(), ABOUT, [])
    assert caught.value.code is ErrorCode.RESULT_TOO_LARGE
