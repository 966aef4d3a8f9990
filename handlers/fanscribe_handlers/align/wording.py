"""What is written, and what was said: written words of a segment, and the spoken words that each stands for. Pure."""

import re
import unicodedata
from dataclasses import replace
from itertools import groupby

from fanscribe.contracts.transcript import Segment, Word
from fanscribe.spacing import unspaced

_APOSTROPHES = str.maketrans("’‘ʼ＇`", "'''''")  # noqa: RUF001
_NUMBER = re.compile(
    r"(?P<sign>[$€£¥]?)(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<tail>%|(?:st|nd|rd|th|s)\b)?"
)
_ENGLISH_SIGNS = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "%": "percent"}
_LONGEST_NUMBER = 15
"""Digits. Longer ones (accounts, telephones) are not read as one number but digit by digit."""

_YEARS = range(1100, 2100)
"""Four digits in this range are read as a year: nineteen eighty-four."""


def written_words(segment: Segment) -> list[Word]:
    """The segment's words, as they are written and without times worth keeping.

    Those that came with it are taken as they are; else its text is cut at spaces, and in scripts without
    spaces at every character. Every visible character of the text is in one of the words.
    """
    if segment.words:
        return [replace(word) for word in segment.words]
    words: list[str] = []
    for token in segment.text.split():
        for apart, run in groupby(token, _stands_alone):
            together = "".join(run)
            words += together if apart else [together]
    return [Word(text, segment.start, segment.end, speaker=segment.speaker) for text in _attached(words)]


def _stands_alone(character: str) -> bool:
    return unspaced(character) and character.isalnum()


def _attached(words: list[str]) -> list[str]:
    """Marks without a letter or digit (a full stop between two characters) joined to the word before them."""
    attached: list[str] = []
    for word in words:
        if attached and unspaced(word[0]) and not any(map(str.isalnum, word)):
            attached[-1] += word
        else:
            attached.append(word)
    return attached


def spoken_words(text: str, language: str) -> list[str]:
    """The words that a reader says for one written word: lower case, letters with their marks, apostrophes.

    Numbers are spelled out where num2words knows the language, percent and currency signs in English. A number
    that cannot be spelled stays as digits; nothing is left of a word that is all punctuation.
    """
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
    text = _NUMBER.sub(lambda found: f" {_spelled(found, language)} ", text).lower()
    kept = "".join(letter if _part_of_word(letter) else " " for letter in text)
    return [word.strip("'") for word in kept.split() if word.strip("'")]


def _part_of_word(character: str) -> bool:
    return character == "'" or character.isalnum() or unicodedata.category(character).startswith("M")


def _spelled(found: re.Match[str], language: str) -> str:
    number, tail = found["number"].replace(",", ""), found["tail"] or ""
    if len(number) > _LONGEST_NUMBER:
        said = " ".join(_in_words(digit, "cardinal", language) for digit in number if digit.isdigit())
    elif tail in ("st", "nd", "rd", "th") and number.isdigit():
        said, tail = _in_words(number, "ordinal", language), ""
    elif number.isdigit() and len(found["number"]) == 4 and int(number) in _YEARS and not found["sign"]:
        said = _in_words(number, "year", language)
    else:
        said = _in_words(number, "cardinal", language)
    if language == "en":
        signs = (_ENGLISH_SIGNS.get(found["sign"]), _ENGLISH_SIGNS.get(tail))
        said = " ".join([said, *(sign for sign in signs if sign)])
    if tail == "s":  # the 1990s, in her forties
        return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"
    return said


def _in_words(number: str, kind: str, language: str) -> str:
    from num2words import num2words

    try:
        said: str = num2words(number, lang=language, to=kind)
    except (NotImplementedError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError):
        # Languages lack some kinds, and say so in many ways.
        if kind != "cardinal":
            return _in_words(number, "cardinal", language)
        return number
    return said
