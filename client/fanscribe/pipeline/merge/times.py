"""Times for words that came without any."""

from collections.abc import Sequence

from fanscribe.contracts.transcript import Segment, Word


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
