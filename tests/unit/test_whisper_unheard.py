"""Speech that no word covers is found, and a second hearing counts only where it is believable."""

import pytest

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.pieces import Span
from fanscribe_handlers.whisper.unheard import SHORTEST_S, believable, piece_around, unheard


def _word(start: float, end: float, sure: float = 0.9) -> Word:
    return Word("w", start, end, sure)


@pytest.mark.parametrize(
    ("speech", "words", "missed"),
    [
        ([], [], []),
        ([Span(1, 3)], [], [Span(1, 3)]),
        ([Span(1, 1 + SHORTEST_S / 2)], [], []),
        ([Span(1, 3)], [_word(1, 3)], []),
        ([Span(1, 3)], [_word(0.5, 1.2), _word(2.5, 4)], [Span(1.2, 2.5)]),
        ([Span(1, 3), Span(4, 6), Span(7, 9)], [_word(1, 3), _word(7, 9)], [Span(4, 6)]),
        ([Span(0, 10)], [_word(0, 4), _word(5, 6)], [Span(4, 5), Span(6, 10)]),
        ([Span(0, 4), Span(5, 9)], [_word(0, 9)], []),
    ],
)
def test_uncovered_speech_is_found(speech: list[Span], words: list[Word], missed: list[Span]) -> None:
    assert unheard(speech, words) == missed


def test_a_missed_span_is_heard_with_a_margin_inside_the_audio() -> None:
    assert piece_around(Span(0.1, 2), 2.1).spans == (Span(0.0, 2.1),)
    piece = piece_around(Span(5, 7), 60)
    assert piece.start == pytest.approx(4.8)
    assert piece.end == pytest.approx(7.2)


def test_only_words_with_their_middle_in_the_span_count() -> None:
    words = [_word(3.8, 4.1), _word(4.1, 5), _word(5, 5.9), _word(5.9, 6.4)]
    assert believable(Span(4, 6), words) == [1, 2]


def test_unsure_words_and_none_at_all_count_for_nothing() -> None:
    assert believable(Span(4, 6), [_word(4, 5, 0.2), _word(5, 6, 0.3)]) == []
    assert believable(Span(4, 6), []) == []
