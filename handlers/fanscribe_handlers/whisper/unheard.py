"""Speech that the model passed over: found by laying its words over the detector's spans. Pure.

With several sentences in one window, Whisper now and then leaves one out without a trace; the others look
complete. The voice activity detector knows better, so what it calls speech and no word covers is heard again,
by itself.
"""

from collections.abc import Sequence

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.pieces import Piece, Span

SHORTEST_S = 0.8
"""Speech without words that is heard again, seconds: about two short words; less is within the error of times."""

MARGIN_S = 0.2
"""Audio kept around it, seconds: edges of words are off by a tenth or two."""

LEAST_PROBABILITY = 0.4
"""Mean word probability under which a second hearing counts as noise (mumbling, a cough)."""


def unheard(speech: Sequence[Span], words: Sequence[Word]) -> list[Span]:
    """The parts of speech, in order, that no word touches for SHORTEST_S and more. Words are in order."""
    missed: list[Span] = []
    first = 0
    for span in speech:
        while first < len(words) and words[first].end <= span.start:
            first += 1
        at = span.start
        for number in range(first, len(words)):
            word = words[number]
            if word.start >= span.end:
                break
            if word.start - at >= SHORTEST_S:
                missed.append(Span(at, word.start))
            at = max(at, word.end)
        if span.end - at >= SHORTEST_S:
            missed.append(Span(at, span.end))
    return missed


def piece_around(missed: Span, duration_s: float) -> Piece:
    """What is heard again for a missed span, inside a recording of so many seconds."""
    return Piece((Span(max(0.0, missed.start - MARGIN_S), min(duration_s, missed.end + MARGIN_S)),))


def believable(missed: Span, words: Sequence[Word]) -> list[int]:
    """Numbers of the words of a second hearing that count: those with their middle in the span.

    None at all where the model was unsure of them.
    """
    inside = [
        number
        for number, word in enumerate(words)
        if missed.start <= (word.start + word.end) / 2 < missed.end and word.end > word.start
    ]
    sure = sum(words[number].confidence or 0.0 for number in inside)
    return inside if inside and sure / len(inside) >= LEAST_PROBABILITY else []
