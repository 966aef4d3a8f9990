"""From frames, in each of which a speaker speaks or does not, to turns. Pure."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.transcript import Turn

Frames = NDArray[np.bool_]
"""(frames of the recording, speakers): whether the speaker speaks."""


def runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open spans of frames where the one-dimensional `active` is true."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def first_frames(active: Frames) -> NDArray[np.int64]:
    """The first frame of each speaker, (speakers,); the number of frames for one who never speaks."""
    return np.where(active.any(axis=0), active.argmax(axis=0), len(active)).astype(np.int64)


def order_of_speech(active: Frames) -> list[int]:
    """The columns of those who speak at all, in order of first speech."""
    order = np.argsort(first_frames(active), kind="stable")
    return [int(column) for column in order if active[:, column].any()]


def loudest(active: Frames, heard: NDArray[np.float32]) -> Frames:
    """Of the speakers of each frame only the one whose value in `heard` (frames, speakers) is highest."""
    alone = np.zeros_like(active)
    if not active.shape[1]:
        return alone
    speaking = active.any(axis=1)
    best = np.where(active, heard, -1.0).argmax(axis=1)
    alone[np.flatnonzero(speaking), best[speaking]] = True
    return alone


def turns(
    active: Frames, names: Sequence[str], duration_s: float, time_s: Callable[[int], float]
) -> list[Turn]:
    """Turns of all speakers, in order of start, cut at the end of the recording.

    `active` is (frames, speakers); `names` gives the label of each column. `time_s(frame)` is the second at which a
    change between the frames `frame - 1` and `frame` is placed; the first frame begins with the recording.
    """
    found = []
    for column, name in enumerate(names):
        for first, last in runs(active[:, column]):
            start = round(time_s(first), 3) if first else 0.0
            end = min(round(time_s(last), 3), duration_s)
            if start < end:
                found.append(Turn(start, end, name))
    return sorted(found, key=lambda turn: (turn.start, turn.end, turn.speaker))
