"""One transcript out of one transcript a channel."""

import itertools
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge.speakers import PAUSE_S, overlap_flags, split_segment
from fanscribe.pipeline.merge.times import timed
from fanscribe.pipeline.merge.turns import overlapped


def channel_label(channel: int) -> str:
    """The speaker label of a channel, counted from 0."""
    return f"CHANNEL_{channel}"


def interleave(per_channel: Mapping[str, Sequence[Segment]]) -> list[Segment]:
    """All channels' segments in order of time; each word carries its channel's label, the key.

    A segment is split where its channel pauses (half a second or more) while a word of another channel is
    spoken: a recogniser that hears one side of a call writes across the other side's answers, and unsplit
    the answer would come after both halves. Talking over somebody who goes on speaking splits nothing, for
    that would break sentences; such words are marked `overlap`. The input is not changed.
    """
    channels = {label: timed(segments) for label, segments in per_channel.items()}
    spoken = [
        (word, label)
        for label, segments in channels.items()
        for segment in segments
        for word in segment.words
    ]
    spans = overlapped(Turn(word.start, word.end, label) for word, label in spoken)
    middles = sorted((word.start + word.end) / 2 for word, _ in spoken)
    result: list[Segment] = []
    for label, segments in channels.items():
        for segment in segments:
            words = _labelled(segment.words, label, *spans)
            whole = Segment(segment.start, segment.end, segment.text, label, words)
            cuts = [
                at
                for at, (word, following) in enumerate(itertools.pairwise(words), start=1)
                if _answered(word, following, middles)
            ]
            result.extend(split_segment(whole, words, cuts) if cuts else [whole])
    result.sort(key=lambda segment: segment.start)
    return result


def _labelled(
    words: Sequence[Word], label: str, starts: Sequence[float], ends: Sequence[float]
) -> list[Word]:
    # The channel is known, so its word is wholly its own.
    return [
        Word(word.text, word.start, word.end, word.confidence, label, 1.0, flag)
        for word, flag in zip(words, overlap_flags(words, starts, ends), strict=True)
    ]


def _answered(word: Word, following: Word, middles: Sequence[float]) -> bool:
    """Whether a word of another channel lies in the pause between two words of this one."""
    if following.start - word.end < PAUSE_S:
        return False
    at = bisect_left(middles, word.end)
    return at < len(middles) and middles[at] < following.start
