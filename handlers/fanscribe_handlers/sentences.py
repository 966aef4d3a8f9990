"""From words to segments that keep sentences together. Pure."""

from fanscribe.contracts.transcript import Segment, Word
from fanscribe.spacing import ends_sentence

_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "st.", "vs.", "no.", "prof.", "jr.", "sr."})

LONGEST_PAUSE_S = 2.0
"""A longer pause ends a segment even inside a sentence, seconds."""


def sentences(
    words: list[Word], written: list[str], pause_s: float = LONGEST_PAUSE_S, longest_s: float | None = None
) -> list[Segment]:
    """Segments of whole sentences; a pause above `pause_s` seconds ends one too.

    `written` holds each word as the model wrote it: with a space before it in languages that have spaces. A
    segment above `longest_s` seconds is cut at the longest of its pauses, for models that write no punctuation.
    """
    segments: list[Segment] = []
    begin = 0
    for end in range(1, len(words) + 1):
        if end < len(words) and not (
            _ends_sentence(words[end - 1]) or words[end].start - words[end - 1].end > pause_s
        ):
            continue
        for first, last in _shortened(words, begin, end, longest_s):
            text = "".join(written[first:last]).strip()
            segments.append(Segment(words[first].start, words[last - 1].end, text, words=words[first:last]))
        begin = end
    return segments


def _shortened(words: list[Word], begin: int, end: int, longest_s: float | None) -> list[tuple[int, int]]:
    """Numbers of the words of each part: from the first to behind the last."""
    parts: list[tuple[int, int]] = []
    waiting = [(begin, end)]
    while waiting:
        first, last = waiting.pop()
        too_long = longest_s is not None and words[last - 1].end - words[first].start > longest_s
        if not too_long or last - first < 2:
            parts.append((first, last))
            continue
        cut = max(range(first + 1, last), key=lambda at: words[at].start - words[at - 1].end)
        waiting += [(cut, last), (first, cut)]
    return parts


def _ends_sentence(word: Word) -> bool:
    return ends_sentence(word.text) and word.text.lower() not in _ABBREVIATIONS
