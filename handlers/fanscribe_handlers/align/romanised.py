"""Any script in the letters a to z and the apostrophe, for models that know only those (MMS). Imports uroman."""

import re
import unicodedata
from typing import Any

_OTHER = re.compile("[^a-z']")

_ISO_639_3 = dict(
    pair.split(":")
    for pair in [
        "ar:ara",
        "be:bel",
        "bg:bul",
        "de:deu",
        "el:ell",
        "en:eng",
        "fa:fas",
        "kk:kaz",
        "ky:kir",
        "lt:lit",
        "lv:lav",
        "mk:mkd",
        "os:oss",
        "ps:pus",
        "ru:rus",
        "sr:srp",
        "tr:tur",
        "ug:uig",
        "uk:ukr",
        "yi:yid",
    ]
)
"""The languages for which uroman has rules of their own; it knows them by their three-letter codes."""


class Romaniser:
    """uroman, which takes seconds and some 100 MB to load; made once."""

    def __init__(self) -> None:
        from uroman import Uroman

        self._uroman: Any = Uroman()

    def __call__(self, spoken: str, language: str) -> str:
        """`spoken` in lower-case Latin letters; what has no letters (digits) gives nothing.

        `language` is an ISO 639 code.
        """
        code = _ISO_639_3.get(language, language if len(language) == 3 else None)
        plain = unicodedata.normalize("NFKC", spoken)
        return _OTHER.sub("", str(self._uroman.romanize_string(plain, lcode=code)).lower())
