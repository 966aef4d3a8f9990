"""From spoken words to a CTC model's tokens, and from token spans back to words. Pure."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fanscribe_handlers.align.timing import Placed
from fanscribe_handlers.align.trellis import TokenSpan

_BLANKS = ("<blank>", "<pad>", "[PAD]")  # where a model has the first, its <pad> is not the blank
_DELIMITER = "|"


class WrongVocabulary(ValueError):
    """The model's vocabulary cannot be used for alignment; the message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Characters:
    """A vocabulary of single characters. `delimiter` is the token between words, None where there is none."""

    tokens: Mapping[str, int]
    blank: int
    delimiter: int | None = None

    @classmethod
    def of(cls, vocabulary: Mapping[str, int]) -> "Characters":
        """Read the content of a vocab.json; upper and lower case are the same. Raises WrongVocabulary."""
        blank = next((vocabulary[name] for name in _BLANKS if name in vocabulary), None)
        if blank is None:
            raise WrongVocabulary(
                "the model's vocabulary has no blank (<pad>): it is no CTC model of characters"
            )
        letters = {
            token.lower(): number
            for token, number in vocabulary.items()
            if len(token) == 1 and token != _DELIMITER
        }
        if not letters:
            raise WrongVocabulary("the model's vocabulary has no single characters to align")
        return cls(letters, blank, vocabulary.get(_DELIMITER))

    def tokens_of(self, spoken: str) -> list[int]:
        """The tokens of a spoken word; letters that the model lacks lose their accents, or are left out."""
        found: list[int] = []
        for character in spoken:
            if character in self.tokens:
                found.append(self.tokens[character])
                continue
            plain = unicodedata.normalize("NFD", character)[0]
            if plain in self.tokens:
                found.append(self.tokens[plain])
        return found


@dataclass(slots=True)
class Row:
    """All tokens of a segment in order. `words` has the tokens of each written word, as places in `tokens`."""

    tokens: list[int] = field(default_factory=list)
    words: list[range] = field(default_factory=list)


def row(characters: Characters, words: Sequence[Sequence[str]]) -> Row:
    """The tokens of a segment. `words` holds the spoken words of each written word; without any it gets no token."""
    made = Row()
    for spoken in words:
        begin = None
        for each in spoken:
            tokens = characters.tokens_of(each)
            if not tokens:
                continue
            if made.tokens and characters.delimiter is not None:
                made.tokens.append(characters.delimiter)
            begin = len(made.tokens) if begin is None else begin
            made.tokens += tokens
        made.words.append(range(begin, len(made.tokens)) if begin is not None else range(0))
    return made


def placed(made: Row, spans: Sequence[TokenSpan], frame_s: float, start_s: float) -> list[Placed | None]:
    """Times and confidence of each written word; None for a word without tokens.

    `frame_s` is the time from one frame to the next and `start_s` that of the first frame, seconds. The confidence
    is the mean probability of the word's frames.
    """
    found: list[Placed | None] = []
    for places in made.words:
        if not places:
            found.append(None)
            continue
        mine = [spans[place] for place in places]
        frames = sum(span.end - span.start for span in mine)
        sure = sum(span.probability * (span.end - span.start) for span in mine) / frames
        start, end = start_s + mine[0].start * frame_s, start_s + mine[-1].end * frame_s
        found.append(Placed(round(start, 3), round(end, 3), round(sure, 4)))
    return found
