"""The whole transcript: channels, names, language, doubts."""

from fanscribe.contracts.task import AlignResult, DiarizeOutput, DiarizeResult, TranscribeOutput
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Turn, Word
from fanscribe.pipeline.merge import Part, interleave, merge, merge_channels, transcript_of


def segment(*words: tuple[str, float, float]) -> Segment:
    made = [Word(text, start, end) for text, start, end in words]
    return Segment(made[0].start, made[-1].end, " ".join(word.text for word in made), words=made)


def test_a_transcript_from_parts_and_turns() -> None:
    parts = [
        Part(0, 5, [segment(("Hello", 0, 1), ("there.", 1, 2))], language="en", language_probability=0.9),
        Part(5, 9, [segment(("Hi.", 5, 6))], language="en", language_probability=0.6),
    ]
    diarization = DiarizeResult(segments=[Turn(4.8, 6, "x"), Turn(0, 2, "y")])
    task = TaskRecord("t0", "transcribe", "whisper-base", 0, 5)
    found = merge(parts, duration=9, diarization=diarization, warnings=["w", "w"], tasks=[task])
    assert found.text == "Hello there. Hi."
    assert [(part.speaker, part.text) for part in found.segments] == [
        ("SPEAKER_00", "Hello there."),
        ("SPEAKER_01", "Hi."),
    ]
    assert found.speakers == ["SPEAKER_00", "SPEAKER_01"]
    assert [turn.speaker for turn in found.turns] == ["SPEAKER_01", "SPEAKER_00"]
    assert (found.language, round(found.language_probability or 0, 3)) == ("en", 0.8)
    assert (found.warnings, found.tasks, found.duration) == (["w"], [task], 9)


def test_names_replace_labels_and_one_name_makes_one_speaker() -> None:
    diarization = DiarizeResult(segments=[Turn(0, 1, "a"), Turn(1, 2, "b"), Turn(2, 3, "c")])
    part = Part(0, 3, [segment(("one", 0, 1), ("two", 1, 2), ("three", 2, 3))])
    names = {"SPEAKER_00": "Anna", "SPEAKER_01": "Anna"}
    found = merge([part], duration=3, diarization=diarization, names=names)
    assert [(one.speaker, one.text) for one in found.segments] == [
        ("Anna", "one two"),
        ("SPEAKER_02", "three"),
    ]
    assert found.speakers == ["Anna", "SPEAKER_02"]


def test_the_language_is_the_one_most_speech_is_in() -> None:
    silent = Part(0, 100, [], language="ja", language_probability=0.3)
    parts = [
        silent,
        Part(100, 105, [Segment(100, 103, "a")], language="de"),
        Part(105, 130, [Segment(105, 120, "b")], language="en", language_probability=0.7),
    ]
    found = merge(parts, duration=130)
    assert (found.language, round(found.language_probability or 0, 6)) == ("en", 0.7)
    assert merge([silent], duration=100).language == "ja"
    assert merge([], duration=1).language is None


def test_ghosts_and_missed_speech_are_said() -> None:
    diarization = DiarizeResult(segments=[Turn(0, 1, "a"), Turn(3, 4, "b")])
    part = Part(0, 60, [segment(("one", 0, 1)), segment(("far", 40, 41), ("away", 41, 42))])
    found = merge([part], duration=60, diarization=diarization)
    assert any("2 words lie more than 1 s" in warning and "40.0 s" in warning for warning in found.warnings)
    alone = merge([Part(0, 5, [segment(("one", 0, 1))])], duration=5, diarization=diarization)
    assert [warning.split()[0] for warning in alone.warnings] == ["SPEAKER_01"]
    assert merge([part], duration=60).warnings == []


def test_a_diarization_that_heard_nobody_leaves_the_words_and_says_so() -> None:
    found = merge([Part(0, 5, [segment(("one", 0, 1))])], duration=5, diarization=DiarizeResult())
    assert (found.text, found.speakers, len(found.warnings)) == ("one", [], 1)


def test_gaps_come_in_order_and_make_the_transcript_partial() -> None:
    gaps = [Gap(8, 9, "transcribe", "x"), Gap(1, 2, "transcribe", "y")]
    found = merge([], duration=9, gaps=gaps)
    assert [gap.start for gap in found.gaps] == [1, 8]
    assert found.partial


def test_a_channel_is_split_where_it_pauses_for_the_other() -> None:
    left = segment(("Are", 0, 0.5), ("you", 0.5, 1), ("sure?", 1, 1.5), ("Good.", 4, 4.5))
    right = segment(("Yes.", 2, 3))
    found = interleave({"CHANNEL_0": [left], "CHANNEL_1": [right]})
    assert [(one.speaker, one.text) for one in found] == [
        ("CHANNEL_0", "Are you sure?"),
        ("CHANNEL_1", "Yes."),
        ("CHANNEL_0", "Good."),
    ]


def test_talking_over_a_running_sentence_splits_nothing_and_is_marked() -> None:
    left = segment(("I", 0, 0.5), ("went", 0.6, 1), ("home.", 1, 1.5))
    found = interleave({"CHANNEL_0": [left], "CHANNEL_1": [segment(("mhm", 0.7, 0.9))]})
    assert [one.text for one in found] == ["I went home.", "mhm"]
    assert [word.overlap for one in found for word in one.words] == [False, True, False, True]


def test_channels_are_merged_under_their_numbers_or_names() -> None:
    channels = {1: [Part(0, 5, [segment(("b", 0, 1))])], 0: [Part(0, 5, [segment(("a", 2, 3))])]}
    found = merge_channels(channels, duration=5, names={"CHANNEL_0": "Agent"})
    assert [(one.speaker, one.text) for one in found.segments] == [("CHANNEL_1", "b"), ("Agent", "a")]
    assert (found.text, found.speakers) == ("b a", ["CHANNEL_1", "Agent"])


def test_one_answer_is_a_transcript() -> None:
    words = TranscribeOutput(
        text="Hi.", language="en", duration=2, segments=[Segment(0, 1, "Hi.", "Z")], warnings=["w"]
    )
    found = transcript_of(words)
    assert (found.text, found.language, found.speakers, found.warnings) == ("Hi.", "en", ["Z"], ["w"])
    turns = transcript_of(DiarizeOutput(segments=[Turn(1, 2, "b"), Turn(0, 1, "a")], duration=2))
    assert (turns.speakers, len(turns.turns), turns.duration) == (["a", "b"], 2, 2)
    aligned = transcript_of(AlignResult(segments=[Segment(0, 1, "你好。"), Segment(1, 3, "再见。")]))
    assert (aligned.text, aligned.duration) == ("你好。再见。", 3)
    bare = transcript_of(TranscribeOutput(text="only text", duration=3))
    assert [(one.end, one.text) for one in bare.segments] == [(3, "only text")]
