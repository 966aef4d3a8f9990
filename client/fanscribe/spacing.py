"""Words and the text they come from: joining words to text, and cutting text back into one piece a word."""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff01-\uff9f\U00020000-\U0003ffff]"
)
"""Scripts written without spaces between words (Unicode blocks): Thai, Lao, Burmese, Khmer, Japanese and
Chinese with their punctuation, full-width forms. Korean separates words by spaces and is not among them."""

_CLOSING = frozenset(".,!?;:…)]}%")
_SENTENCE_END = frozenset(".!?…。．！？｡؟۔।॥።፧‼⁇⁈⁉")  # noqa: RUF001
_QUOTES = "\"'”’»›)]}」』）］】"  # noqa: RUF001


def unspaced(character: str) -> bool:
    """Whether a character belongs to a script that puts no spaces between words."""
    return _UNSPACED.match(character) is not None


def ends_sentence(text: str) -> bool:
    """Whether a word closes a sentence, in any script, closing quotes and brackets aside."""
    last = text[-1:]
    if last in _QUOTES:
        last = text.rstrip(_QUOTES)[-1:]
    return last in _SENTENCE_END


def join(texts: Iterable[str]) -> str:
    """Text out of words or sentences, with a space between two of them where their script writes one."""
    pieces: list[str] = []
    before = ""
    for raw in texts:
        text = raw.strip()
        if not text:
            continue
        if before and text[0] not in _CLOSING and not (unspaced(before) and unspaced(text[0])):
            pieces.append(" ")
        pieces.append(text)
        before = text[-1]
    return "".join(pieces)


def pieces(text: str, words: Sequence[str]) -> list[str] | None:
    """Cut `text` into one piece a word, so that the pieces joined are `text` again, spaces included.

    Punctuation between two words stays with the word it touches. None where the words do not occur in the
    text in this order: then the text cannot say how they were written.
    """
    if not words:
        return None
    cuts = [0]
    end = text.find(words[0])
    if end < 0:
        return None
    end += len(words[0])
    for word in words[1:]:
        start = text.find(word, end)
        if start < 0:
            return None
        cuts.append(_boundary(text, end, start))
        end = start + len(word)
    cuts.append(len(text))
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


def _boundary(text: str, end: int, start: int) -> int:
    """Where, between a word's end and the next word's start, the next word's piece begins."""
    for at in range(end, start):
        if text[at].isspace():
            return at
    at = start
    while at > end and unicodedata.category(text[at - 1]) in ("Ps", "Pi"):
        at -= 1
    return at


def text_of(text: str, words: Sequence[str], keep: Sequence[bool]) -> str:
    """The part of `text` that belongs to the kept words; those words joined where the text cannot tell."""
    found = pieces(text, words)
    if found is None:
        return join(word for word, kept in zip(words, keep, strict=True) if kept)
    return "".join(piece for piece, kept in zip(found, keep, strict=True) if kept).strip()


def text_pieces(text: str, words: Sequence[str], borders: Sequence[int]) -> list[str]:
    """`text` cut at word numbers: one part for each two neighbours in `borders`, stripped."""
    if text == " ".join(words):
        # How most text is written, and several times faster than looking for each word.
        return [" ".join(words[first:last]) for first, last in itertools.pairwise(borders)]
    found = pieces(text, words)
    parts: list[str] = []
    for first, last in itertools.pairwise(borders):
        parts.append(join(words[first:last]) if found is None else "".join(found[first:last]).strip())
    return parts
