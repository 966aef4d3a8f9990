"""The vote on the language: weighted by speech and certainty, decided once."""

import pytest

from fanscribe.contracts.task import TranscribeOutput
from fanscribe.contracts.transcript import Segment
from fanscribe.pipeline.language import ENOUGH_S, LanguageVote


def heard(language: str | None, speech_s: float, certainty: float | None = 1.0) -> TranscribeOutput:
    segments = [Segment(0.0, speech_s, "words")] if speech_s else []
    return TranscribeOutput(
        text="", language=language, language_probability=certainty, duration=60.0, segments=segments
    )


def test_enough_speech_in_one_language_makes_it_clear_once() -> None:
    vote = LanguageVote()
    assert vote.add(heard("de", ENOUGH_S - 1)) is None
    assert vote.add(heard("de", 1.0)) == "de"
    assert vote.decided is None, "that is for the caller to say"
    assert vote.add(heard("de", 100.0)) is None
    vote.decide("de")
    assert vote.decided == "de"
    vote.decide("fr")
    assert vote.decided == "de"


def test_certainty_counts_as_much_as_length() -> None:
    vote = LanguageVote()
    assert vote.add(heard("de", ENOUGH_S, certainty=0.5)) is None
    assert vote.add(heard("de", ENOUGH_S, certainty=None)) == "de"


def test_without_a_clear_majority_nothing_is_decided_before_the_end() -> None:
    vote = LanguageVote()
    for language, speech_s in (("de", 19.0), ("en", 17.0), ("de", 10.0), ("en", 5.0)):
        assert vote.add(heard(language, speech_s)) is None
    vote.close()
    assert vote.decided == "de"


@pytest.mark.parametrize("output", [heard(None, 100.0), heard("de", 0.0), heard("de", 100.0, certainty=0.0)])
def test_what_tells_nothing_decides_nothing(output: TranscribeOutput) -> None:
    vote = LanguageVote()
    assert vote.add(output) is None
    vote.close()
    assert vote.decided is None
    assert not vote.contradicts(output)


def test_a_language_that_is_known_stays() -> None:
    vote = LanguageVote("fr")
    assert vote.add(heard("de", 100.0)) is None
    vote.close()
    assert vote.decided == "fr"


def test_what_has_words_in_another_language_contradicts() -> None:
    vote = LanguageVote("fr")
    assert vote.contradicts(heard("de", 1.0))
    assert not vote.contradicts(heard("fr", 1.0))
    assert not vote.contradicts(heard("de", 0.0)), "silence is silence in every language"
