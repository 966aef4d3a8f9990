"""Times of a clip, counted from the start of the file that it was cut out of. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn
from fanscribe.pipeline.merge.times import TIME_DIGITS

_Span = TypeVar("_Span", Turn, Gap, TaskRecord)


def moved(segments: Sequence[Segment], offset_s: float) -> list[Segment]:
    """The segments that many seconds later."""
    if not offset_s:
        return list(segments)
    return [
        replace(
            segment,
            start=_later(segment.start, offset_s),
            end=_later(segment.end, offset_s),
            words=[
                replace(word, start=_later(word.start, offset_s), end=_later(word.end, offset_s))
                for word in segment.words
            ],
        )
        for segment in segments
    ]


def of_the_file(transcript: Transcript, offset_s: float) -> Transcript:
    """The transcript of a clip with the file's own times; its `duration` stays the clip's."""
    if not offset_s:
        return transcript
    return replace(
        transcript,
        segments=moved(transcript.segments, offset_s),
        turns=_spans_moved(transcript.turns, offset_s),
        gaps=_spans_moved(transcript.gaps, offset_s),
        tasks=_spans_moved(transcript.tasks, offset_s),
    )


def _spans_moved(spans: Sequence[_Span], offset_s: float) -> list[_Span]:
    return [
        replace(each, start=_later(each.start, offset_s), end=_later(each.end, offset_s)) for each in spans
    ]


def _later(time_s: float, offset_s: float) -> float:
    return round(time_s + offset_s, TIME_DIGITS)
