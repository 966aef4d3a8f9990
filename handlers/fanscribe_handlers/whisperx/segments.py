"""From whisperx's answers to our segments. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from fanscribe.contracts.transcript import Segment, Word
from fanscribe_handlers.align.timing import Placed, timed_segment
from fanscribe_handlers.align.wording import written_words
from fanscribe_handlers.sentences import sentences

UNSPACED_LANGUAGES = frozenset(("ja", "zh"))
"""Languages that whisperx aligns character by character."""


def heard_segments(told: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """What its transcription gives: one text for each stretch of speech, without word times."""
    return [
        Segment(float(each["start"]), float(each["end"]), str(each["text"]).strip())
        for each in told
        if str(each["text"]).strip()
    ]


def aligned_segments(heard: Segment, told: Sequence[Mapping[str, Any]], language: str) -> list[Segment]:
    """Sentences with word times, out of what its alignment made of one stretch of speech.

    Words without a score were not aligned (digits, foreign letters); they get times between their neighbours and no
    confidence. Where the alignment has nothing or lacks a part of the text, the words share the stretch's time.
    """
    found = [word for each in told for word in each.get("words", ())]
    if "".join("".join(word["word"] for word in found).split()) != "".join(heard.text.split()):
        whole = written_words(heard)
        timed = timed_segment(heard, whole, [None] * len(whole))
    else:
        words = [Word(str(word["word"]), heard.start, heard.end) for word in found]
        timed = timed_segment(heard, words, _forward([_placed(word) for word in found]))
    space = "" if language in UNSPACED_LANGUAGES else " "
    return sentences(timed.words, [f"{space}{word.text}" for word in timed.words])


def without_words(segments: Iterable[Segment]) -> list[Segment]:
    """The same segments, for callers who asked for no word times."""
    return [replace(segment, words=[]) for segment in segments]


def _placed(word: Mapping[str, Any]) -> Placed | None:
    start, end, score = (word.get(name) for name in ("start", "end", "score"))
    if start is None or end is None or score is None or not isfinite(start + end + score):
        return None
    return Placed(float(start), float(end), min(1.0, max(0.0, float(score))))


def _forward(placed: Sequence[Placed | None]) -> list[Placed | None]:
    """The same, without times that go back."""
    at = 0.0
    kept: list[Placed | None] = []
    for each in placed:
        if each is not None:
            start = max(at, each.start)
            each = replace(each, start=start, end=max(start, each.end))
            at = each.end
        kept.append(each)
    return kept
