import json
import math
from pathlib import Path

import pytest
from tools import score as scoring
from tools.score import Rate, cpwer, der, pooled, read_rttm, read_stm, score, wer

MEETEVAL_CASES = [
    ([("a", "the cat"), ("b", "sat on")], [("x", "the cat sat"), ("y", "on")]),
    ([("a", "good morning tom"), ("b", "did you sleep")], [("2", "did you leap"), ("1", "good morning tom")]),
    (
        [("a", "one red lamp"), ("b", "two blue chairs"), ("c", "no")],
        [("x", "one red lamp two blue"), ("y", "chairs")],
    ),
    ([("a", "only one speaks here")], [("x", "only one"), ("y", "speaks here"), ("z", "and nobody else")]),
]


def test_wer_counts_after_normalising() -> None:
    rate = wer([("a", "It's the harbour, Mr. Smith!")], [("x", "it is the harbor mister smith")])
    assert rate == Rate(0, 6)


def test_wer_does_not_care_who_speaks() -> None:
    said = [("a", "one lamp"), ("b", "two chairs")]
    assert wer(said, [("x", "one lamp two chairs")]).errors == 0
    assert wer(said, [("x", "one lamp two")]).percent == 25.0


def test_cpwer_pairs_speakers_by_their_words() -> None:
    said = [("a", "one lamp"), ("b", "two chairs")]
    assert cpwer(said, [("1", "two chairs"), ("0", "one lamp")]).errors == 0


def test_a_word_with_the_wrong_speaker_costs_two() -> None:
    said = [("a", "the cat"), ("b", "sat on")]
    rate = cpwer(said, [("x", "the cat sat"), ("y", "on")])
    assert (rate.errors, rate.total) == (2, 4)


@pytest.mark.parametrize(("said", "heard"), MEETEVAL_CASES)
def test_cpwer_agrees_with_meeteval(said: list[tuple[str, str]], heard: list[tuple[str, str]]) -> None:
    from meeteval.wer import cp_word_error_rate

    expected = cp_word_error_rate(
        {who: " ".join(scoring.words(text)) for who, text in said},
        {who: " ".join(scoring.words(text)) for who, text in heard},
    )
    assert cpwer(said, heard) == Rate(expected.errors, expected.length)


def test_nothing_said_and_nothing_heard_is_no_error() -> None:
    assert wer([], []).percent == 0.0
    assert cpwer([], []).percent == 0.0


def test_invented_words_have_no_finite_rate() -> None:
    assert math.isinf(cpwer([], [("x", "thank you")]).percent)


def test_der_adds_missed_invented_and_confused_seconds() -> None:
    said = [(0.0, 4.0, "a"), (4.0, 8.0, "b")]
    assert der(said, [(0.0, 4.0, "x"), (4.0, 8.0, "y")]) == Rate(0, 8)
    missed = der(said, [(0.0, 4.0, "x"), (4.0, 7.0, "y")])
    invented = der(said, [(0.0, 4.0, "x"), (4.0, 9.0, "y")])
    confused = der(said, [(0.0, 5.0, "x"), (5.0, 8.0, "y")])
    assert [rate.errors for rate in (missed, invented, confused)] == pytest.approx([1.0, 1.0, 1.0])


def test_der_counts_overlapped_speech_of_each_speaker() -> None:
    said = [(0.0, 4.0, "a"), (3.0, 6.0, "b")]
    rate = der(said, [(0.0, 3.0, "x"), (3.0, 6.0, "y")])
    assert (rate.errors, rate.total) == pytest.approx((1.0, 7.0))


def test_pooling_weighs_by_length() -> None:
    assert pooled([Rate(1, 10), Rate(1, 90)]).percent == 2.0


def test_stm_is_read_in_order_of_time_without_labels(tmp_path: Path) -> None:
    file = tmp_path / "a.stm"
    file.write_text(";; a comment\na 1 bo 2.0 3.0 <o,f0> second one\n\na 1 al 0.5 1.0 First.\na 1 al 4 5\n")
    assert read_stm(file) == [("al", "First."), ("bo", " second one"), ("al", "")]


def test_a_broken_stm_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.stm"
    file.write_text("a 1 bo 2.0 3.0 fine\na 1 bo\n")
    with pytest.raises(ValueError, match=r"a\.stm, line 2"):
        read_stm(file)


def test_rttm_gives_ends(tmp_path: Path) -> None:
    file = tmp_path / "a.rttm"
    file.write_text("SPEAKER a 1 0.500 1.250 <NA> <NA> al <NA> <NA>\nSPKR-INFO a 1 <NA>\n")
    assert read_rttm(file) == [(0.5, 1.75, "al")]


def _transcript() -> dict[str, object]:
    return {
        "duration": 4.0,
        "segments": [
            {"start": 0.0, "end": 2.0, "text": "One lamp.", "speaker": "SPEAKER_00"},
            {"start": 2.0, "end": 4.0, "text": "Two chairs.", "speaker": "SPEAKER_01"},
        ],
        "turns": [
            {"start": 0.0, "end": 2.0, "speaker": "SPEAKER_00"},
            {"start": 2.0, "end": 4.0, "speaker": "SPEAKER_01"},
        ],
    }


def test_score_of_a_native_transcript() -> None:
    turns = [(0.0, 2.0, "a"), (2.0, 4.0, "b")]
    found = score(_transcript(), [("a", "one lamp"), ("b", "two stools")], turns)
    assert found.wer == Rate(1, 4)
    assert found.cpwer == Rate(1, 4)
    assert found.der == Rate(0, 4)


def test_a_transcript_without_speakers_is_one_voice() -> None:
    transcript = _transcript()
    transcript["segments"] = [{"start": 0, "end": 4, "text": "One lamp. Two chairs.", "speaker": None}]
    found = score(transcript, [("a", "one lamp"), ("b", "two chairs")])
    assert found.wer.errors == 0
    assert found.cpwer.errors == 4
    assert found.der is None


def test_command_line_prints_each_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text(json.dumps(_transcript()))
    (tmp_path / "r.stm").write_text("r 1 a 0 2 one lamp\nr 1 b 2 4 two stools\n")
    (tmp_path / "r.rttm").write_text(
        "SPEAKER r 1 0 2 <NA> <NA> a <NA> <NA>\nSPEAKER r 1 2 1 <NA> <NA> b <NA> <NA>\n"
    )
    scoring.main([str(tmp_path / name) for name in ("t.json", "r.stm", "r.rttm")])
    printed = capsys.readouterr().out
    assert "WER    25.0 %  (1 of 4 words)" in printed
    assert "cpWER  25.0 %" in printed
    assert "DER    33.3 %  (1.0 of 3.0 s of speech)" in printed
