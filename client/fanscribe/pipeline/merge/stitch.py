"""Joining the transcriptions of consecutive spans at the cuts between them.

Where the spans do not overlap (the cut lies in a silence) every word is kept. Where both sides heard the
cut, each word belongs to the side that holds its midpoint. Two recognitions of the same second differ by
some hundredths, so a word near the cut could fall on neither side or on both; therefore the switch is made
inside a run of two or more words that both sides recognised, the one whose times agree best, if there is
such a run. A repeat of a single word is kept unless both copies sound at the same moment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanscribe.contracts.task import TranscribeResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.pipeline.merge.times import timed
from fanscribe.spacing import text_of

ANCHOR_WORDS = 2
"""Words in a row that both sides must have recognised for the switch to be made there."""

ANCHOR_TOLERANCE_S = 1.0
"""Seconds by which two recognitions of one word may differ."""

ANCHOR_REACH = 50
"""Words on each side of a cut that are compared: more than ten seconds of fast speech."""

_NOT_LETTERS = re.compile(r"\W+")


@dataclass(slots=True, frozen=True)
class Part:
    """The transcription of one span, times in seconds from the start of the file.

    `start` and `end` are its side of the cuts. `heard_start` and `heard_end` are the audio it was made from,
    where that reaches over the cuts; None means that it does not.
    """

    start: float
    end: float
    segments: list[Segment]
    heard_start: float | None = None
    heard_end: float | None = None
    language: str | None = None
    language_probability: float | None = None

    @property
    def heard(self) -> tuple[float, float]:
        """The span of audio that the words come from, seconds."""
        return (
            self.start if self.heard_start is None else min(self.heard_start, self.start),
            self.end if self.heard_end is None else max(self.heard_end, self.end),
        )


def part_of(
    output: TranscribeResult,
    start: float,
    end: float,
    heard_start: float | None = None,
    heard_end: float | None = None,
) -> Part:
    """A transcribe answer as a part. An answer without segments becomes one segment over the whole part."""
    segments = output.segments
    if not segments and output.text.strip():
        segments = [Segment(start, end, output.text.strip())]
    return Part(start, end, segments, heard_start, heard_end, output.language, output.language_probability)


@dataclass(slots=True)
class _Token:
    """A word, or a segment without words, on its way through the cuts."""

    text: str
    start: float
    end: float
    kept: bool = True

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def stitch(parts: Sequence[Part]) -> list[Segment]:
    """The segments of all parts, in order of the parts' times, with each word once.

    The order of `parts` does not matter. Times outside the audio that a part heard are drawn in to its
    border, since nothing can have been heard there; all others stay. A segment that loses words to the other
    side of a cut keeps the rest of its text. The input is not changed.
    """
    ordered = sorted(parts, key=lambda part: (part.start, part.end))
    cleaned = [_inside(timed(part.segments), *part.heard) for part in ordered]
    # Only parts with an overlapped cut need a look at their words.
    tokens: dict[int, list[_Token]] = {}
    for number, (left, right) in enumerate(pairwise(ordered)):
        if left.heard[1] > right.heard[0]:
            for own in (number, number + 1):
                if own not in tokens:
                    tokens[own] = _tokens(cleaned[own])
            cut = (left.end + right.start) / 2
            _settle(tokens[number], tokens[number + 1], cut, right.heard[0], left.heard[1])
    result: list[Segment] = []
    for number, segments in enumerate(cleaned):
        result.extend(_kept(segments, tokens[number]) if number in tokens else segments)
    return result


def _inside(segments: Sequence[Segment], start: float, end: float) -> list[Segment]:
    """The segments with all times inside [start, end], and none that ends before it starts."""
    return [_drawn_in(segment, start, end) for segment in segments]


def _drawn_in(segment: Segment, start: float, end: float) -> Segment:
    if start <= segment.start <= segment.end <= end:
        for word in segment.words:
            if not start <= word.start <= word.end <= end:
                break
        else:
            return segment
    words: list[Word] = []
    for word in segment.words:
        first = min(max(word.start, start), end)
        last = min(max(word.end, first), end)
        words.append(
            Word(
                word.text,
                first,
                last,
                word.confidence,
                word.speaker,
                word.speaker_confidence,
                word.overlap,
            )
        )
    first = min(max(segment.start, start), end)
    return Segment(first, min(max(segment.end, first), end), segment.text, segment.speaker, words)


def _tokens(segments: Sequence[Segment]) -> list[_Token]:
    tokens: list[_Token] = []
    for segment in segments:
        if segment.words:
            tokens.extend(_Token(word.text, word.start, word.end) for word in segment.words)
        else:
            tokens.append(_Token(segment.text, segment.start, segment.end))
    return tokens


def _settle(left: list[_Token], right: list[_Token], cut: float, opening: float, closing: float) -> None:
    """Decide, for the tokens around one cut, which side keeps them; [opening, closing) was heard by both."""
    ours = [at for at, token in enumerate(left) if token.kept and token.end >= opening]
    theirs = [at for at, token in enumerate(right) if token.start <= closing]
    pairs = _pairs(left, right, ours[:ANCHOR_REACH], theirs[-ANCHOR_REACH:])
    anchor = _anchor(left, right, pairs, cut)
    if anchor is not None:
        for token in left[anchor[0] + 1 :]:
            token.kept = False
        for token in right[: anchor[1] + 1]:
            token.kept = False
        return
    for token in left:
        token.kept = token.kept and token.middle < cut
    for token in right:
        token.kept = token.middle >= cut
    for at, other in pairs:
        mine, copy = left[at], right[other]
        if not mine.kept and not copy.kept:
            # Each side placed the word beyond the cut: it would be lost.
            mine.kept = True
        elif mine.kept and copy.kept and _together(mine, copy):
            copy.kept = False


def _pairs(
    left: Sequence[_Token], right: Sequence[_Token], ours: Sequence[int], theirs: Sequence[int]
) -> list[tuple[int, int]]:
    """Tokens of both sides that may be the same word: same letters, nearly the same time."""
    spelled: dict[str, list[int]] = {}
    for other in theirs:
        spelled.setdefault(_letters(right[other].text), []).append(other)
    return [
        (at, other)
        for at in ours
        for other in spelled.get(_letters(left[at].text), [])
        if abs(left[at].middle - right[other].middle) <= ANCHOR_TOLERANCE_S
    ]


def _anchor(
    left: Sequence[_Token], right: Sequence[_Token], pairs: Sequence[tuple[int, int]], cut: float
) -> tuple[int, int] | None:
    """The last token of the left side and the last token of the right side before the switch.

    Of all runs of pairs, the one whose times agree best (to a hundredth of a second), then the one that
    comes nearest to the cut; in it the switch lies where its words pass the cut.
    """
    known = set(pairs)
    best: tuple[float, float] | None = None
    switch: tuple[int, int] | None = None
    for pair in pairs:
        if (pair[0] - 1, pair[1] - 1) in known:
            continue
        run = [pair]
        while (run[-1][0] + 1, run[-1][1] + 1) in known:
            run.append((run[-1][0] + 1, run[-1][1] + 1))
        if len(run) < ANCHOR_WORDS:
            continue
        middles = [(left[at].middle + right[other].middle) / 2 for at, other in run]
        apart = sum(abs(left[at].middle - right[other].middle) for at, other in run) / len(run)
        score = (round(apart, 2), min(abs(middle - cut) for middle in middles))
        if best is None or score < best:
            best = score
            before = sum(middle < cut for middle in middles)
            # Before the first pair of the run when all of it lies beyond the cut.
            switch = (run[0][0] + before - 1, run[0][1] + before - 1)
    return switch


def _letters(text: str) -> str:
    return _NOT_LETTERS.sub("", text).casefold() or text


def _together(mine: _Token, copy: _Token) -> bool:
    """Whether two copies sound at the same moment: half of the shorter one or more is common."""
    common = min(mine.end, copy.end) - max(mine.start, copy.start)
    shorter = min(mine.end - mine.start, copy.end - copy.start)
    return common >= shorter / 2 and common >= 0


def _kept(segments: Sequence[Segment], tokens: Sequence[_Token]) -> list[Segment]:
    """The segments with what they keep; those that keep nothing are left out."""
    kept: list[Segment] = []
    first = 0
    for segment in segments:
        last = first + max(1, len(segment.words))
        keep = [token.kept for token in tokens[first:last]]
        first = last
        if all(keep):
            kept.append(segment)
        elif any(keep):
            words = [word for word, is_kept in zip(segment.words, keep, strict=True) if is_kept]
            start = segment.start if keep[0] else words[0].start
            end = segment.end if keep[-1] else words[-1].end
            text = text_of(segment.text, [word.text for word in segment.words], keep)
            kept.append(Segment(start, max(start, end), text, segment.speaker, words))
    return kept
