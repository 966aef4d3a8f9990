"""A transcript cut into captions: what a viewer can read, when it is said."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from fanscribe.contracts.transcript import Segment, Transcript
from fanscribe.render.gaps import gap_text
from fanscribe.spacing import ends_sentence, pieces, unspaced

LINE_WIDTH = 42
"""Columns a line (the usual limit for subtitles in Latin script); a full-width character takes two."""

LINES = 2

LONGEST_MS = 7000
"""Milliseconds a cue stays at most (subtitle guidelines say six to seven seconds)."""

SHORTEST_MS = 500
"""Milliseconds a cue stays at least, where the next one leaves room."""

PAUSE_MS = 1500
"""A pause between two words from which a new cue begins."""


@dataclass(slots=True)
class Cue:
    """One caption. Times in milliseconds; `lines` hold no line break and are never blank."""

    start_ms: int
    end_ms: int
    lines: list[str] = field(default_factory=list)
    speaker: str | None = None


@dataclass(slots=True)
class _Piece:
    """Text that is not broken, with its times; `spaced` says whether a space stands before it."""

    text: str
    start_ms: int
    end_ms: int
    spaced: bool


def cues(transcript: Transcript, prefix: bool) -> list[Cue]:
    """The captions in order of time, with one for each gap.

    `prefix` writes the speaker into the first line ("SPEAKER_00: …"), for formats without another place.
    Starts never go back and no cue is empty. Cues of one voice do not overlap; those of people who talk at
    once may, since each must stay readable.
    """
    result: list[Cue] = []
    for segment in transcript.segments:
        label = f"{clean(segment.speaker)}: " if prefix and segment.speaker else ""
        result.extend(_of_segment(segment, label))
    for gap in transcript.gaps:
        start = _ms(gap.start)
        lines = _wrapped([_Piece(word, 0, 0, True) for word in clean(gap_text(gap)).split()])
        result.append(Cue(start, _ms(gap.end), lines))
    result.sort(key=lambda cue: cue.start_ms)
    return _timed(result)


def clean(text: str) -> str:
    """Text on one line without control characters, which caption formats give other meanings to."""
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
    return " ".join(kept.split())


def _ms(time_s: float) -> int:
    return max(0, round(time_s * 1000))


def _of_segment(segment: Segment, label: str) -> list[Cue]:
    found: list[Cue] = []
    group: list[_Piece] = []

    def close() -> None:
        if group:
            lines = _wrapped(group, label)
            found.append(Cue(group[0].start_ms, group[-1].end_ms, lines, segment.speaker))
            group.clear()

    for piece in _pieces(segment):
        if group:
            last = group[-1]
            full = len(_wrapped([*group, piece], label)) > LINES
            long = piece.end_ms - group[0].start_ms > LONGEST_MS
            settled = ends_sentence(last.text) and sum(_width(each.text) for each in group) >= LINE_WIDTH
            if full or long or settled or piece.start_ms - last.end_ms >= PAUSE_MS:
                close()
        group.append(piece)
    close()
    return found


def _wrapped(group: Sequence[_Piece], label: str = "") -> list[str]:
    """Lines of at most LINE_WIDTH columns; only a single piece that is wider stands alone, unbroken."""
    lines = [label]
    width = _width(label)
    for number, piece in enumerate(group):
        space = " " if piece.spaced and number else ""
        own = _width(piece.text)
        if number and width + len(space) + own > LINE_WIDTH:
            lines.append(piece.text)
            width = own
        else:
            lines[-1] += space + piece.text
            width += len(space) + own
    return lines


def _pieces(segment: Segment) -> list[_Piece]:
    """The words as the text writes them; equal shares by length where there are no word times."""
    words = segment.words
    if words:
        written = pieces(segment.text, [word.text for word in words]) or [f" {word.text}" for word in words]
        return [
            _Piece(content, _ms(word.start), max(_ms(word.end), _ms(word.start)), text[:1].isspace())
            for text, word in zip(written, words, strict=True)
            if (content := clean(text))
        ]
    parts = [
        (token, number == 0)
        for word in clean(segment.text).split()
        for number, token in enumerate(_breakable(word))
    ]
    total = sum(_width(token) for token, _ in parts) or 1
    result: list[_Piece] = []
    passed = 0
    for token, spaced in parts:
        start = segment.start + (segment.end - segment.start) * passed / total
        passed += _width(token)
        end = segment.start + (segment.end - segment.start) * passed / total
        result.append(_Piece(token, _ms(start), max(_ms(end), _ms(start)), spaced))
    return result


def _breakable(word: str) -> list[str]:
    """A word, or its characters where the script has no spaces (marks stay with the character before)."""
    if not any(unspaced(char) for char in word):
        return [word]
    tokens: list[str] = []
    for char in word:
        if tokens and unicodedata.category(char)[0] in "PM":
            tokens[-1] += char
        else:
            tokens.append(char)
    return tokens


_WIDE = re.compile("[\u1100-\U0003ffff]")


def _width(text: str) -> int:
    if not _WIDE.search(text):
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _timed(ordered: list[Cue]) -> list[Cue]:
    """Give every cue a length that can be read, and end it before the same voice goes on."""
    following: dict[str | None, int] = {}
    for cue in reversed(ordered):
        end = min(max(cue.end_ms, cue.start_ms + SHORTEST_MS), cue.start_ms + LONGEST_MS)
        onward = following.get(cue.speaker)
        if onward is not None and cue.start_ms < onward < end:
            end = onward
        cue.end_ms = end
        following[cue.speaker] = cue.start_ms
    return ordered
