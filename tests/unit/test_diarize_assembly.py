"""From labelled windows to turns."""

import numpy as np

from fanscribe_handlers.diarize_onnx import assembly
from fanscribe_handlers.diarize_onnx.assembly import NOBODY
from fanscribe_handlers.diarize_onnx.segmentation import Activity
from fanscribe_handlers.diarize_onnx.windows import FRAME_CENTRE_S, FRAME_STEP_S, FRAMES, frame_time_s
from fanscribe_handlers.frames import first_frames, runs, turns

FIRST = np.array([0, 100])
TOTAL = FRAMES + 100


def two_windows() -> Activity:
    """Local voice 0 of window 0 and local voice 1 of window 1 are heard in the frames 200 to 300 of the recording."""
    activity = np.zeros((2, FRAMES, 3), np.uint8)
    activity[0, 200:300, 0] = 1
    activity[1, 100:200, 1] = 1
    return activity


def test_count_is_the_mean_of_the_windows_over_a_frame() -> None:
    activity = two_windows()
    activity[0, 250:300, 2] = 1  # one window of two hears a second voice: 1.5, rounded to even
    activity[0, 50:60, :2] = 1  # only window 0 is there
    count = assembly.count_voices(activity, FIRST, TOTAL)
    assert count[220] == 1
    assert count[270] == 2
    assert count[55] == 2
    assert count[400] == 0


def test_windows_with_one_label_vote_together() -> None:
    labels = np.array([[0, NOBODY, NOBODY], [NOBODY, 0, NOBODY]])
    grid = assembly.overlay(two_windows(), labels, FIRST, TOTAL, 2)
    assert grid[200:300, 0].tolist() == [2.0] * 100
    assert not grid[:, 1].any()


def test_a_voice_without_label_goes_with_the_frames_it_shares() -> None:
    activity = two_windows()
    labels = np.array([[1, NOBODY, NOBODY], [NOBODY, NOBODY, NOBODY]])
    grid = assembly.overlay(activity, labels, FIRST, TOTAL, 2)
    assert assembly.adopt(grid, activity, labels, FIRST).tolist() == [[1, -1, -1], [-1, 1, -1]]


def test_a_voice_that_shares_nothing_stays_nobodys() -> None:
    activity = two_windows()
    activity[1, 100:200, 1] = 0
    activity[1, 400:450, 1] = 1
    labels = np.array([[0, NOBODY, NOBODY], [NOBODY, NOBODY, NOBODY]])
    grid = assembly.overlay(activity, labels, FIRST, TOTAL, 1)
    assert assembly.adopt(grid, activity, labels, FIRST)[1].tolist() == [NOBODY] * 3


def test_the_most_heard_speak_and_the_nearby_fill_an_overlap() -> None:
    grid = np.zeros((1000, 3), np.float32)
    grid[100:200, 0] = 3
    grid[150:250, 1] = 1
    grid[300:310, 2] = 3
    count = np.zeros(1000, np.int64)
    count[100:250] = 1
    count[305] = 2  # two voices counted, only speaker 2 heard: speaker 0 was heard most nearby
    active = assembly.assemble(grid, count)
    assert active[160].tolist() == [True, False, False]
    assert active[220].tolist() == [False, True, False]
    assert active[305].tolist() == [True, False, True]
    assert not active[400].any()


def test_runs_touch_both_ends() -> None:
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert runs(np.zeros(3, bool)) == []


def test_turns_are_in_seconds_in_order_and_end_with_the_recording() -> None:
    active = np.zeros((700, 2), bool)
    active[100:200, 1] = True
    active[150:700, 0] = True
    found = turns(active, ["SPEAKER_01", "SPEAKER_00"], 11.0, frame_time_s)
    assert [turn.speaker for turn in found] == ["SPEAKER_00", "SPEAKER_01"]
    assert found[0].start == round(100 * FRAME_STEP_S + FRAME_CENTRE_S, 3)
    assert found[0].end == round(200 * FRAME_STEP_S + FRAME_CENTRE_S, 3)
    assert found[1].end == 11.0


def test_speech_from_the_first_frame_starts_at_zero() -> None:
    assert turns(np.ones((10, 1), bool), ["SPEAKER_00"], 60.0, frame_time_s)[0].start == 0.0


def test_first_frames_put_the_silent_last() -> None:
    active = np.zeros((5, 3), bool)
    active[3, 0] = active[1, 2] = True
    assert first_frames(active).tolist() == [3, 5, 1]
