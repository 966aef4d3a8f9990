"""Where windows lie and how frames become seconds."""

import numpy as np
import pytest

from fanscribe_handlers.diarize_onnx.windows import FRAMES, GRID, WINDOW, frame_time_s, lay_out
from fanscribe_handlers.engine import SAMPLE_RATE


def test_one_window_for_a_recording_shorter_than_it() -> None:
    layout = lay_out(SAMPLE_RATE // 10, step_s=1.0, anchor_step_s=1.0)
    assert layout.starts.tolist() == [0]
    assert layout.anchors.tolist() == [0]
    assert layout.total_frames == FRAMES


def test_no_samples_still_make_a_layout() -> None:
    assert lay_out(0, 2.5, 2.5).starts.tolist() == [0]


def test_the_last_window_ends_with_the_recording() -> None:
    layout = lay_out(round(12.345 * SAMPLE_RATE), 1.0, 1.0)
    assert (layout.starts[:-1] == [0, SAMPLE_RATE, 2 * SAMPLE_RATE]).all()
    assert 0 <= layout.starts[-1] + WINDOW - layout.samples < GRID


def test_a_recording_of_whole_steps_gets_no_extra_window() -> None:
    assert lay_out(12 * SAMPLE_RATE, 1.0, 1.0).starts.tolist() == [0, SAMPLE_RATE, 2 * SAMPLE_RATE]


def test_anchors_keep_their_distance_and_hold_both_ends() -> None:
    layout = lay_out(61 * SAMPLE_RATE, 1.0, 5.0)
    assert layout.anchors[0] == 0
    assert layout.anchors[-1] == len(layout.starts) - 1
    assert np.diff(layout.starts[layout.anchors]).max() == 5 * SAMPLE_RATE


def test_frames_are_270_samples_apart_and_centred_on_991() -> None:
    assert frame_time_s(0) == pytest.approx(991 / 2 / 16_000)
    assert frame_time_s(1_000) - frame_time_s(0) == pytest.approx(270_000 / 16_000)
    # The last frame of a window ends just before the window does.
    assert frame_time_s(FRAMES) < WINDOW / SAMPLE_RATE
