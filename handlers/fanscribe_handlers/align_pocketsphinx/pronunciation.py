"""How an English word that is in no dictionary is said, as ARPAbet phones (CMU's 39, without stress). Pure.

Rules from letters to phones, longest spelling first. They are right about most consonants and often wrong about
vowels, which is enough here: a forced alignment only needs the word's length and its outline.
"""

import re
import unicodedata
from collections.abc import Callable

Lookup = Callable[[str], str | None]
"""A dictionary: the phones of a word, separated by spaces, or None."""

_SPELLINGS = """
augh=AO ough=AO eigh=EY aigh=EY igh=AY tion=SH_AH_N sion=ZH_AH_N cian=SH_AH_N cial=SH_AH_L tial=SH_AH_L
tious=SH_AH_S cious=SH_AH_S geous=JH_AH_S ture=CH_ER sure=ZH_ER tch=CH dge=JH sch=S_K shr=SH_R
air=EH_R ear=IH_R eer=IH_R eir=EH_R ier=IY_R oar=AO_R oor=AO_R our=AO_R are=EH_R ere=IH_R ire=AY_R ore=AO_R
ure=Y_UH_R eau=OW oui=W_IY ck=K ch=CH sh=SH th=TH ph=F wh=W qu=K_W gh=G kn=N wr=R ps=P_S pn=N rh=R gn=N
ng=NG nk=NG_K zz=Z ss=S ll=L tt=T pp=P bb=B dd=D ff=F gg=G cc=K mm=M nn=N rr=R sc=S_K
ai=EY ay=EY au=AO aw=AO ea=IY ee=IY ei=EY eu=UW ew=UW ey=IY ie=IY oa=OW oe=OW oi=OY oo=UW ou=AW ow=OW oy=OY
ue=UW ui=UW uy=AY ar=AA_R er=ER ir=ER or=AO_R ur=ER yr=ER
a=AE b=B c=K d=D e=EH f=F g=G h=HH i=IH j=JH k=K l=L m=M n=N o=AA p=P q=K r=R s=S t=T u=AH v=V w=W x=K_S
y=IY z=Z
"""
_PHONES = {
    spelling: tuple(phones.split("_"))
    for spelling, phones in (each.split("=") for each in _SPELLINGS.split())
}
_LONGEST = max(map(len, _PHONES))
_SOFT = {"c": ("S",), "g": ("JH",), "sc": ("S",), "cc": ("K", "S")}  # before e, i and y
_FINAL = {
    "nge": ("N", "JH"),
    "o": ("OW",),
    "a": ("AH",),
    "i": ("IY",),
    "es": ("Z",),
    "ed": ("D",),
    "le": ("AH", "L"),
}
_SILENT_E = re.compile("([aeiou])([bcdfgklmnpstvz])e$")
_LONG_VOWELS = {"a": ("EY",), "e": ("IY",), "i": ("AY",), "o": ("OW",), "u": ("UW",)}
_VOWELS = frozenset("aeiouy")
_HISSING = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
_VOICELESS = frozenset(("P", "T", "K", "F", "TH"))


def pronounce(word: str, lookup: Lookup) -> list[str]:
    """The phones of a lower-case word; none for one without Latin letters.

    The dictionary's own where it has the word, or the word without accents or without a possessive 's; else an
    abbreviation without vowels is said letter by letter, and everything else goes by the rules.
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFD", word) if letter.isascii())
    for candidate in (word, plain):
        if candidate and (known := lookup(candidate)) is not None:
            return known.split()
    if plain.endswith("'s") and (stem := pronounce(plain[:-2], lookup)):
        return [*stem, *_plural(stem[-1])]
    letters = [letter for letter in plain if "a" <= letter <= "z"]
    if letters and not _VOWELS.intersection(letters):
        return [phone for letter in letters for phone in (lookup(letter) or "").split()]
    return _by_rule("".join(letters))


def _plural(last: str) -> tuple[str, ...]:
    if last in _HISSING:
        return ("IH", "Z")
    return ("S",) if last in _VOICELESS else ("Z",)


def _by_rule(letters: str) -> list[str]:
    phones: list[str] = []
    at = 0
    silent = _SILENT_E.search(letters)
    while at < len(letters):
        rest = letters[at:]
        if at and rest in _FINAL:
            phones += _FINAL[rest]
            break
        if at and rest == "e":
            break
        if silent is not None and at == silent.start():
            phones += _LONG_VOWELS[silent[1]]
            at += 1
            continue
        length = next(size for size in range(min(_LONGEST, len(rest)), 0, -1) if rest[:size] in _PHONES)
        spelling = rest[:length]
        follower = rest[length : length + 1]
        if spelling in _SOFT and follower and follower in "eiy":
            phones += _SOFT[spelling]
        elif spelling == "y" and at == 0:
            phones.append("Y")
        else:
            phones += _PHONES[spelling]
        at += length
    return phones
