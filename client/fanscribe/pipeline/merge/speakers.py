"""Who said each word: words laid over a diarizer's turns.

A word goes to the speaker who holds most of it in the exclusive turns, and to the nearest edge of a turn
where nobody holds any. Word times of a recogniser are off by a tenth of a second or two at the borders of
turns, so two rules look at the sentence as well: its last word stays with the turn that holds the word's
onset, and a lone word in the middle of one that only a sliver of a turn speaks for is folded back. A whole
sentence of one word ("Yes.") is never moved by either rule.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge.times import timed
from fanscribe.pipeline.merge.turns import Timeline, overlapped, timeline
from fanscribe.spacing import ends_sentence, join, pieces

LONGEST_WORD_S = 2.0
"""Seconds of a word that count: recognisers stretch a word over the pause that follows it."""

FIRM_SHARE = 0.75
"""Share of a word, and
"""
FIRM_TURN_S = 0.25
"""seconds of the turn that holds it, from which a lone word keeps its speaker against its neighbours."""

PAUSE_S = 0.5
"""Seconds of silence that close a sentence where the recogniser wrote no punctuation."""


def assign_speakers(
    segments: Sequence[Segment], turns: Sequence[Turn], exclusive: Sequence[Turn] | None = None
) -> list[Segment]:
    """The segments with a speaker on every word, split where the speaker changes.

    `exclusive` are the turns with one speaker at any time; left out, they are made from `turns`, where the
    longer of two overlapping turns holds the time. `turns` mark words during which two or more people speak.
    No word is lost, altered or moved; words without times (NaN) get some, all other times stay as they are.
    A segment without words gets the speaker who holds most of it. Without any turn nobody is named.
    Time grows linearly with the words (times the logarithm of the turns for words out of order). The input
    is not changed.
    """
    line = timeline(exclusive or turns)
    whole = timed(segments)
    if not line.starts:
        return whole
    words = [word for segment in whole for word in segment.words]
    held_by, shares = _attribute(words, line)
    speakers = _folded(words, held_by, shares, line)
    flags = _flags(words, *overlapped(turns))
    labelled = [
        Word(word.text, word.start, word.end, word.confidence, speaker, share, flag)
        for word, speaker, share, flag in zip(words, speakers, shares, flags, strict=True)
    ]
    tally: _Tally | None = None
    result: list[Segment] = []
    first = 0
    for segment in whole:
        last = first + len(segment.words)
        if first == last:
            tally = tally or _Tally(line)
            speaker = tally.speaker(segment.start, segment.end)
            result.append(Segment(segment.start, segment.end, segment.text, speaker))
        elif speakers.count(speakers[first], first, last) if False else _same(speakers, first, last):
            result.append(
                Segment(segment.start, segment.end, segment.text, speakers[first], labelled[first:last])
            )
        else:
            result.extend(split_by_speaker(segment, labelled[first:last]))
        first = last
    return result
