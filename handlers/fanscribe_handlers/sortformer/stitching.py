"""One answer out of the answers for overlapping windows. Pure.

In each window the model numbers speakers anew, by when they begin to speak there. Two windows hear the same sound where
they overlap: the numbers that are active together there belong to one person. Whoever is silent in the overlap cannot
be told; such a number goes to somebody who spoke before and is silent there too, rather than to somebody new.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fanscribe_handlers.sortformer.windows import Window

Probabilities = NDArray[np.float32]
"""(frames, speakers), 0 to 1: how sure it is that the speaker speaks in the frame."""

_GUESS = 1e-6
"""Weight of how much two numbers speak anywhere, against how much they speak together: it only breaks ties."""


def stitch(parts: Sequence[Probabilities], windows: Sequence[Window]) -> Probabilities:
    """The probabilities of the whole recording. `parts` are those of `windows`, which rise and overlap or touch.

    In an overlap the answer changes from one window to the next in the middle, far from the edges of both.
    """
    speakers = parts[0].shape[1] if parts else 0
    whole = np.zeros((windows[-1].last if windows else 0, speakers), np.float32)
    done = 0
    for part, window in zip(parts, windows, strict=True):
        shared = max(0, done - window.first)
        named = part[:, match(whole[:done], part, shared)] if done else part
        kept = shared // 2
        whole[window.first + kept : window.last] = named[kept:]
        done = window.last
    return whole


def match(before: Probabilities, part: Probabilities, shared: int) -> list[int]:
    """For each speaker so far the column of `part` that is the same person.

    The last `shared` frames of `before` and the first of `part` are the same frames.
    """
    together = before[len(before) - shared :].T @ part[:shared]
    anywhere = np.outer(before.sum(axis=0), part.sum(axis=0))
    scale = anywhere.max()
    likeness = together + (_GUESS * anywhere / scale if scale > 0 else 0.0)
    speakers, columns = linear_sum_assignment(-likeness)
    return [int(columns[place]) for place in np.argsort(speakers)]
