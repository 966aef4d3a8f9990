import pytest

from fanscribe_handlers.whisper.pieces import Piece, Span, batches, group, widen, window_s


def test_windows_have_room_behind_the_speech_but_no_more() -> None:
    assert window_s(1) == 10
    assert window_s(12) == 17
    assert window_s(29) == 30


def test_neighbours_share_a_short_pause() -> None:
    assert widen([Span(1, 2), Span(2.2, 3)], 3.1) == [
        Span(0.6, 2.1),
        Span(2.1, 3.1),
    ]


def test_nothing_is_heard_where_nobody_speaks() -> None:
    assert group([], 100, 25) == []


def test_short_speech_stays_together_with_the_silence_left_out() -> None:
    (piece,) = group([Span(1, 3), Span(10, 12)], 20, 25)
    assert piece.spans == (Span(0.6, 3.4), Span(9.6, 12.4))
    assert piece.length == pytest.approx(5.6)


def test_long_speech_is_cut_evenly_and_in_the_longer_pause() -> None:
    pauses = {4: 0.8, 5: 0.3}  # behind the fifth and the sixth sentence
    spans, at = [], 0.0
    for number in range(11):
        spans.append(Span(at, at + 3))
        at += 3 + pauses.get(number, 0.2)
    first, second = group(spans, at, 25)
    assert first.end < spans[5].start < second.end
    assert first.end == pytest.approx(spans[4].end + 0.4)
    assert max(first.length, second.length) < 22


def test_times_in_a_piece_map_back_to_the_file() -> None:
    piece = Piece((Span(10, 12), Span(20, 21)))
    assert piece.in_file(0.5, 1) == Span(10.5, 11)
    assert piece.in_file(2, 2.5) == Span(20, 20.5)
    assert piece.in_file(1, 2) == Span(11, 12)
    assert piece.in_file(1.5, 2.5) == Span(11.5, 20.5)
    assert piece.in_file(2.5, 9) == Span(20.5, 21)


def test_batches_hold_similar_lengths() -> None:
    pieces = [Piece((Span(0, length),)) for length in (3, 20, 4, 19, 21)]
    assert batches(pieces, 3) == [[4, 1, 3], [2, 0]]
