"""Parts joined at the cuts."""

import pytest

from fanscribe.contracts.task import TranscribeResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.pipeline.merge import Part, part_of, stitch


def segment(*words: tuple[str, float, float]) -> Segment:
    made = [Word(text, start, end) for text, start, end in words]
    return Segment(made[0].start, made[-1].end, " ".join(word.text for word in made), words=made)


def test_without_overlap_every_word_stays_and_times_stay_inside_what_was_heard() -> None:
    left = Part(0, 10, [segment(("end", 9.5, 10.7))])
    right = Part(10, 20, [segment(("start", 10.1, 11))])
    found = stitch([right, left])
    assert [(word.text, word.start, word.end) for part in found for word in part.words] == [
        ("end", 9.5, 10),
        ("start", 10.1, 11),
    ]


def test_each_side_keeps_the_words_whose_midpoint_it_holds() -> None:
    left = Part(0, 10, [segment(("one,", 8, 9), ("two", 9.7, 10.2), ("tree", 10.5, 11))], heard_end=11)
    right = Part(10, 20, [segment(("too", 9.6, 10.1), ("three", 10.6, 11), ("four", 12, 13))], heard_start=9)
    found = stitch([left, right])
    assert [part.text for part in found] == ["one, two", "three four"]
    assert (found[0].end, found[1].start) == (10.2, 10.6)


def test_an_anchor_keeps_words_that_each_side_put_on_the_other() -> None:
    # "the" lies before the cut for the right side and after it for the left: the midpoint alone loses it.
    left = Part(0, 10, [segment(("saw", 9.0, 9.3), ("the", 9.95, 10.15), ("old", 10.2, 10.5))], heard_end=11)
    right = Part(
        10,
        20,
        [segment(("the", 9.8, 10.0), ("old", 10.1, 10.4), ("man", 10.5, 11))],
        heard_start=9,
    )
    assert " ".join(part.text for part in stitch([left, right])) == "saw the old man"


def test_an_anchor_removes_words_that_both_sides_claim() -> None:
    left = Part(0, 10, [segment(("saw", 9.0, 9.3), ("the", 9.7, 9.9), ("old", 10.0, 10.3))], heard_end=11)
    right = Part(
        10,
        20,
        [segment(("the", 10.05, 10.2), ("old", 10.3, 10.5), ("man", 10.6, 11))],
        heard_start=9,
    )
    assert " ".join(part.text for part in stitch([left, right])) == "saw the old man"


def test_a_repeat_of_one_word_is_kept_unless_both_copies_sound_at_once() -> None:
    left = Part(0, 10, [segment(("very", 9.4, 9.8))], heard_end=11)
    later = Part(10, 20, [segment(("very", 10.1, 10.4), ("good", 10.5, 11))], heard_start=9)
    assert " ".join(part.text for part in stitch([left, later])) == "very very good"
    at_once = Part(10, 20, [segment(("very", 9.5, 10.6), ("good", 10.7, 11))], heard_start=9)
    assert " ".join(part.text for part in stitch([left, at_once])) == "very good"


def test_a_single_word_that_neither_side_claims_is_kept_once() -> None:
    left = Part(0, 10, [segment(("one", 8, 8.5), ("word", 9.9, 10.3))], heard_end=11)
    right = Part(10, 20, [segment(("word", 9.6, 10.0), ("more", 12, 13))], heard_start=9)
    assert " ".join(part.text for part in stitch([left, right])) == "one word more"


def test_segments_without_words_go_by_their_own_midpoint() -> None:
    left = Part(0, 10, [Segment(7, 9, "a"), Segment(9, 12, "b")], heard_end=12)
    right = Part(10, 20, [Segment(9, 12, "b"), Segment(12, 13, "c")], heard_start=9)
    assert [part.text for part in stitch([left, right])] == ["a", "b", "c"]


@pytest.mark.parametrize(("text", "count"), [("only text", 1), ("  ", 0)])
def test_an_answer_without_segments_is_one_segment(text: str, count: int) -> None:
    part = part_of(TranscribeResult(text=text, duration=5, language="en"), 5, 10)
    assert [(one.start, one.end, one.text) for one in part.segments] == [(5, 10, "only text")] * count
    assert part.language == "en"
