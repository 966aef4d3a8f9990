"""From probabilities to the result. Pure."""

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeResult
from fanscribe_handlers.frames import Frames, loudest, order_of_speech, turns
from fanscribe_handlers.sortformer.stitching import Probabilities
from fanscribe_handlers.sortformer.windows import FRAME_S
from fanscribe_handlers.speakers import Bounds

THRESHOLD = 0.5
"""From this probability on a speaker speaks: NeMo's default for the begin and the end of speech alike."""
_FAINTEST = 0.1
"""A speaker who is asked for but never reaches this is not there."""
_OF_PEAK = 0.8


def diarize_result(heard: Probabilities, bounds: Bounds, duration_s: float) -> DiarizeResult:
    """Turns of the speakers, in order of first speech. There are no embeddings: the model makes none.

    At most `bounds.most` speakers come back; `bounds.least` only if the model hears that many at all.
    """
    active = speaking(heard, bounds)
    order = order_of_speech(active)
    names = [f"SPEAKER_{number:02d}" for number in range(len(order))]
    alone = loudest(active[:, order], heard[:, order])
    return DiarizeResult(
        segments=turns(active[:, order], names, duration_s, _time_s),
        exclusive_segments=turns(alone, names, duration_s, _time_s),
        num_speakers=len(names),
        duration=duration_s,
    )


def speaking(heard: Probabilities, bounds: Bounds) -> Frames:
    """Who speaks in each frame.

    Where several people are asked for and too few reach the threshold, it is lowered for the next ones to a share of
    their own highest probability. Where too many do, those who speak least are left out, and what they said alone goes
    to whoever of the others is most likely to have said it.
    """
    thresholds = np.full(heard.shape[1], THRESHOLD, np.float32)
    wanted = bounds.least if bounds.least > 1 else 0  # one speaker is no wish: there may be silence
    for column in _most_heard(heard)[:wanted]:
        peak = float(heard[:, column].max(initial=0.0))
        if _FAINTEST <= peak < THRESHOLD:
            thresholds[column] = _OF_PEAK * peak
    active: Frames = heard >= thresholds
    if bounds.most is not None and int(active.any(axis=0).sum()) > bounds.most:
        kept = _most_heard(active.astype(np.float32))[: bounds.most]
        return _only(active, heard, kept)
    return active


def _only(active: Frames, heard: Probabilities, kept: list[int]) -> Frames:
    left = np.zeros_like(active)
    left[:, kept] = active[:, kept]
    orphans = np.flatnonzero(active.any(axis=1) & ~left.any(axis=1))
    left[orphans, np.asarray(kept)[heard[orphans][:, kept].argmax(axis=1)]] = True
    return left


def _most_heard(amounts: NDArray[np.float32]) -> list[int]:
    """Columns by how much there is in them, the most first."""
    return [int(column) for column in np.argsort(-amounts.sum(axis=0), kind="stable")]


def _time_s(frame: int) -> float:
    return frame * FRAME_S
