from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe_handlers.parakeet.windows import MARGIN_S, Window, batches, heard_in, sounding, windows

RATE = 16_000


def noise(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    samples = np.random.default_rng(0).normal(0, level, round(seconds * RATE))
    return samples.astype(np.float32)


def test_short_audio_is_heard_whole() -> None:
    assert windows(noise(30), 30, skip_silence=True) == [Window(0, 30, 0, 30)]


def test_long_audio_is_cut_evenly_at_quiet_moments_with_margins() -> None:
    samples = noise(100)
    quiet = [(24.0, 24.5), (51.0, 51.4), (76.0, 76.2)]
    for start, end in quiet:
        samples[round(start * RATE) : round(end * RATE)] *= 0.001
    found = windows(samples, 40, skip_silence=False)
    assert (found[0].start, found[-1].end) == (0, 100)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert all(any(start <= window.end <= end for start, end in quiet) for window in found[:-1])
    assert all(window.heard_s <= 40 for window in found)
    assert all(window.heard_start == window.start - MARGIN_S for window in found[1:])
    assert all(window.heard_end == window.end + MARGIN_S for window in found[:-1])


def test_long_silence_is_left_out_but_for_its_edges() -> None:
    samples = np.concatenate(
        [np.zeros(5 * RATE, np.float32), noise(2), np.zeros(8 * RATE, np.float32), noise(3)]
    )
    assert sounding(samples) == [pytest.approx((4.6, 7.4), abs=0.01), pytest.approx((14.6, 18.0), abs=0.01)]
    assert windows(samples, 30, skip_silence=False) == [Window(0, 18, 0, 18)]


def test_a_short_pause_is_kept() -> None:
    samples = np.concatenate([noise(2), np.zeros(RATE, np.float32), noise(2)])
    assert sounding(samples) == [(0.0, 5.0)]


def test_quiet_speech_is_no_silence() -> None:
    assert sounding(noise(10, level=0.0005)) == [(0.0, 10.0)]


def test_silence_needs_no_window() -> None:
    silent = np.zeros(100 * RATE, np.float32)
    assert windows(silent, 30, skip_silence=True) == []
    assert sum(window.end - window.start for window in windows(silent, 30, skip_silence=False)) == 100


def test_a_window_hears_its_samples() -> None:
    samples = np.arange(10 * RATE, dtype=np.float32)
    heard = heard_in(samples, Window(2, 3, 1.5, 4))
    assert (heard[0], len(heard)) == (1.5 * RATE, 2.5 * RATE)


def lasting(*seconds: float) -> list[Window]:
    return [Window(0, each, 0, each) for each in seconds]


def test_batches_hold_similar_lengths_within_the_budget() -> None:
    found = batches(lasting(10, 60, 12, 55, 11), budget_s=120, most=16)
    assert found == [[1, 3], [2, 4, 0]]


def test_a_batch_holds_at_most_so_many_windows() -> None:
    assert batches(lasting(1, 1, 1), budget_s=100, most=2) == [[0, 1], [2]]


def test_a_window_above_the_budget_goes_alone() -> None:
    assert batches(lasting(50, 200), budget_s=100, most=16) == [[1], [0]]


def test_no_windows_no_batches() -> None:
    assert batches([], budget_s=100, most=16) == []
