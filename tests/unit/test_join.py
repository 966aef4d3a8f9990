"""From the ends of all tasks to a transcript: what is missing is said."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.scripted import Scene, deployed, done
from tests.simulated import simulated_variant

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import FanscribeError, TransportError
from fanscribe.contracts.task import DiarizeOutput, DiarizeResult, TranscribeOutput
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.join import join
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, StagePlan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import Supplied

SCENE = Scene(lambda job: done())
LENGTH_S = 30.0
VOICES = {"SPEAKER_00": [1.0, 0.0, 0.0], "SPEAKER_01": [0.0, 1.0, 0.0]}


def plan(**options: Any) -> Plan:
    words = deployed()
    speakers = replace(deployed("speakers"), variant=simulated_variant("simulated-diarize"))
    catalogue = Catalogue({each.variant.id: each.variant for each in (words, speakers)}, (words, speakers))
    request = make_request(model=words.variant.id, **options)
    return make_plan(request, catalogue, Situation(channels=2, duration_s=3 * LENGTH_S))


def span(index: int, channel: int | None = None, address: str | None = None) -> Span:
    start, end = index * LENGTH_S, (index + 1) * LENGTH_S
    return Span(Chunk(index, start, end, start, end), channel, f"{index:064x}", address=address)


def transcribed(stage: StagePlan, index: int, *, offset_s: float = 0.0, **about: Any) -> Outcome:
    """A chunk in which one word was said, five seconds from its start."""
    word = Word(f"word{index}", 5.0 + offset_s, 6.0 + offset_s)
    segment = Segment(word.start, word.end, word.text, words=[word])
    output = TranscribeOutput(
        text=word.text, language="en", duration=LENGTH_S, segments=[segment], **about.pop("output", {})
    )
    name = about.pop("endpoint", "words")
    tally = about.pop("tally", Tally(1))
    answer = Answer(output, SCENE.route(name))
    return Outcome(f"{stage.id}-{index}", stage, span(index, stage.channel, **about), answer, None, tally)


def diarized(stage: StagePlan, index: int, speaker: str = "SPEAKER_00", **about: Any) -> Outcome:
    turn = Turn(4.0, 7.0, "SPEAKER_00")
    output = DiarizeOutput(
        segments=[turn],
        exclusive_segments=[Turn(4.0, 7.0, "SPEAKER_00")],
        num_speakers=1,
        embeddings={"SPEAKER_00": VOICES[speaker]},
        duration=LENGTH_S,
        **about,
    )
    answer = Answer(output, SCENE.route("speakers"))
    return Outcome(f"{stage.id}-{index}", stage, span(index), answer, None, Tally(1))


def lost(stage: StagePlan, index: int, error: FanscribeError | None = None) -> Outcome:
    error = error or TransportError("the line is dead")
    return Outcome(f"{stage.id}-{index}", stage, span(index, stage.channel), None, error, Tally(4))


def said(outcomes: Sequence[Outcome], about: Plan, warnings: tuple[str, ...] = ()) -> Any:
    return join(about, Supplied(3 * LENGTH_S, warnings), outcomes)


def test_times_count_from_the_start_of_the_recording() -> None:
    about = plan()
    (stage,) = about.stages
    outcomes = [transcribed(stage, index) for index in (2, 0, 1)]
    transcript = said(outcomes, about, ("it was quiet",))
    assert [(each.text, each.start) for each in transcript.words] == [
        ("word0", 5.0),
        ("word1", 35.0),
        ("word2", 65.0),
    ]
    assert [each.id for each in transcript.tasks] == ["transcribe-0", "transcribe-1", "transcribe-2"]
    assert (transcript.duration, transcript.language, transcript.warnings) == (90.0, "en", ["it was quiet"])
    assert not transcript.partial


def test_answers_about_an_address_have_their_times_already() -> None:
    about = plan()
    (stage,) = about.stages
    outcomes = [
        transcribed(stage, index, offset_s=index * LENGTH_S, address="https://example.org/a")
        for index in range(3)
    ]
    assert [each.start for each in said(outcomes, about).words] == [5.0, 35.0, 65.0]


def test_what_failed_is_a_gap() -> None:
    about = plan()
    (stage,) = about.stages
    transcript = said([transcribed(stage, 0), lost(stage, 1), transcribed(stage, 2)], about)
    assert [(each.start, each.end, each.stage, each.reason) for each in transcript.gaps] == [
        (30.0, 60.0, "transcribe", "the line is dead")
    ]
    assert [each.text for each in transcript.words] == ["word0", "word2"]
    assert transcript.partial
    assert transcript.tasks[1].error == "the line is dead"


def test_a_gap_ends_with_the_recording() -> None:
    about = plan()
    (stage,) = about.stages
    transcript = join(
        about, Supplied(75.5, ()), [transcribed(stage, 0), transcribed(stage, 1), lost(stage, 2)]
    )
    assert [(each.start, each.end) for each in transcript.gaps] == [(60.0, 75.5)]


def test_when_nothing_was_recognised_the_first_error_is_raised() -> None:
    about = plan(diarize=True)
    diarize, transcribe = about.stages
    outcomes = [
        diarized(diarize, 0),
        lost(transcribe, 1, TransportError("second")),
        lost(transcribe, 0, TransportError("first")),
    ]
    with pytest.raises(TransportError, match="first"):
        said(outcomes, about)


def test_speakers_are_linked_across_chunks() -> None:
    about = plan(diarize=True)
    diarize, transcribe = about.stages
    outcomes = [transcribed(transcribe, index) for index in range(3)]
    voices = ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    outcomes += [diarized(diarize, index, voice) for index, voice in enumerate(voices)]
    transcript = said(outcomes, about)
    assert [each.speaker for each in transcript.words] == voices
    assert [(each.start, each.speaker) for each in transcript.turns] == [
        (4.0, "SPEAKER_00"),
        (34.0, "SPEAKER_01"),
        (64.0, "SPEAKER_00"),
    ]


def test_diarization_that_failed_in_part_leaves_the_other_speakers() -> None:
    about = plan(diarize=True)
    diarize, transcribe = about.stages
    outcomes = [transcribed(transcribe, index) for index in range(3)]
    outcomes += [diarized(diarize, 0), lost(diarize, 1), diarized(diarize, 2, "SPEAKER_01")]
    transcript = said(outcomes, about)
    first, _, last = transcript.words
    assert (first.speaker, last.speaker) == ("SPEAKER_00", "SPEAKER_01")
    assert any("missing from 30.0 s to 60.0 s" in each for each in transcript.warnings)
    assert (transcript.gaps, transcript.partial) == ([], True)


def test_diarization_that_failed_altogether_is_said_once() -> None:
    about = plan(diarize=True)
    diarize, transcribe = about.stages
    outcomes = [transcribed(transcribe, index) for index in range(3)]
    outcomes += [lost(diarize, index) for index in range(3)]
    transcript = said(outcomes, about)
    assert transcript.warnings == ["speakers are missing: diarization failed (the line is dead)"]
    assert transcript.speakers == []


def test_the_help_of_another_endpoint_is_said() -> None:
    about = plan()
    (stage,) = about.stages
    outcomes = [transcribed(stage, index, endpoint="spare" if index else "words") for index in range(3)]
    (warning,) = said(outcomes, about).warnings
    assert warning == "the endpoint spare did 2 of the tasks, since the one that was chosen first failed"


def test_submissions_of_unknown_fate_are_counted() -> None:
    about = plan()
    (stage,) = about.stages
    outcomes = [transcribed(stage, index, tally=Tally(2, unconfirmed=index)) for index in range(3)]
    transcript = said(outcomes, about)
    assert [each.unconfirmed for each in transcript.tasks] == [0, 1, 2]
    assert transcript.warnings[0].startswith("3 submissions were never confirmed")


def test_what_many_workers_warn_of_is_said_once() -> None:
    about = plan()
    (stage,) = about.stages
    outcomes = [transcribed(stage, index, output={"warnings": ["no word times"]}) for index in range(3)]
    assert said(outcomes, about).warnings == ["no word times"]


def test_channels_are_speakers_and_a_gap_names_its_channel() -> None:
    about = plan(per_channel=True, speaker_names=("Ann", "Bob"))
    left, right = about.stages
    outcomes = [transcribed(stage, index) for stage in (left, right) for index in range(3)]
    outcomes[4] = lost(right, 1)
    transcript = said(outcomes, about)
    assert [each.speaker for each in transcript.words] == ["Ann", "Bob", "Ann", "Ann", "Bob"]
    assert [each.reason for each in transcript.gaps] == ["channel 1: the line is dead"]


@pytest.mark.parametrize(("timestamps", "words"), [("word", 1), ("segment", 0), ("none", 0)])
def test_words_are_there_where_they_were_asked_for(timestamps: str, words: int) -> None:
    about = plan(timestamps=timestamps)
    (stage,) = about.stages
    transcript = said([transcribed(stage, index) for index in range(3)], about)
    assert [len(each.words) for each in transcript.segments] == [words] * len(transcript.segments)
    assert "word2" in transcript.text


def test_where_a_one_pass_engine_named_no_speakers_is_said() -> None:
    about = plan()
    (stage,) = about.stages
    stage = replace(stage, also_diarizes=True)
    known = {
        "segments": [Turn(4.0, 7.0, "SPEAKER_00")],
        "exclusive_segments": [Turn(4.0, 7.0, "SPEAKER_00")],
        "num_speakers": 1,
        "embeddings": {"SPEAKER_00": VOICES["SPEAKER_00"]},
        "duration": LENGTH_S,
    }
    outcomes = [
        transcribed(stage, 0, output={"diarization": DiarizeResult.model_validate(known)}),
        transcribed(stage, 1),
        lost(stage, 2),
    ]
    transcript = said(outcomes, replace(about, stages=(stage,)))
    assert [each.text for each in transcript.segments] == ["word0", "word1"]
    assert transcript.segments[0].speaker == "SPEAKER_00"
    said_of = [each for each in transcript.warnings if each.startswith("speakers are missing")]
    assert said_of == ["speakers are missing from 30.0 s to 60.0 s: diarization failed there"]
    assert [gap.start for gap in transcript.gaps] == [60.0]
