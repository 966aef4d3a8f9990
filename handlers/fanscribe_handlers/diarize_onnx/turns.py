"""From frames to turns. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.transcript import Turn
from fanscribe_handlers.diarize_onnx.windows import frame_time_s

Frames = NDArray[np.bool_]


def runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open spans of frames where the one-dimensional `active` is true."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def first_frames(active: Frames) -> NDArray[np.int64]:
    """The first frame of each speaker, (speakers,); the number of frames for one who never speaks."""
    return np.where(active.any(axis=0), active.argmax(axis=0), len(active)).astype(np.int64)


def turns(active: Frames, names: Sequence[str], duration_s: float) -> list[Turn]:
    """Turns of all speakers, in order of start, cut at the end of the recording.

    `active` is (frames, speakers); `names` gives the label of each column.
    """
    found = []
    for column, name in enumerate(names):
        for first, last in runs(active[:, column]):
            start = round(frame_time_s(first), 3) if first else 0.0
            end = min(round(frame_time_s(last), 3), duration_s)
            if start < end:
                found.append(Turn(start, end, name))
    return sorted(found, key=lambda turn: (turn.start, turn.end, turn.speaker))
