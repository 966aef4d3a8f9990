"""Whose the embedded local voices are. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fanscribe_handlers.diarize_onnx.assembly import NOBODY, Labels
from fanscribe_handlers.diarize_onnx.clustering import Clusters, Vectors, cluster, unit
from fanscribe_handlers.diarize_onnx.segmentation import Activity
from fanscribe_handlers.diarize_onnx.windows import FRAMES
from fanscribe_handlers.speakers import Bounds

CLEAN_SHARE = 0.2
"""A voice helps to find the clusters if it has this share of its window to itself (pyannote's figure)."""
MIN_CLUSTER_S = 12.0
"""The least size of a cluster, as seconds between anchors times its members (pyannote: 12 windows, 1 s apart)."""


def name_voices(
    vectors: Vectors, activity: Activity, anchor_step_s: float, bounds: Bounds, threshold: float
) -> tuple[Labels, Vectors]:
    """Labels of the local voices, (anchors, voices), and the speakers' vectors, (speakers, dimension).

    `vectors` is (anchors, voices, dimension), NaN for a voice without a vector; such a voice is NOBODY's. `activity` is
    (anchors, FRAMES, voices). Voices of one window are different people, so each takes another speaker while there
    are any. With no vector at all there are no speakers.
    """
    known: NDArray[np.bool_] = np.asarray(~np.isnan(vectors).any(axis=2))
    alone = (activity * (activity.sum(axis=2, keepdims=True) == 1)).sum(axis=1)
    clean = known & (alone >= CLEAN_SHARE * FRAMES)
    if clean.sum() < bounds.least or not clean.any():
        clean = known
    labels = np.full(known.shape, NOBODY, np.int64)
    if not clean.any():
        return labels, np.zeros((0, vectors.shape[2]), np.float32)
    found = cluster(vectors[clean], bounds, max(1, round(MIN_CLUSTER_S / anchor_step_s)), threshold)
    for window in np.flatnonzero(known.any(axis=1)):
        voices = known[window]
        labels[window, voices] = _distinct(vectors[window, voices], found)
    return labels, found.centroids


def _distinct(vectors: Vectors, found: Clusters) -> NDArray[np.int64]:
    """The speakers of one window's voices: the different ones that fit best, then the nearest for voices left over."""
    likeness = unit(vectors) @ unit(found.centroids).T
    speakers: NDArray[np.int64] = likeness.argmax(axis=1).astype(np.int64)
    voices, chosen = linear_sum_assignment(-likeness)
    speakers[voices] = chosen
    return speakers
