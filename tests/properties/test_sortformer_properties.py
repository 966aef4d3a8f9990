"""Windows cover a recording, and what is cut into windows comes back whole."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fanscribe_handlers.sortformer.activity import diarize_result
from fanscribe_handlers.sortformer.stitching import stitch
from fanscribe_handlers.sortformer.windows import FRAME, FRAME_S, Window, lay_out
from fanscribe_handlers.speakers import Bounds


@given(
    samples=st.integers(1, 3 * 3600 * 16_000),
    window_s=st.integers(61, 720),
    overlap_s=st.floats(0, 30, allow_subnormal=False),
)
def test_windows_cover_every_frame_once_or_twice(samples: int, window_s: int, overlap_s: float) -> None:
    windows = lay_out(samples, window_s, overlap_s)
    assert windows[0].first == 0
    assert windows[-1].last == -(-samples // FRAME)
    assert all(0 < (window.last - window.first) * FRAME_S <= window_s for window in windows)
    for one, other in pairwise(windows):
        assert one.first < other.first
        assert one.last - other.first >= int(overlap_s / FRAME_S)
    for one, other in zip(windows, windows[2:], strict=False):
        assert one.last <= other.last


@given(st.data())
def test_windows_that_hear_the_same_give_the_whole_back(data: st.DataObject) -> None:
    """Everybody speaks in every overlap, and each window numbers the speakers its own way."""
    speakers = data.draw(st.integers(1, 4))
    total, length, step = 90, 40, 25
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    truth = np.zeros((total, 4), np.float32)
    for speaker in range(speakers):
        truth[speaker::speakers, speaker] = rng.uniform(0.6, 1.0, len(truth[speaker::speakers]))
    windows = [Window(first, first + length) for first in range(0, total - length + 1, step)]
    parts = []
    for number, window in enumerate(windows):
        order = data.draw(st.permutations(range(4))) if number else range(4)
        parts.append(truth[window.first : window.last][:, list(order)])
    assert np.array_equal(stitch(parts, windows), truth)


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 4))
def test_exclusive_turns_never_overlap_and_bounds_hold(seed: int, frames: int, most: int) -> None:
    values = np.random.default_rng(seed).random((frames, 4)).astype(np.float32) ** 3
    result = diarize_result(values, Bounds(1, most), frames * FRAME_S)
    assert result.num_speakers <= most
    alone = result.exclusive_segments
    assert all(one.end <= other.start + 1e-9 for one, other in pairwise(alone))
    spoken = sum(turn.end - turn.start for turn in alone)
    assert abs(spoken - (values >= 0.5).any(axis=1).sum() * FRAME_S) < 0.01
