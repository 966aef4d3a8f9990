"""The parts of the Sortformer family that need no torch."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeInput
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import SAMPLE_RATE, InvalidTask
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.sortformer.activity import diarize_result, speaking
from fanscribe_handlers.sortformer.engine import refuse_too_many
from fanscribe_handlers.sortformer.options import Options, options_of
from fanscribe_handlers.sortformer.stitching import match, stitch
from fanscribe_handlers.sortformer.windows import (
    FRAME,
    FRAME_S,
    LONGEST_S,
    ON_CPU_S,
    SHORTEST_S,
    Window,
    lay_out,
    longest_s,
)
from fanscribe_handlers.speakers import Bounds

ANY = Bounds()


def heard(frames: int, **spans: tuple[int, int, float]) -> NDArray[np.float32]:
    """Probabilities of four speakers: a=(first, last, value) for the first of them, and so on."""
    values = np.zeros((frames, 4), np.float32)
    for name, (first, last, value) in spans.items():
        values[first:last, "abcd".index(name[0])] = value
    return values


def test_a_short_recording_is_one_window() -> None:
    assert lay_out(10 * SAMPLE_RATE, 90) == [Window(0, 125)]
    assert lay_out(FRAME + 1, 90) == [Window(0, 2)]
    assert lay_out(0, 90) == []


def test_windows_of_a_long_recording_are_equal_and_overlap() -> None:
    windows = lay_out(200 * SAMPLE_RATE, 90)
    assert [(window.first, window.last) for window in windows] == [(0, 1125), (688, 1813), (1375, 2500)]
    assert windows[1].samples == slice(688 * FRAME, 1813 * FRAME)


def test_an_overlap_must_leave_something_new() -> None:
    with pytest.raises(ValueError, match="too short for an overlap"):
        lay_out(SAMPLE_RATE, 60, 30)


@pytest.mark.parametrize(
    ("free", "seconds"),
    [(0, ON_CPU_S), (100_000_000, SHORTEST_S), (24_000_000_000, 455), (200_000_000_000, LONGEST_S)],
)
def test_the_window_fits_the_memory(free: int, seconds: int) -> None:
    assert longest_s(free) == seconds


def test_speakers_are_recognised_in_the_overlap() -> None:
    """The second window begins while only the second speaker talks, so it numbers him first."""
    first = heard(100, a=(0, 60, 0.9), b=(60, 100, 0.8))
    second = heard(100, a=(0, 50, 0.8), b=(70, 100, 0.9))
    whole = stitch([first, second], [Window(0, 100), Window(60, 160)])
    expected = heard(160, a=(0, 60, 0.9), b=(60, 110, 0.8))
    expected[130:160, 0] = 0.9  # who was silent in the overlap is taken for somebody known
    assert np.allclose(whole, expected)


def test_a_third_voice_gets_a_place_of_its_own() -> None:
    first = heard(100, a=(0, 100, 0.9), b=(50, 100, 0.9))
    second = heard(100, a=(0, 40, 0.9), b=(0, 40, 0.9), c=(60, 100, 0.9))
    second[20:40, 1] = 0
    assert match(first, second, 40)[:2] == [0, 1]
    whole = stitch([first, second], [Window(0, 100), Window(60, 160)])
    assert whole[130].tolist() == pytest.approx([0, 0, 0.9, 0])


def test_the_middle_of_an_overlap_divides() -> None:
    first, second = heard(10, a=(0, 10, 0.6)), heard(10, a=(0, 10, 0.9))
    whole = stitch([first, second], [Window(0, 10), Window(6, 16)])
    assert whole[:, 0] == pytest.approx([0.6] * 8 + [0.9] * 8)


def test_windows_without_overlap_or_speech() -> None:
    nothing = np.zeros((10, 4), np.float32)
    whole = stitch([nothing, heard(10, a=(0, 10, 0.9))], [Window(0, 10), Window(10, 20)])
    assert whole[15].max() == pytest.approx(0.9)
    assert stitch([], []).shape == (0, 0)


def test_turns_in_seconds_and_in_order_of_speech() -> None:
    values = heard(100, b=(0, 50, 0.9), a=(40, 80, 0.7))
    result = diarize_result(values, ANY, 100 * FRAME_S)
    assert result.segments == [Turn(0.0, 4.0, "SPEAKER_00"), Turn(3.2, 6.4, "SPEAKER_01")]
    assert result.exclusive_segments == [Turn(0.0, 4.0, "SPEAKER_00"), Turn(4.0, 6.4, "SPEAKER_01")]
    assert result.num_speakers == 2
    assert result.embeddings == {}


def test_turns_end_with_the_recording() -> None:
    assert diarize_result(heard(100, a=(90, 100, 1.0)), ANY, 7.95).segments == [Turn(7.2, 7.95, "SPEAKER_00")]
    empty = diarize_result(heard(5), ANY, 0.4)
    assert (empty.segments, empty.num_speakers) == ([], 0)


def test_too_many_speakers_are_folded_into_the_likeliest() -> None:
    values = heard(100, a=(0, 60, 0.9), b=(50, 95, 0.8), c=(60, 70, 0.6))
    values[95:100, 2] = 0.9
    values[95:100, 0] = 0.2
    active = speaking(values, Bounds(1, 2))
    assert active.any(axis=0).tolist() == [True, True, False, False]
    assert np.array_equal(active[:95, 1], values[:95, 1] >= 0.5)
    assert active[95:100].tolist() == [[True, False, False, False]] * 5
    assert np.array_equal(active.any(axis=1), (values >= 0.5).any(axis=1))  # nothing said is lost


def test_too_few_speakers_lower_the_threshold() -> None:
    values = heard(100, a=(0, 60, 0.9), b=(60, 100, 0.4), c=(0, 100, 0.05))
    assert speaking(values, ANY).any(axis=0).sum() == 1
    active = speaking(values, Bounds(3, 3))
    assert active[:, 1].tolist() == [False] * 60 + [True] * 40
    assert not active[:, 2].any()  # nobody is made up


@pytest.mark.parametrize("field", ["num_speakers", "min_speakers"])
def test_more_speakers_than_the_model_knows(field: str) -> None:
    refuse_too_many(DiarizeInput.model_validate({"audio": "data:,", field: 4}), 4)
    with pytest.raises(InvalidTask, match=rf"field {field}: the model tells at most 4 speakers apart, not 5"):
        refuse_too_many(DiarizeInput.model_validate({"audio": "data:,", field: 5}), 4)


def test_a_generous_upper_bound_is_no_fault() -> None:
    refuse_too_many(DiarizeInput(audio="data:,", max_speakers=9), 4)


def variant(**options: str | int | float | bool) -> Variant:
    found = read_variant({"FANSCRIBE_VARIANT": "sortformer-4spk-v1"}, "sortformer")
    return found.model_copy(update={"options": options})


def test_options() -> None:
    assert options_of(variant()) == Options(None, "bfloat16")
    assert options_of(variant(window_s=120, precision="float32")) == Options(120, "float32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1}, "no option 'threshold'; use window_s, precision"),
        ({"window_s": 30}, "option window_s is 30; give whole seconds from 90 to 720"),
        ({"window_s": 99.5}, "option window_s is 99.5"),
        ({"precision": "int8"}, "option precision is 'int8'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options_of(variant(**options))


def test_the_variants_say_how_many_speakers() -> None:
    for name in ("sortformer-4spk-v1", "sortformer-streaming-4spk-v2.1"):
        assert read_variant({"FANSCRIBE_VARIANT": name}, "sortformer").capabilities.max_speakers == 4
