from typing import Any

import pytest

from fanscribe.contracts.transcript import Segment
from fanscribe_handlers.whisperx.segments import aligned_segments, heard_segments, without_words


def word(text: str, start: float | None = None, end: float | None = None, score: float | None = None) -> Any:
    given = {"word": text, "start": start, "end": end, "score": score}
    return {name: value for name, value in given.items() if value is not None}


def test_what_was_heard() -> None:
    told = [{"start": 0.5, "end": 3, "text": " Hello. "}, {"start": 4, "end": 5, "text": "  "}]
    assert heard_segments(told) == [Segment(0.5, 3, "Hello.")]


def test_sentences_are_made_of_the_timed_words() -> None:
    heard = Segment(0.0, 6.0, "Hello there. It is 42 now.")
    told = [
        {
            "words": [
                word("Hello", 0.5, 0.9, 0.8),
                word("there.", 1.0, 1.4, 0.9),
                word("It", 2.0, 2.1, 0.7),
                word("is", 2.2, 2.3, 0.6),
                word("42", 2.2, 2.3),  # taken from its neighbour, without a score
                word("now.", 3.3, 3.6, float("nan")),
            ]
        }
    ]
    first, second = aligned_segments(heard, told, "en")
    assert (first.text, first.start, first.end) == ("Hello there.", 0.5, 1.4)
    assert (second.text, second.start, second.end) == ("It is 42 now.", 2.0, 6.0)
    assert [each.confidence for each in second.words] == [0.7, 0.6, None, None]
    times = [time for each in second.words for time in (each.start, each.end)]
    assert times == sorted(times)


def test_times_never_go_back() -> None:
    told = [{"words": [word("a", 1.0, 1.5, 0.5), word("b", 1.2, 1.3, 2.0)]}]
    (found,) = aligned_segments(Segment(0, 2, "a b"), told, "en")
    assert [(each.start, each.end, each.confidence) for each in found.words] == [
        (1.0, 1.5, 0.5),
        (1.5, 1.5, 1.0),
    ]


@pytest.mark.parametrize("told", [[], [{"words": []}], [{"words": [word("other", 1, 2, 0.5)]}]])
def test_text_that_was_not_aligned_is_kept(told: list[Any]) -> None:
    (found,) = aligned_segments(Segment(1.0, 2.0, "Two words"), told, "en")
    assert [each.text for each in found.words] == ["Two", "words"]
    assert found.words[0].start == 1.0
    assert found.words[1].end == pytest.approx(2.0)


def test_characters_are_joined_where_the_script_has_no_spaces() -> None:
    told = [{"words": [word("你", 0.1, 0.2, 0.5), word("好", 0.2, 0.3, 0.5)]}]
    (found,) = aligned_segments(Segment(0, 1, "你好"), told, "zh")
    assert found.text == "你好"
    assert without_words([found])[0].words == []
    assert found.words
