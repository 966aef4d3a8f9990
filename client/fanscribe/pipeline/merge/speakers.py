"""Who said each word: words laid over a diarizer's turns.

A word goes to the speaker who holds most of it in the exclusive turns, and to the nearest edge of a turn
where nobody holds any. Word times of a recogniser are off by a tenth of a second or two at the borders of
turns, so three rules look at the sentence as well: its last word stays with the turn that holds the word's
onset, a lone word inside it that only a sliver of a turn speaks for is folded back, and words during
overlapped speech go with the sentence they open or end. A whole sentence ("Yes.") is never moved.
"""

import itertools
from bisect import bisect_right
from collections.abc import Sequence

from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge.belonging import with_their_sentence
from fanscribe.pipeline.merge.collecting import collection_held
from fanscribe.pipeline.merge.holding import Holding
from fanscribe.pipeline.merge.times import timed
from fanscribe.pipeline.merge.turns import Timeline, overlapped, timeline
from fanscribe.spacing import ends_sentence, text_pieces

LONGEST_WORD_S = 2.0
"""Seconds of a word that count: recognisers stretch a word over the pause that follows it."""

FIRM_SHARE = 0.75
"""Share of a word that a turn must hold for a lone word to keep its speaker against its neighbours; ..."""

FIRM_TURN_S = 0.25
"""... and how long that turn must be, seconds."""

PAUSE_S = 0.5
"""Seconds of silence that close a sentence where the recogniser wrote no punctuation."""


def assign_speakers(
    segments: Sequence[Segment], turns: Sequence[Turn], exclusive: Sequence[Turn] | None = None
) -> list[Segment]:
    """The segments with a speaker on every word, split where the speaker changes.

    `exclusive` are the turns with one speaker at any time; left out, they are made from `turns`, where the
    longer of two overlapping turns holds the time. `turns` mark words during which two or more people speak.
    No word is lost, altered or moved; words without times (NaN) get some, all other times stay as they are.
    A segment without words gets the speaker who holds most of it. Without any turn nobody is named. The time
    taken is linear in the words once the turns are sorted. The input is not changed.
    """
    line = timeline(exclusive or turns)
    whole = timed(segments)
    if not line.starts:
        return whole
    with collection_held():
        return _assigned(whole, turns, line)


def _assigned(whole: Sequence[Segment], turns: Sequence[Turn], line: Timeline) -> list[Segment]:
    words = [word for segment in whole for word in segment.words]
    held_by, shares = _attribute(words, line)
    speakers = _folded(words, held_by, shares, line)
    flags = overlap_flags(words, *overlapped(turns))
    for number in with_their_sentence(words, speakers, flags, turns, parted):
        shares[number] = _share(words[number], speakers[number], line)
    labelled = [
        Word(word.text, word.start, word.end, word.confidence, speaker, share, flag)
        for word, speaker, share, flag in zip(words, speakers, shares, flags, strict=True)
    ]
    holding = Holding(line)
    result: list[Segment] = []
    first = 0
    for segment in whole:
        last = first + len(segment.words)
        if first == last:
            speaker = holding.speaker(segment.start, segment.end)
            result.append(Segment(segment.start, segment.end, segment.text, speaker))
        elif speakers[first:last].count(speakers[first]) == last - first:
            result.append(
                Segment(segment.start, segment.end, segment.text, speakers[first], labelled[first:last])
            )
        else:
            changes = [at for at in range(first + 1, last) if speakers[at] != speakers[at - 1]]
            result.extend(
                split_segment(segment, labelled[first:last], [change - first for change in changes])
            )
        first = last
    return result


def split_segment(segment: Segment, words: list[Word], at: Sequence[int]) -> list[Segment]:
    """Cut a segment before the words numbered in `at`; `words` replace its own, one for one.

    Each part takes its text from the segment's own text, its speaker from its first word, and its inner
    borders from its words.
    """
    borders = [0, *at, len(words)]
    texts = text_pieces(segment.text, [word.text for word in words], borders)
    parts: list[Segment] = []
    for number, (first, last) in enumerate(itertools.pairwise(borders)):
        start = segment.start if first == 0 else words[first].start
        end = segment.end if last == len(words) else words[last - 1].end
        parts.append(Segment(start, max(start, end), texts[number], words[first].speaker, words[first:last]))
    return parts


def overlap_flags(words: Sequence[Word], starts: Sequence[float], ends: Sequence[float]) -> list[bool]:
    """For each word, whether it meets one of the disjoint, ordered spans [starts[i], ends[i])."""
    if not starts:
        return [False] * len(words)
    flags: list[bool] = []
    count = len(starts)
    at = 0
    previous = float("-inf")
    for word in words:
        start = word.start
        if start < previous:
            at = bisect_right(ends, start)
        elif at < count and ends[at] <= start:
            at += 1
            if at < count and ends[at] <= start:
                at = bisect_right(ends, start, at)
        previous = start
        if at == count:
            flags.append(False)
        else:
            opening = starts[at]
            flags.append(opening <= start or opening < min(word.end, start + LONGEST_WORD_S))
    return flags


def _attribute(words: Sequence[Word], line: Timeline) -> tuple[list[int], list[float]]:
    """For each word the turn that holds it, as a number in `line`, and the share its speaker holds."""
    starts, ends = line.starts, line.ends
    count = len(starts)
    held_by: list[int] = []
    shares: list[float] = []
    at = 0  # the first turn that ends after the word's start
    previous = float("-inf")
    for number, word in enumerate(words):
        start = word.start
        end = word.end
        if end > start + LONGEST_WORD_S:
            end = start + LONGEST_WORD_S
        if start < previous:
            at = bisect_right(ends, start)
        elif at < count and ends[at] <= start:
            at += 1
            if at < count and ends[at] <= start:
                at = bisect_right(ends, start, at)
        previous = start
        if at < count and starts[at] <= start and end <= ends[at]:
            held_by.append(at)
            shares.append(1.0)
            continue
        keeps_onset = number > 0 and ends_sentence(word.text) and not ends_sentence(words[number - 1].text)
        turn, share = _contested(start, end, at, keeps_onset, line)
        held_by.append(turn)
        shares.append(share)
    return held_by, shares


def _contested(start: float, end: float, at: int, keeps_onset: bool, line: Timeline) -> tuple[int, float]:
    """The turn and share for a word that no single turn holds whole; `at` ends first after its start."""
    starts, ends, speakers = line.starts, line.ends, line.speakers
    count = len(starts)
    held: dict[str, float] = {}
    most: dict[str, tuple[float, int]] = {}
    turn = at
    while turn < count and starts[turn] < end:
        overlap = min(end, ends[turn]) - max(start, starts[turn])
        speaker = speakers[turn]
        held[speaker] = held.get(speaker, 0.0) + overlap
        if speaker not in most or overlap > most[speaker][0]:
            most[speaker] = (overlap, turn)
        turn += 1
    if not held:
        before = start - ends[at - 1] if at else float("inf")
        after = starts[at] - end if at < count else float("inf")
        return (at - 1 if before <= after else at), 0.0
    winner = max(held, key=lambda speaker: held[speaker])
    if keeps_onset and starts[at] <= start:
        winner = speakers[at]
    return most[winner][1], min(1.0, held[winner] / (end - start))


def _folded(words: Sequence[Word], held_by: list[int], shares: list[float], line: Timeline) -> list[str]:
    """The speaker of each word, after lone words without firm support joined their sentence.

    Changes `shares` of the folded words to what their new speaker holds.
    """
    speakers = [line.speakers[turn] for turn in held_by]
    count = len(speakers)
    # Only a word that differs from both neighbours can be lone; most transcripts have few of them.
    changes = [at for at in range(1, count) if speakers[at] != speakers[at - 1]]
    borders = {0, count, *changes}
    lone = [at for at in sorted(borders) if at + 1 in borders]
    for at in lone:
        turn = held_by[at]
        if shares[at] >= FIRM_SHARE and line.ends[turn] - line.starts[turn] >= FIRM_TURN_S:
            continue
        opens = at == 0 or parted(words[at - 1], words[at])
        closes = at + 1 == count or parted(words[at], words[at + 1])
        if opens and closes:
            continue
        speaker = speakers[at + 1] if opens else speakers[at - 1]
        if speaker != speakers[at]:
            speakers[at] = speaker
            shares[at] = _share(words[at], speaker, line)
    return speakers


def parted(word: Word, following: Word) -> bool:
    """Whether a sentence ends between two words. What becomes of a word's speaker depends on its sentence alone."""
    return ends_sentence(word.text) or following.start - word.end >= PAUSE_S


def _share(word: Word, speaker: str, line: Timeline) -> float:
    """The share of a word that a speaker holds."""
    start, end = word.start, min(word.end, word.start + LONGEST_WORD_S)
    if end <= start:
        return 0.0
    held = 0.0
    turn = bisect_right(line.ends, start)
    while turn < len(line.starts) and line.starts[turn] < end:
        if line.speakers[turn] == speaker:
            held += min(end, line.ends[turn]) - max(start, line.starts[turn])
        turn += 1
    return min(1.0, held / (end - start))
