"""Which audio belongs to a segment, and times for words that no model could place. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from fanscribe.contracts.transcript import Segment, Word
from fanscribe_handlers.engine import InvalidTask

MAX_SEGMENT_S = 300.0
"""Longest segment that is aligned in one piece, seconds: what a Viterbi search over it keeps in memory grows with
the square of it (5 minutes of speech: about 15,000 frames by 9,000 states, one byte each)."""

_MARGIN_S = 0.3
"""Seconds of audio taken on both sides of a segment, since recognisers begin late and end early."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a word was found, seconds, and how sure the model is of it, 0 to 1; None where it does not say."""

    start: float
    end: float
    confidence: float | None = None


def refuse_other_language(language: str, known: Collection[str] | None) -> None:
    """Raise InvalidTask for a language that is not among the `known` ones; None knows all."""
    if known is not None and language not in known:
        raise InvalidTask(
            f"field language: this model aligns {', '.join(sorted(known))}, not {language!r}: use an aligner of "
            "another variant"
        )


def refuse_long_segments(segments: Sequence[Segment]) -> None:
    """Raise InvalidTask for a segment of more than MAX_SEGMENT_S, which would take too much memory."""
    for number, segment in enumerate(segments):
        if segment.end - segment.start > MAX_SEGMENT_S:
            raise InvalidTask(
                f"field segments.{number}: it lasts {segment.end - segment.start:.0f} s, and at most "
                f"{MAX_SEGMENT_S:.0f} s are aligned in one piece: split it where a sentence ends"
            )


def from_clip_start(segments: Sequence[Segment], offset_s: float) -> list[Segment]:
    """The segments of a task with times from the start of its clip, which lies at `offset_s` in the file."""
    return [
        replace(segment, start=segment.start - offset_s, end=segment.end - offset_s) for segment in segments
    ]


def windows(segments: Sequence[Segment], duration_s: float) -> list[tuple[float, float]]:
    """The audio to search for each segment, (start, end) in seconds.

    A margin is added on both sides, but none of the neighbours' audio: no further than the middle of the pause
    between two segments. Times are drawn in to the audio.
    """
    order = sorted(range(len(segments)), key=lambda number: segments[number].start)
    spans: list[tuple[float, float]] = [(0.0, 0.0)] * len(segments)
    for place, number in enumerate(order):
        segment = segments[number]
        before = segments[order[place - 1]].end if place else 0.0
        after = segments[order[place + 1]].start if place + 1 < len(order) else duration_s
        start = segment.start - min(_MARGIN_S, max(0.0, segment.start - before) / (2 if place else 1))
        last = place + 1 == len(order)
        end = segment.end + min(_MARGIN_S, max(0.0, after - segment.end) / (1 if last else 2))
        start = min(max(0.0, start), duration_s)
        spans[number] = (start, max(start, min(end, duration_s)))
    return spans


def timed_segment(segment: Segment, words: Sequence[Word], placed: Sequence[Placed | None]) -> Segment:
    """The segment with times on its `words`, one for one with `placed`, and with times that hold its words.

    Words that were not placed share the time between their neighbours by their length in characters; at the ends
    of the segment they share what is left of it. A confidence that came with a word is the recogniser's and stays.
    """
    if not words:
        return replace(segment, words=[])
    spans = _filled([len(word.text) for word in words], placed, segment.start, segment.end)
    timed = [
        replace(
            word,
            start=start,
            end=end,
            confidence=word.confidence if word.confidence is not None or found is None else found.confidence,
        )
        for word, found, (start, end) in zip(words, placed, spans, strict=True)
    ]
    if not any(placed):
        return replace(segment, words=timed)
    return replace(segment, start=timed[0].start, end=timed[-1].end, words=timed)


def _filled(
    lengths: Sequence[int], placed: Sequence[Placed | None], start: float, end: float
) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    number = 0
    while number < len(placed):
        found = placed[number]
        if found is not None:
            spans.append((found.start, found.end))
            number += 1
            continue
        last = number
        while last < len(placed) and placed[last] is None:
            last += 1
        following = placed[last] if last < len(placed) else None
        left = spans[-1][1] if spans else min(start, following.start if following else start)
        right = following.start if following else max(end, left)
        spans += _shared(lengths[number:last], left, max(left, right))
        number = last
    return spans


def _shared(lengths: Sequence[int], left: float, right: float) -> list[tuple[float, float]]:
    whole = sum(max(1, length) for length in lengths)
    spans: list[tuple[float, float]] = []
    done = 0
    for length in lengths:
        begin = left + (right - left) * done / whole
        done += max(1, length)
        spans.append((begin, left + (right - left) * done / whole))
    return spans
