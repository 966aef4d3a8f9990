"""Pieces that are heard again in halves."""

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.halves import drawn_out_s, fuller, halves
from fanscribe_handlers.whisper.pieces import Piece, Span, group

SPEECH = [Span(10, 14), Span(14.5, 20)]
PIECE = Piece((Span(9.6, 20.4),))


def said(*times: tuple[float, float], text: str = "you", confidence: float = 0.9) -> list[Word]:
    return [Word(text, start, end, confidence) for start, end in times]


def test_usual_words_are_not_drawn_out() -> None:
    assert drawn_out_s(said((10, 10.3), (10.4, 11.3))) == 0
    assert drawn_out_s(said((10, 11.4), text="incomprehensible")) == 0


def test_a_year_takes_long_to_say() -> None:
    assert drawn_out_s(said((10, 12.4), text="1,200")) == 0


def test_a_piece_with_a_drawn_out_word_is_heard_again_in_halves() -> None:
    parts = halves(PIECE, SPEECH, said((10, 10.3), (11, 14)), 30)
    assert [(part.start, part.end) for part in parts] == [(9.6, 14.25), (14.25, 20.4)]


def test_a_plausible_piece_is_not() -> None:
    assert halves(PIECE, SPEECH, said((10, 10.3), (11, 11.6)), 30) == []


def test_nor_one_that_is_short_or_has_no_pause() -> None:
    words = said((10, 13))
    assert halves(Piece((Span(9.6, 14.4),)), SPEECH, words, 30) == []
    assert halves(PIECE, [Span(10, 20)], words, 30) == []


def test_more_words_and_plausible_ones_are_believed() -> None:
    first = said((10, 10.3), (11, 14))
    assert fuller(first, said((10, 10.3), (10.5, 11), (11, 11.5)))


def test_fewer_words_or_unsure_ones_or_more_drawn_out_ones_are_not() -> None:
    first = said((10, 10.3), (11, 14))
    assert not fuller(first, said((10, 10.3)))
    assert not fuller(first, said((10, 10.3), (10.5, 11), (11, 11.5), confidence=0.7))
    assert not fuller(first, said((10, 10.3), (10.5, 11), (11, 15)))


def test_halves_hear_nothing_of_the_neighbours_speech() -> None:
    """The neighbours' speech is a tenth of a second away: what a margin took of it would be told twice."""
    speech = [Span(0, 9.9), Span(10, 14), Span(14.5, 20), Span(20.1, 29.9)]
    pieces = group(speech, 40, 12)
    (piece,) = [each for each in pieces if each.start < 10 < each.end]
    parts = halves(piece, speech, said((10, 10.3), (11, 15)), 40)
    assert [(part.start, part.end) for part in parts] == [(9.9, 14.25), (14.25, 20.1)]
