import pytest

from fanscribe.contracts.transcript import Segment, Word
from fanscribe_handlers.align.timing import Placed, from_clip_start, timed_segment, windows


def segment(text: str = "one two three four", start: float = 1.0, end: float = 5.0) -> Segment:
    return Segment(start, end, text, speaker="SPEAKER_01")


def words(text: str = "one two three four") -> list[Word]:
    return [Word(each, 0, 0) for each in text.split()]


def spans(found: Segment) -> list[tuple[float, float]]:
    return [(word.start, word.end) for word in found.words]


def test_placed_words_get_their_times_and_the_segment_holds_them() -> None:
    found = timed_segment(segment("a b"), words("a b"), [Placed(1.2, 1.5, 0.7), Placed(1.6, 1.9)])
    assert spans(found) == [(1.2, 1.5), (1.6, 1.9)]
    assert [word.confidence for word in found.words] == [0.7, None]
    assert (found.start, found.end, found.text, found.speaker) == (1.2, 1.9, "a b", "SPEAKER_01")


def test_words_between_share_the_time_by_their_length() -> None:
    placed = [Placed(1.0, 1.5), None, None, Placed(3.1, 4.0)]
    assert spans(timed_segment(segment(), words(), placed))[1:3] == [
        pytest.approx((1.5, 2.1)),
        pytest.approx((2.1, 3.1)),
    ]


def test_words_at_the_ends_share_what_is_left_of_the_segment() -> None:
    placed = [None, Placed(2.0, 2.5), None, None]
    found = spans(timed_segment(segment(), words(), placed))
    assert found[0] == (1.0, 2.0)
    assert found[2][0] == 2.5
    assert found[3][1] == 5.0


def test_a_segment_that_was_not_found_keeps_its_span() -> None:
    found = timed_segment(segment(), words(), [None] * 4)
    assert (found.start, found.end) == (1.0, 5.0)
    assert found.words[0].start == 1.0
    assert found.words[-1].end == pytest.approx(5.0)
    assert all(word.confidence is None for word in found.words)


def test_no_word_goes_backwards_where_neighbours_leave_no_room() -> None:
    found = spans(timed_segment(segment("a b c"), words("a b c"), [Placed(4.9, 5.4), None, Placed(5.4, 5.6)]))
    times = [time for span in found for time in span]
    assert times == sorted(times)
    found = spans(timed_segment(segment("a b"), words("a b"), [Placed(4.9, 5.4), None]))
    assert found[1] == (5.4, 5.4)


def test_a_confidence_that_came_along_is_the_recognisers() -> None:
    given = [Word("a", 0, 0, 0.33)]
    assert timed_segment(segment("a"), given, [Placed(1, 2, 0.9)]).words[0].confidence == 0.33


def test_windows_take_a_margin_but_nothing_of_the_neighbours() -> None:
    segments = [segment(start=5, end=6), segment(start=0.1, end=4), segment(start=6, end=9.9)]
    assert windows(segments, 10.0) == [pytest.approx((4.7, 6.0)), pytest.approx((0.0, 4.3)), (6.0, 10.0)]
    close = [segment(start=0, end=4), segment(start=4.2, end=6)]
    assert windows(close, 6.0) == [(0.0, pytest.approx(4.1)), (pytest.approx(4.1), 6.0)]


def test_windows_stay_inside_the_audio() -> None:
    assert windows([segment(start=-2, end=1), segment(start=8, end=12), segment(start=20, end=30)], 10.0) == [
        (0.0, pytest.approx(1.3)),
        (pytest.approx(7.7), 10.0),
        (10.0, 10.0),
    ]


def test_a_clip_has_its_own_times() -> None:
    (found,) = from_clip_start([segment(start=12, end=14)], 10.0)
    assert (found.start, found.end) == (2, 4)
