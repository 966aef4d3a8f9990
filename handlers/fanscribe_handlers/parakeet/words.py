"""From a transducer's tokens to words with times. Pure; the same for both runtimes of the model.

A TDT model says with each token in which frame it begins and how many frames it skips after it, so words have
times without any alignment. Its tokens are pieces of words; a piece with a space before it begins a word.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from fanscribe.contracts.transcript import Word

FRAME_S = 0.08
"""Seconds of an encoder frame, the finest time that the model knows: 10 ms features, eight of them a frame
(model cards of parakeet-tdt-0.6b-v2 and -v3)."""

LONGEST_TOKEN_FRAMES = 4
"""The most frames that a token can skip: the models are trained with durations 0 to 4 (Xu et al. 2023,
"Efficient Sequence Transduction by Jointly Predicting Tokens and Durations", and the models' configurations)."""

_UNTIMED = frozenset(".,!?;:…")
"""Marks that the model may write long after the word they belong to, at the end of a pause; their times count for
nothing."""

_MARKER = re.compile(r"<[^<>\s]*>")
"""Tokens that are no text: <unk>, <|en|> and their like."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a word, a space before it where a word begins; times in seconds; `probability` 0 to 1."""

    text: str
    start: float
    end: float
    probability: float | None = None


def words_of(tokens: list[Token], offset_s: float, duration_s: float) -> list[Word]:
    """The words of one stretch of audio that begins at `offset_s` in the file and lasts `duration_s` seconds.

    Times are in order and inside the stretch. A word's confidence is the mean probability of its tokens. Where the
    model gave a word no length, it gets a frame, or what is left until the next word.
    """
    groups: list[list[Token]] = []
    fresh: Token | None = None  # a space by itself, with which the next piece begins a word
    for token in tokens:
        piece = token.text.strip()
        if _MARKER.fullmatch(piece):
            continue
        if not piece:
            fresh = fresh or token
        elif groups and set(piece) <= _UNTIMED:
            groups[-1].append(token)
            fresh = None
        elif fresh is not None:
            groups.append([fresh, token])
            fresh = None
        elif token.text[:1].isspace() or not groups:
            groups.append([token])
        else:
            groups[-1].append(token)
    words = [_word(group) for group in groups]
    _order(words, duration_s)
    for word in words:
        word.start += offset_s
        word.end += offset_s
    return words


def _word(tokens: list[Token]) -> Word:
    marks = [bool(token.text.strip()) and set(token.text.strip()) <= _UNTIMED for token in tokens]
    timed = [token for token, is_mark in zip(tokens, marks, strict=True) if not is_mark] or tokens[:1]
    known = [token.probability for token in timed if token.probability is not None]
    return Word(
        "".join(token.text.strip() for token in tokens),
        timed[0].start,
        max(token.end for token in timed),
        round(sum(known) / len(known), 4) if known else None,
    )


def _order(words: list[Word], duration_s: float) -> None:
    """Draw the times into the audio and into order, in place."""
    previous = 0.0
    for word in words:
        word.start = min(max(word.start, previous), duration_s)
        word.end = min(max(word.end, word.start), duration_s)
        previous = word.start
    for word, after in pairwise(words):
        if word.end > after.start:
            word.end = max(word.start, after.start)
        elif word.end - word.start < FRAME_S:
            word.end = min(word.start + FRAME_S, after.start)
    if words and words[-1].end - words[-1].start < FRAME_S:
        words[-1].end = min(words[-1].start + FRAME_S, duration_s)
