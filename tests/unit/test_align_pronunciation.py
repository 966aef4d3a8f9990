import pytest

from fanscribe_handlers.align_pocketsphinx.pronunciation import pronounce

KNOWN = {"f": "EH F", "b": "B IY", "dog": "D AO G", "cafe": "K AH F EY", "box": "B AA K S", "cat": "K AE T"}
CMU_PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
)


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("dog", "D AO G"),
        ("café", "K AH F EY"),
        ("dog's", "D AO G Z"),
        ("cat's", "K AE T S"),
        ("box's", "B AA K S IH Z"),
        ("bbf", "B IY B IY EH F"),
        ("zate", "Z EY T"),
        ("cinge", "S IH N JH"),
        ("yordle", "Y AO R D AH L"),
        ("shrinking", "SH R IH NG K IH NG"),
        ("phonation", "F AA N AE SH AH N"),
        ("москва", ""),
        ("天", ""),
        ("'", ""),
    ],
)
def test_pronunciation(word: str, phones: str) -> None:
    assert " ".join(pronounce(word, KNOWN.get)) == phones


@pytest.mark.parametrize("word", ["xqzy", "aeiou", "eee", "rhythms", "jzxq'ae", "ooooo", "thththa", "ngnge"])
def test_every_word_of_letters_gets_phones_of_the_model(word: str) -> None:
    phones = pronounce(word, dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "EH").get)
    assert phones
    assert set(phones) <= set(CMU_PHONES.split())
