"""Where the sliding windows lie, and how their frames map to seconds. Pure.

pyannote segmentation-3.0 looks at 10 s of audio at a time and answers with 589 frames. Its receptive
field is 991 samples and moves by 270 samples (both follow from its three convolutions and poolings), so a
frame is about 17 ms and its centre lies 31 ms after its first sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanscribe_handlers.engine import SAMPLE_RATE

WINDOW = 10 * SAMPLE_RATE
"""Samples in a window."""
FRAMES = 589
"""Frames that the segmentation gives for a window."""
FRAME_STEP_S = 270 / SAMPLE_RATE
"""Seconds between the starts of neighbouring frames."""
FRAME_CENTRE_S = 991 / 2 / SAMPLE_RATE
"""Seconds from a frame's first sample to its centre."""
GRID = 160
"""Samples (10 ms) on which windows start, so that they share the rows of one log-mel spectrogram."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The windows of one recording.

    `starts` are first samples, (windows,), rising and multiples of GRID. `anchors` are the indices of the windows whose
    voices are embedded, (anchors,), rising; the first and the last window are always among them.
    """

    samples: int
    starts: NDArray[np.int64]
    anchors: NDArray[np.int64]

    @property
    def first_frames(self) -> NDArray[np.int64]:
        """The place of each window's first frame on the recording's own grid of frames, (windows,)."""
        return np.rint(self.starts / SAMPLE_RATE / FRAME_STEP_S).astype(np.int64)

    @property
    def total_frames(self) -> int:
        """Length of the recording's grid of frames: it holds every frame of every window."""
        return int(self.first_frames[-1]) + FRAMES


def lay_out(samples: int, step_s: float, anchor_step_s: float) -> Layout:
    """Windows every `step_s` seconds over `samples` samples, anchors at least every `anchor_step_s`.

    The last window ends with the recording instead of hanging over its end, so that only a recording
    shorter than one window has to be padded.
    """
    step = max(GRID, round(step_s * SAMPLE_RATE / GRID) * GRID)
    room = max(0, samples - WINDOW)
    last = -(-room // GRID) * GRID
    starts = np.append(np.arange(0, last, step, dtype=np.int64), last)
    stride = max(1, round(anchor_step_s / step_s))
    anchors = np.unique(np.append(np.arange(0, len(starts), stride, dtype=np.int64), len(starts) - 1))
    return Layout(samples, starts, anchors)


def frame_time_s(frame: int) -> float:
    """The second at which a change between the frames `frame - 1` and `frame` is placed."""
    return frame * FRAME_STEP_S + FRAME_CENTRE_S
