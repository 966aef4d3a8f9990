"""From local voices in windows to who speaks in each frame of the recording. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from fanscribe_handlers.diarize_onnx.segmentation import Activity
from fanscribe_handlers.diarize_onnx.windows import FRAMES
from fanscribe_handlers.frames import Frames

NOBODY = -1
"""Label of a local voice that is nobody's: it does not speak, or nothing tells whose it is."""

Labels = NDArray[np.int64]
Grid = NDArray[np.float32]
"""(frames of the recording, speakers): in how many windows the speaker is heard there."""

_NEARBY = 1e-3
"""Weight of what is heard nearby: breaks ties, and never outvotes a window that hears the frame itself."""


def count_voices(activity: Activity, first_frames: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """How many people speak in each frame, (total,): the rounded mean of what the windows over it say."""
    voices = np.zeros(total, np.float32)
    windows = np.zeros(total, np.float32)
    for window, first in zip(activity, first_frames, strict=True):
        voices[first : first + FRAMES] += window.sum(axis=1)
        windows[first : first + FRAMES] += 1
    return np.rint(voices / np.maximum(windows, 1)).astype(np.int64)


def overlay(
    activity: Activity, labels: Labels, first_frames: NDArray[np.int64], total: int, speakers: int
) -> Grid:
    """Lay the labelled windows over each other.

    `activity` is (windows, FRAMES, voices), `labels` (windows, voices); voices of NOBODY are left
    out. Two voices of one window with the same label count once.
    """
    grid = np.zeros((total, speakers), np.float32)
    for window, names, first in zip(activity, labels, first_frames, strict=True):
        for speaker in np.unique(names[names != NOBODY]):
            grid[first : first + FRAMES, speaker] += window[:, names == speaker].max(axis=1)
    return grid


def adopt(grid: Grid, activity: Activity, labels: Labels, first_frames: NDArray[np.int64]) -> Labels:
    """Labels in which NOBODY's voices belong to the speaker with whom they share most of their frames in `grid`."""
    labels = labels.copy()
    for n, voice in zip(*np.nonzero((labels == NOBODY) & activity.any(axis=1)), strict=True):
        first = first_frames[n]
        shared = activity[n, :, voice].astype(np.float32) @ grid[first : first + FRAMES]
        if shared.max() > 0:
            labels[n, voice] = int(shared.argmax())
    return labels


def assemble(grid: Grid, count: NDArray[np.int64]) -> Frames:
    """Let as many speakers speak in each frame as `count` says, those heard by most windows first.

    Where fewer are heard than counted (two voices of an overlap took the same label), those heard most within five
    seconds take the remaining places.
    """
    speakers = grid.shape[1]
    score = grid + np.float32(_NEARBY) * uniform_filter1d(grid, FRAMES, axis=0, mode="constant")
    order = np.argsort(-score, axis=1, kind="stable")
    active = np.zeros(grid.shape, np.bool_)
    rows = np.arange(len(grid))
    for rank in range(speakers):
        chosen = count > rank
        active[rows[chosen], order[chosen, rank]] = True
    return active
