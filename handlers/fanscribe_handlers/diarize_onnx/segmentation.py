"""Which of up to three local voices speaks in each frame of each window (pyannote segmentation-3.0)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanscribe_handlers.diarize_onnx.session import Network
from fanscribe_handlers.diarize_onnx.windows import FRAMES, WINDOW, Layout

LOCAL_SPEAKERS = 3
BATCH = 8
"""Windows in one call: the fastest of 1 to 16 on two cores, and 0.15 s of work, so that a cancelled job stops soon."""
SILENCE = 1e-4
"""Peak amplitude (-80 dBFS) below which a window holds no speech and is not looked at."""

_POWERSET = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.uint8
)
"""The classes of the network, in its order: nobody, one voice, two voices at once."""

Activity = NDArray[np.uint8]
"""(windows, FRAMES, LOCAL_SPEAKERS), 1 where the local voice speaks."""


def segment(
    network: Network, samples: NDArray[np.float32], layout: Layout
) -> Iterator[tuple[slice, Activity]]:
    """Yield the activity of the windows, a batch at a time, with the slice of windows it is for.

    `network` takes (batch, 1, WINDOW) samples and gives (batch, FRAMES, 7) scores of the powerset classes.
    """
    for first in range(0, len(layout.starts), BATCH):
        starts = layout.starts[first : first + BATCH]
        batch = np.zeros((len(starts), 1, WINDOW), np.float32)
        for row, start in zip(batch, starts, strict=True):
            part = samples[start : start + WINDOW]
            row[0, : len(part)] = part
        activity = np.zeros((len(starts), FRAMES, LOCAL_SPEAKERS), np.uint8)
        heard = np.abs(batch[:, 0]).max(axis=1) >= SILENCE
        if heard.any():
            activity[heard] = _POWERSET[network(batch[heard]).argmax(axis=-1)]
        yield slice(first, first + len(starts)), activity
