import pytest

from fanscribe.contracts.transcript import Segment, Word
from fanscribe_handlers.align.wording import spoken_words, written_words


@pytest.mark.parametrize(
    ("written", "language", "spoken"),
    [
        ("Hello,", "en", "hello"),
        ("“Don’t!”", "en", "don't"),  # noqa: RUF001
        ("'tis", "en", "tis"),
        ("well-known", "en", "well known"),
        ("—", "en", ""),
        ("42", "en", "forty two"),
        ("1,250.5", "en", "one thousand two hundred and fifty point five"),
        ("3rd", "en", "third"),
        ("1984", "en", "nineteen eighty four"),
        ("1990s", "en", "nineteen nineties"),
        ("$5", "en", "five dollars"),
        ("50%.", "en", "fifty percent"),
        ("COVID-19", "en", "covid nineteen"),
        ("42", "de", "zweiundvierzig"),
        ("21", "xx", "21"),
        (
            "4916012345678901",
            "en",
            "four nine one six zero one two three four five six seven eight nine zero one",
        ),
        ("Ñandú", "es", "ñandú"),
        ("Привет!", "ru", "привет"),
        ("नमस्ते", "hi", "नमस्ते"),
    ],
)
def test_what_a_written_word_sounds_like(written: str, language: str, spoken: str) -> None:
    assert " ".join(spoken_words(written, language)) == spoken


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  So, what?  Nothing. ", ["So,", "what?", "Nothing."]),
        ("你好。世界", ["你", "好。", "世", "界"]),
        ("用iPhone吗?", ["用", "iPhone", "吗", "?"]),
        ("안녕하세요 여러분", ["안녕하세요", "여러분"]),
        ("", []),
    ],
)
def test_a_text_is_cut_into_words_and_nothing_is_lost(text: str, words: list[str]) -> None:
    found = [word.text for word in written_words(Segment(0, 1, text))]
    assert found == words
    assert "".join(found) == "".join(text.split())


def test_words_that_come_along_stay_as_they_are() -> None:
    given = [Word("New York", 0.1, 0.4, 0.8, "SPEAKER_00"), Word("is", 0.4, 0.5)]
    found = written_words(Segment(0, 1, "New York is", words=given))
    assert found == given
    assert found[0] is not given[0]
