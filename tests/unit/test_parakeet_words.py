from itertools import pairwise

import pytest

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.parakeet.words import FRAME_S, Token, words_of


def tokens(*written: tuple[str, int, int]) -> list[Token]:
    """Texts with their first frame and their number of frames."""
    return [Token(text, first * FRAME_S, (first + frames) * FRAME_S, 0.5) for text, first, frames in written]


def frames(words: list[Word]) -> list[tuple[str, int, int]]:
    return [(word.text, round(word.start / FRAME_S), round(word.end / FRAME_S)) for word in words]


def test_pieces_join_to_words_that_reach_from_the_first_to_the_last() -> None:
    found = words_of(tokens((" tran", 2, 2), ("script", 4, 3), (" here", 9, 2)), 0.0, 2.0)
    assert frames(found) == [("transcript", 2, 7), ("here", 9, 11)]


def test_the_first_word_needs_no_space() -> None:
    assert frames(words_of(tokens(("ye", 1, 1), ("s", 2, 1)), 0.0, 1.0)) == [("yes", 1, 3)]


def test_a_space_by_itself_begins_a_word_at_its_own_time() -> None:
    found = words_of(tokens((" a", 1, 1), (" ", 3, 2), ("so", 5, 1)), 0.0, 1.0)
    assert frames(found) == [("a", 1, 2), ("so", 3, 6)]


def test_a_mark_that_comes_after_a_pause_does_not_lengthen_its_word() -> None:
    found = words_of(tokens((" end", 3, 2), (".", 20, 1), (" Next", 22, 2)), 0.0, 3.0)
    assert frames(found) == [("end.", 3, 5), ("Next", 22, 24)]


def test_a_mark_with_a_space_before_it_stays_with_its_word() -> None:
    assert frames(words_of(tokens((" non", 1, 2), (" !", 3, 1)), 0.0, 1.0)) == [("non!", 1, 3)]


def test_an_opening_mark_begins_a_word() -> None:
    assert frames(words_of(tokens((" ¿", 1, 1), ("Qué", 2, 2), ("?", 4, 0)), 0.0, 1.0)) == [("¿Qué?", 1, 4)]


def test_marks_alone_are_a_word() -> None:
    assert frames(words_of(tokens((" …", 1, 1)), 0.0, 1.0)) == [("…", 1, 2)]


def test_tokens_that_are_no_text_are_dropped() -> None:
    assert frames(words_of(tokens(("<|en|>", 0, 0), (" yes", 1, 1), ("<unk>", 2, 1)), 0.0, 1.0)) == [
        ("yes", 1, 2)
    ]


def test_a_word_without_length_gets_a_frame_or_what_is_left_until_the_next() -> None:
    found = words_of(tokens((" a", 1, 0), (" b", 4, 0), (" c", 4, 2), (" d", 12, 0)), 0.0, 1.0)
    assert frames(found) == [("a", 1, 2), ("b", 4, 4), ("c", 4, 6), ("d", 12, 12)]


def test_the_confidence_is_the_mean_of_the_tokens_but_not_of_late_marks() -> None:
    given = [Token(" hal", 0, 0.1, 0.9), Token("lo", 0.1, 0.2, 0.5), Token(".", 0.9, 0.9, 0.1)]
    (word,) = words_of(given, 0.0, 1.0)
    assert word.confidence == pytest.approx(0.7)


def test_times_count_from_the_file_and_stay_inside_what_was_heard() -> None:
    found = words_of(tokens((" a", 1, 1), (" b", 9, 9)), 100.0, 1.0)
    assert [word.start for word in found] == pytest.approx([100.08, 100.72])
    assert [word.end for word in found] == pytest.approx([100.16, 101.0])


def test_words_never_run_back_or_over_each_other() -> None:
    found = words_of(tokens((" a", 5, 9), (" b", 3, 2), (" c", 8, 1)), 0.0, 1.0)
    assert all(word.start <= word.end for word in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_nothing_was_said() -> None:
    assert words_of([], 0.0, 1.0) == []
    assert words_of(tokens((" ", 0, 1)), 0.0, 1.0) == []
