"""Pieces hold all the speech, in order, within their limit, and times map back into it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.pieces import MARGIN_S, Span, batches, group, window_s
from fanscribe_handlers.whisper.word_times import fit_to_speech

LIMIT_S = 25.0


@st.composite
def speech(draw: st.DrawFn) -> list[Span]:
    spans, at = [], 0.0
    steps = draw(
        st.lists(st.tuples(st.floats(0.01, 30), st.floats(0.05, LIMIT_S - 2 * MARGIN_S)), max_size=30)
    )
    for pause, length in steps:
        at += pause
        spans.append(Span(at, at + length))
        at += length
    return spans


def end_of(spans: list[Span]) -> float:
    return spans[-1].end + 0.1 if spans else 1.0


@given(speech())
def test_all_speech_is_in_one_piece_and_no_piece_is_too_long(spans: list[Span]) -> None:
    pieces = group(spans, end_of(spans), LIMIT_S)
    heard = [span for piece in pieces for span in piece.spans]
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(heard))
    assert all(any(h.start <= span.start and span.end <= h.end for h in heard) for span in spans)
    assert all(piece.length <= LIMIT_S + 1e-9 for piece in pieces)
    assert all(piece.length <= window_s(piece.length) for piece in pieces)


@given(speech(), st.data())
def test_a_time_in_a_piece_lies_in_what_was_heard(spans: list[Span], data: st.DataObject) -> None:
    for piece in group(spans, end_of(spans), LIMIT_S):
        start = data.draw(st.floats(0, piece.length))
        end = data.draw(st.floats(start, piece.length))
        found = piece.in_file(start, end)
        assert piece.start <= found.start <= found.end <= piece.end + 1e-9


@given(speech(), st.integers(1, 8))
def test_every_piece_is_in_one_batch(spans: list[Span], size: int) -> None:
    pieces = group(spans, end_of(spans), LIMIT_S)
    found = batches(pieces, size)
    assert sorted(number for batch in found for number in batch) == list(range(len(pieces)))
    assert all(1 <= len(batch) <= size for batch in found)


@given(speech(), st.lists(st.tuples(st.floats(-1, 500), st.floats(-1, 500)), max_size=20))
def test_words_are_in_order_and_inside(spans: list[Span], timed: list[tuple[float, float]]) -> None:
    words = [Word("w", start, end) for start, end in timed]
    fit_to_speech(words, spans, 400)
    assert all(0 <= word.start <= word.end <= 400 for word in words)
    assert all(a.start <= b.start for a, b in pairwise(words))
