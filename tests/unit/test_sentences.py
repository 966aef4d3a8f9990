from itertools import pairwise

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.sentences import sentences


def words(*timed: tuple[str, float, float]) -> list[Word]:
    return [Word(text.strip(), start, end) for text, start, end in timed]


def test_segments_keep_sentences() -> None:
    written = [" Mr.", " Bell", " said:", " “Stop.”", " Then", " silence", " came"]
    found = words(*((text, at, at + 0.5) for at, text in enumerate(written)))
    found[6].start, found[6].end = 9.0, 9.5
    assert [segment.text for segment in sentences(found, written)] == [
        "Mr. Bell said: “Stop.”",
        "Then silence",
        "came",
    ]


def test_languages_without_spaces_keep_their_text() -> None:
    written = ["你", "好。", "再见"]
    found = words(*((text, at, at + 0.5) for at, text in enumerate(written)))
    first, second = sentences(found, written)
    assert (first.text, second.text) == ("你好。", "再见")
    assert (second.start, second.end) == (2, 2.5)


def test_no_words_no_segments() -> None:
    assert sentences([], []) == []


def test_a_long_stretch_without_punctuation_is_cut_at_its_longest_pauses() -> None:
    starts = [0.0, 1.0, 2.0, 3.5, 4.5, 5.5, 6.9, 7.9]
    found = words(*((f"w{number}", at, at + 0.9) for number, at in enumerate(starts)))
    segments = sentences(found, [f" {word.text}" for word in found], longest_s=4.0)
    assert [segment.text for segment in segments] == ["w0 w1 w2", "w3 w4 w5", "w6 w7"]
    assert all(segment.end - segment.start <= 4.0 for segment in segments)
    assert all(a.end <= b.start for a, b in pairwise(segments))


def test_a_shorter_pause_can_end_a_segment() -> None:
    found = words(("yes", 0.0, 0.5), ("no", 1.5, 2.0))
    assert len(sentences(found, [" yes", " no"])) == 1
    assert len(sentences(found, [" yes", " no"], pause_s=0.8)) == 2


def test_a_single_word_that_is_too_long_stays_whole() -> None:
    assert len(sentences(words(("aaah", 0.0, 9.0)), [" aaah"], longest_s=4.0)) == 1
