"""Words laid over turns: the rules one by one."""

import math

import pytest

from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge import assign_speakers

A, B, C = "A", "B", "C"


def segment(*words: tuple[str, float, float]) -> Segment:
    made = [Word(text, start, end) for text, start, end in words]
    return Segment(made[0].start, made[-1].end, " ".join(word.text for word in made), words=made)


def labels(segments: list[Segment]) -> list[tuple[str, str | None]]:
    return [(word.text, word.speaker) for part in segments for word in part.words]


def test_words_follow_the_turns_and_the_segment_splits_with_its_own_text() -> None:
    whole = Segment(
        0.0, 4.0, "«Hello,  you» — hi", words=[Word("Hello", 0, 1), Word("you", 1, 2), Word("hi", 3, 4)]
    )
    first, second = assign_speakers([whole], [Turn(0, 2.2, A), Turn(2.8, 4, B)])
    assert (first.text, first.speaker, first.start, first.end) == ("«Hello,  you»", A, 0.0, 2)
    assert (second.text, second.speaker, second.start, second.end) == ("— hi", B, 3, 4.0)
    assert whole.words[0].speaker is None


def test_an_unsplit_segment_keeps_text_and_times() -> None:
    whole = Segment(0.0, 9.0, "  as it was ", words=[Word("as", 1, 2), Word("it", 2, 3), Word("was", 3, 4)])
    (only,) = assign_speakers([whole], [Turn(0, 9, A)])
    assert (only.start, only.end, only.text, only.speaker) == (0.0, 9.0, "  as it was ", A)
    assert [word.speaker_confidence for word in only.words] == [1.0, 1.0, 1.0]


def test_text_without_spaces_is_split_without_adding_any() -> None:
    whole = Segment(
        0.0,
        4.0,
        "你好。再见。",
        words=[Word("你", 0, 1), Word("好。", 1, 2), Word("再", 2, 3), Word("见。", 3, 4)],
    )
    parts = assign_speakers([whole], [Turn(0, 2, A), Turn(2, 4, B)])
    assert [part.text for part in parts] == ["你好。", "再见。"]


def test_nearest_means_nearest_edge_not_nearest_middle() -> None:
    # 0.2 s after a turn of 100 s by A, 0.8 s before one of 1 s by B.
    (only,) = assign_speakers([segment(("word", 100.2, 100.5))], [Turn(0, 100, A), Turn(101.3, 102.3, B)])
    assert (only.speaker, only.words[0].speaker_confidence) == (A, 0.0)


def test_confidence_is_the_share_that_the_speaker_holds() -> None:
    (only,) = assign_speakers([segment(("word", 1.0, 2.0))], [Turn(0, 1.4, A), Turn(1.4, 3, B)])
    assert only.speaker == B
    assert only.words[0].speaker_confidence == pytest.approx(0.6)


def test_the_last_word_of_a_sentence_goes_with_its_onset() -> None:
    words = segment(("see", 0, 1), ("you.", 1, 2), ("Fine", 2, 3), ("then.", 3, 4))
    turns = [Turn(0, 1.2, A), Turn(1.2, 4, B)]
    assert labels(assign_speakers([words], turns)) == [("see", A), ("you.", A), ("Fine", B), ("then.", B)]


@pytest.mark.parametrize("answer", ["Yes.", "はい。", "«Oui!»"])
def test_a_short_answer_survives(answer: str) -> None:
    # Its time begins a little early, and its turn lasts a fifth of a second.
    words = segment(("ready?", 0, 1), (answer, 0.95, 1.2), ("Good", 1.2, 2), ("then.", 2, 3))
    turns = [Turn(0, 1, A), Turn(1, 1.2, B), Turn(1.2, 3, A)]
    assert labels(assign_speakers([words], turns))[1] == (answer, B)


def test_a_short_answer_in_mid_sentence_survives_when_its_turn_is_firm() -> None:
    words = segment(("so", 0, 1), ("right", 1.0, 1.2), ("we", 1.3, 2), ("went", 2, 3))
    turns = [Turn(0, 1, A), Turn(1, 1.3, B), Turn(1.3, 3, A)]
    assert labels(assign_speakers([words], turns))[1] == ("right", B)


def test_a_lone_word_under_a_sliver_of_a_turn_is_folded_back() -> None:
    words = segment(("so", 0, 1), ("then", 1.0, 1.18), ("we", 1.2, 2), ("went", 2, 3))
    turns = [Turn(0, 1.05, A), Turn(1.05, 1.2, B), Turn(1.2, 3, A)]
    found = assign_speakers([words], turns)
    assert [part.speaker for part in found] == [A]
    assert found[0].words[1].speaker_confidence == pytest.approx(0.05 / 0.18)


def test_flicker_of_the_diarizer_is_no_turn() -> None:
    words = segment(("Go.", 0, 0.9), ("Oh.", 1.0, 1.05), ("Well.", 1.05, 2))
    turns = [Turn(0, 1, A), Turn(1, 1.05, B), Turn(1.05, 2, A)]
    assert {speaker for _, speaker in labels(assign_speakers([words], turns))} == {A}


def test_a_stretched_word_counts_for_its_first_two_seconds() -> None:
    (only,) = assign_speakers([segment(("well", 0, 9))], [Turn(0, 2, A), Turn(3, 9, B)])
    assert only.speaker == A
    assert (only.words[0].start, only.words[0].end) == (0, 9)


def test_a_word_without_length_is_a_point() -> None:
    found = assign_speakers(
        [segment(("in", 1, 1), ("edge", 2, 2), ("out", 9, 9))], [Turn(0, 2, A), Turn(2, 5, B)]
    )
    words = [word for part in found for word in part.words]
    assert [(word.speaker, word.speaker_confidence) for word in words] == [(A, 1.0), (B, 1.0), (B, 0.0)]


def test_words_without_times_are_placed_between_their_neighbours() -> None:
    words = [
        Word("in", 0, 1),
        Word("19", math.nan, math.nan),
        Word("84", math.nan, math.nan),
        Word("I", 3, 4),
    ]
    found = assign_speakers([Segment(0, 4, "in 19 84 I", words=words)], [Turn(0, 2, A), Turn(2, 4, B)])
    assert [(word.text, word.start, word.end, word.speaker) for part in found for word in part.words] == [
        ("in", 0, 1, A),
        ("19", 1.0, 2.0, A),
        ("84", 2.0, 3.0, B),
        ("I", 3, 4, B),
    ]


def test_overlap_is_marked_from_the_ordinary_turns_only() -> None:
    ordinary = [Turn(0, 2, A), Turn(1, 3, B), Turn(0, 3, B)]
    words = segment(("one", 0, 0.9), ("two", 1.5, 1.8), ("three", 2.0, 2.5))
    found = assign_speakers([words], ordinary[:2], [Turn(0, 1.4, A), Turn(1.4, 3, B)])
    assert [word.overlap for part in found for word in part.words] == [False, True, False]
    same = assign_speakers([words], [Turn(0, 2, A), Turn(1, 3, A)])
    assert not any(word.overlap for part in same for word in part.words)


def test_without_exclusive_turns_the_longer_turn_holds_the_overlap() -> None:
    words = segment(("on", 0, 1), ("and", 1, 2), ("on", 2, 3))
    found = assign_speakers([words], [Turn(0, 3, A), Turn(1, 2, B)])
    assert [part.speaker for part in found] == [A]
    assert [word.overlap for word in found[0].words] == [False, True, False]


def test_a_segment_without_words_gets_the_speaker_who_holds_most() -> None:
    turns = [Turn(0, 1, A), Turn(1, 4, B), Turn(4, 5, A), Turn(8, 9, C)]
    found = assign_speakers(
        [Segment(0, 5, "x"), Segment(4, 5, "y"), Segment(6.9, 7, "z"), Segment(20, 21, "w")], turns
    )
    assert [part.speaker for part in found] == [B, A, C, C]


def test_without_turns_nobody_is_named() -> None:
    (only,) = assign_speakers([segment(("a", 0, 1))], [])
    assert (only.speaker, only.words[0].speaker) == (None, None)


@pytest.mark.timeout(60)  # quadratic work on these sizes would take many minutes
@pytest.mark.parametrize("shape", ["giant", "nested", "flicker", "backwards"])
def test_hostile_turns_do_not_make_the_work_quadratic(shape: str) -> None:
    words = [Word("word", n * 0.3, n * 0.3 + 0.25) for n in range(20_000)]
    end = 6000.0
    turns = {
        "giant": [Turn(0, end, A)] + [Turn(n, n + 0.5, B) for n in range(5999)],
        "nested": [Turn(n * 0.1, end - n * 0.1, f"S{n % 7}") for n in range(10_000)],
        "flicker": [Turn(n * 1e-3, (n + 1) * 1e-3, f"S{n % 3}") for n in range(20_000)],
        "backwards": [Turn(n, n + 1, f"S{n % 2}") for n in range(6000)],
    }[shape]
    if shape == "flicker":
        words = [Word("word", 0.0, 20.0) for _ in range(20_000)]
    if shape == "backwards":
        words = [word for pair in zip(words, reversed(words), strict=True) for word in pair][:20_000]
    found = assign_speakers([Segment(0, end, "", words=words)], turns)
    assert sum(len(part.words) for part in found) == 20_000


def test_flicker_goes_to_the_longer_neighbour() -> None:
    turns = [Turn(0, 1, A), Turn(1, 1.05, C), Turn(1.05, 9, B)]
    found = assign_speakers([segment(("Go.", 0, 0.9), ("Oh.", 1.0, 1.05), ("Well.", 1.05, 2))], turns)
    assert labels(found) == [("Go.", A), ("Oh.", B), ("Well.", B)]


def test_overlapped_words_go_with_the_sentence_they_open() -> None:
    words = segment(
        ("there.", 0, 0.9), ("And", 1.0, 1.2), ("I'm", 1.2, 1.5), ("Sheila", 1.6, 2.0), ("here.", 2.0, 2.4)
    )
    turns = [Turn(0, 1.55, A), Turn(0.95, 3, B)]
    exclusive = [Turn(0, 1.55, A), Turn(1.55, 3, B)]
    found = assign_speakers([words], turns, exclusive)
    assert [(part.speaker, [word.text for word in part.words]) for part in found] == [
        (A, ["there."]),
        (B, ["And", "I'm", "Sheila", "here."]),
    ]


def test_overlapped_words_go_with_the_sentence_they_end() -> None:
    words = segment(
        ("We", 0, 0.4), ("did", 0.5, 0.9), ("it", 1.0, 1.2), ("all.", 1.2, 1.5), ("Good.", 2.2, 2.6)
    )
    found = assign_speakers(
        [words], [Turn(0, 1.6, A), Turn(0.95, 3, B)], [Turn(0, 0.95, A), Turn(0.95, 3, B)]
    )
    assert [(part.speaker, len(part.words)) for part in found] == [(A, 4), (B, 1)]


def test_words_of_somebody_who_is_silent_do_not_move() -> None:
    words = segment(("And", 1.0, 1.2), ("I'm", 1.2, 1.5), ("Sheila", 1.6, 2.0))
    found = assign_speakers([words], [Turn(0, 1.55, A), Turn(1.55, 3, B)])
    assert [part.speaker for part in found] == [A, B]
