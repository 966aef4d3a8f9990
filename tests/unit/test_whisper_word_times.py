from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.pieces import Span
from fanscribe_handlers.whisper.word_times import fit_to_speech


def words(*timed: tuple[str, float, float]) -> list[Word]:
    return [Word(text.strip(), start, end) for text, start, end in timed]


def times(found: list[Word]) -> list[tuple[float, float]]:
    return [(word.start, word.end) for word in found]


def test_a_word_that_starts_too_early_after_a_pause_starts_with_the_speech() -> None:
    found = words(("not", 1.0, 1.4), ("what", 1.4, 3.2))
    fit_to_speech(found, [Span(0.5, 1.5), Span(3.0, 4.0)], 5)
    assert times(found) == [(1.0, 1.4), (3.0, 3.2)]


def test_a_last_word_that_goes_on_into_a_pause_ends_with_the_speech() -> None:
    found = words(("end.", 1.0, 2.5))
    fit_to_speech(found, [Span(0.5, 1.5), Span(3.0, 4.0)], 5)
    assert times(found) == [(1.0, 1.5)]


def test_a_sliver_behind_a_pause_does_not_take_the_word_along() -> None:
    found = words(("end.", 1.0, 3.05))
    fit_to_speech(found, [Span(0.5, 1.5), Span(3.0, 4.0)], 5)
    assert times(found) == [(1.0, 1.5)]


def test_a_short_gap_is_part_of_a_word() -> None:
    found = words(("cup|board", 1.0, 2.0))
    fit_to_speech(found, [Span(0.5, 1.4), Span(1.6, 4.0)], 5)
    assert times(found) == [(1.0, 2.0)]


def test_a_word_where_no_speech_was_found_stays() -> None:
    found = words(("um", 2.0, 2.4))
    fit_to_speech(found, [Span(0.5, 1.4)], 5)
    assert times(found) == [(2.0, 2.4)]


def test_words_end_up_in_order_and_inside_the_audio() -> None:
    found = words(("a", 1.0, 0.9), ("b", 0.8, 1.2), ("c", 4.9, 5.3))
    fit_to_speech(found, [], 5)
    assert times(found) == [(1.0, 1.0), (1.0, 1.2), (4.9, 5)]
