"""The file of learned factors: a mean that follows the newest, and survives damage and company."""

import multiprocessing
from pathlib import Path

import pytest

from fanscribe.results.learned import HIGHEST, Factor, LearnedFactors, Observation


def seen(ratio: float, endpoint: str = "whisper", what: str = "inference") -> Observation:
    return Observation(endpoint, what, 10.0, 10.0 * ratio)


def test_nothing_learned_is_a_factor_of_one(tmp_path: Path) -> None:
    assert LearnedFactors(tmp_path / "learned.json").factor("whisper", "load") == Factor(1.0, 0)


def test_the_first_observation_counts_whole_and_later_ones_move_it(tmp_path: Path) -> None:
    learned = LearnedFactors(tmp_path / "deep" / "learned.json")
    learned.learn([seen(2.0)])
    assert learned.factor("whisper", "inference").value == pytest.approx(2.0, abs=1e-3)
    learned.learn([seen(0.5)])
    assert learned.factor("whisper", "inference").value == pytest.approx(1.0, abs=1e-3)
    learned.learn(seen(1.5) for _ in range(30))
    assert learned.factor("whisper", "inference").value == pytest.approx(1.5, rel=0.01)
    assert LearnedFactors(tmp_path / "deep" / "learned.json").factor("whisper", "inference").count == 32


def test_times_and_endpoints_are_apart(tmp_path: Path) -> None:
    learned = LearnedFactors(tmp_path / "learned.json")
    learned.learn([seen(2.0), seen(3.0, what="load"), seen(4.0, endpoint="other")])
    assert learned.factor("whisper", "inference").value == pytest.approx(2.0, abs=1e-3)
    assert learned.factor("whisper", "load").value == pytest.approx(3.0, abs=1e-3)
    assert learned.factor("other", "inference").value == pytest.approx(4.0, abs=1e-3)


def test_accidents_are_bounded_and_zeros_left_out(tmp_path: Path) -> None:
    learned = LearnedFactors(tmp_path / "learned.json")
    learned.learn([Observation("whisper", "load", 0.0, 3.0), Observation("whisper", "load", 3.0, 0.0)])
    assert learned.factor("whisper", "load").count == 0
    learned.learn([seen(1e6)])
    assert learned.factor("whisper", "inference").value == pytest.approx(HIGHEST)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"b": {"factor": 1e9, "count": 1}}}'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "learned.json"
    file.write_text(text)
    learned = LearnedFactors(file)
    assert learned.factor("a", "b") == Factor()
    learned.learn([seen(2.0)])
    assert learned.factor("whisper", "inference").count == 1


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    LearnedFactors(tmp_path / "file" / "learned.json").learn([seen(2.0)])
    assert "nothing is learned" in caplog.text


def _learn_often(file: Path) -> None:
    for _ in range(50):
        LearnedFactors(file).learn([seen(1.2)])


def test_no_observation_of_several_processes_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "learned.json"
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_learn_often, args=(file,)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join(30)
    assert LearnedFactors(file).factor("whisper", "inference").count == 100
