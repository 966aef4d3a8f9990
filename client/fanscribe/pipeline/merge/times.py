"""Times: moved from a span to the whole file, and given to words that came without any."""

from collections.abc import Sequence

from pydantic import BaseModel

from fanscribe.contracts.task import AlignResult, DiarizeResult, TranscribeResult
from fanscribe.contracts.transcript import Segment, Turn, Word

TIME_DIGITS = 3
"""Decimals of a second in answers: finer than any engine's frames."""


def shift(result: BaseModel, offset_s: float) -> None:
    """Count the times of a stage's result from the start of the file instead of its span, in place."""
    match result:
        case TranscribeResult() | AlignResult():
            if isinstance(result, TranscribeResult) and result.diarization is not None:
                shift(result.diarization, offset_s)
            for segment in result.segments:
                _shift(segment, offset_s)
                for word in segment.words:
                    _shift(word, offset_s)
        case DiarizeResult():
            turns = {id(turn): turn for turn in (*result.segments, *result.exclusive_segments)}
            for turn in turns.values():  # an engine may put the same turn into both lists
                _shift(turn, offset_s)
        case _:
            raise TypeError(f"{type(result).__name__} is not the result of a stage")


def _shift(span: Segment | Word | Turn, offset_s: float) -> None:
    span.start = round(span.start + offset_s, TIME_DIGITS)
    span.end = round(span.end + offset_s, TIME_DIGITS)


def timed(segments: Sequence[Segment]) -> list[Segment]:
    """The segments with a time for every word.

    An aligner leaves a word it could not place (a number, a sign) without times, as NaN. Such words share the
    room between their timed neighbours evenly, at the edges the room up to the segment's border. Segments
    that are whole are returned as they are.
    """
    return [_filled(segment) if _incomplete(segment) else segment for segment in segments]


def _incomplete(segment: Segment) -> bool:
    # NaN is the one number that is not equal to itself.
    for word in segment.words:  # noqa: SIM110 - a generator takes twice as long, and every word passes here
        if word.start != word.start or word.end != word.end:
            return True
    return False


def _filled(segment: Segment) -> Segment:
    words: list[Word] = []
    waiting: list[Word] = []
    border = segment.start
    for word in segment.words:
        if word.start != word.start or word.end != word.end:
            waiting.append(word)
            continue
        words.extend(_spread(waiting, border, word.start))
        words.append(word)
        waiting = []
        border = word.end
    words.extend(_spread(waiting, border, segment.end))
    return Segment(segment.start, segment.end, segment.text, segment.speaker, words)


def _spread(waiting: Sequence[Word], start: float, end: float) -> list[Word]:
    """The words, one after the other, in equal shares of [start, end); as points where there is no room."""
    step = max(end - start, 0.0) / len(waiting) if waiting else 0.0
    return [
        Word(
            word.text,
            start + step * number,
            start + step * (number + 1),
            word.confidence,
            word.speaker,
            word.speaker_confidence,
            word.overlap,
        )
        for number, word in enumerate(waiting)
    ]
