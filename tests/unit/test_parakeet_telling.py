from typing import Any

import numpy as np

from fanscribe.contracts.task import TranscribeInput, TranscribeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import SAMPLE_RATE, Task
from fanscribe_handlers.parakeet.telling import told
from fanscribe_handlers.parakeet.windows import Window
from fanscribe_handlers.parakeet.words import Token
from fanscribe_handlers.settings import read_variant

WINDOWS = [Window(0, 10, 0, 12), Window(10, 20, 8, 20)]


def variant(name: str = "parakeet-tdt-0.6b-v2") -> Variant:
    return read_variant({"FANSCRIBE_VARIANT": name}, "parakeet")


def said(text: str, first: float, apart: float = 0.5) -> list[Token]:
    """A token a word, each 0.3 s long, the first at a time."""
    return [
        Token(f" {word}", first + number * apart, first + number * apart + 0.3, 0.9)
        for number, word in enumerate(text.split())
    ]


def tell(tokens: list[list[Token]], windows: list[Window], name: str, **asked: Any) -> TranscribeResult:
    samples = np.zeros(20 * SAMPLE_RATE, dtype=np.float32)
    return told(Task(TranscribeInput(audio="data:,", **asked), samples), variant(name), windows, tokens)


def test_words_that_both_windows_heard_are_told_once() -> None:
    tokens = [said("we left. They came back", 7.0, 1.0), said("came back late.", 10.05 - 8, 1.0)]
    result = tell(tokens, WINDOWS, "parakeet-tdt-0.6b-v2")
    assert result.text == "we left. They came back late."
    assert [segment.text for segment in result.segments] == ["we left.", "They came back late."]
    words = [word for segment in result.segments for word in segment.words]
    assert [word.text for word in words] == result.text.split()
    assert (result.language, result.language_probability, result.duration) == ("en", None, 20)


def test_segments_without_words_where_no_word_times_were_asked_for() -> None:
    for timestamps in ("none", "segment"):
        result = tell(
            [said("one. two.", 1.0)], [Window(0, 20, 0, 20)], "parakeet-tdt-0.6b-v2", timestamps=timestamps
        )
        assert [(segment.text, segment.words) for segment in result.segments] == [("one.", []), ("two.", [])]


def test_text_without_punctuation_is_cut_at_pauses() -> None:
    tokens = [*said("so that is that", 1.0), *said("and now", 4.2)]
    result = tell([tokens], [Window(0, 20, 0, 20)], "parakeet-tdt-1.1b")
    assert [segment.text for segment in result.segments] == ["so that is that", "and now"]
    assert len(tell([tokens], [Window(0, 20, 0, 20)], "parakeet-tdt-0.6b-v2").segments) == 1


def test_nothing_heard_is_an_empty_answer() -> None:
    result = tell([[]], [Window(0, 20, 0, 20)], "parakeet-tdt-0.6b-v3")
    assert (result.text, result.segments, result.language) == ("", [], None)
