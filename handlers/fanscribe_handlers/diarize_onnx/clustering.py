"""Which local voices belong to one person: agglomerative clustering with bounds on the count. Pure.

The recipe is that of pyannote's speaker-diarization-3.1: centroid linkage of unit vectors, a distance
threshold, and clusters with too few members given to the nearest large one. Two things differ. The cut is
described by how many merges are applied, which makes a wanted count a search in one array. And at most
MAX_LINKED vectors are linked (linkage needs memory quadratic in their number); the others only join the
nearest centroid, so memory grows linearly with the length of the recording.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from fanscribe_handlers.speakers import Bounds

THRESHOLD = 0.7045654963945799
"""Distance of unit vectors at which pyannote/speaker-diarization-3.1 stops merging (its published config)."""
MAX_LINKED = 3000
"""Vectors that are linked: 36 MB of distances. More are thinned out evenly in time."""

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """`labels` (vectors,) from 0 without holes, and the mean vector of each cluster (clusters, dimension)."""

    labels: Labels
    centroids: Vectors


def unit(vectors: Vectors) -> Vectors:
    """The vectors scaled to length 1; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled


def cluster(vectors: Vectors, bounds: Bounds, min_size: int, threshold: float = THRESHOLD) -> Clusters:
    """Cluster the vectors (at least one), in order of time; `min_size` is the smallest cluster to keep.

    Within the bounds the threshold decides. A count outside of them is moved to the nearer bound, by the
    cut nearest to the threshold that gives it, with smaller clusters allowed if need be; fewer come out
    only when there are fewer vectors.
    """
    count = len(vectors)
    linked = np.arange(count)
    if count > MAX_LINKED:
        linked = np.unique(np.linspace(0, count - 1, MAX_LINKED).round().astype(np.int64))
    labels = _link(unit(vectors[linked]), bounds, min_size, threshold)
    centroids = means(vectors[linked], labels)
    if len(linked) == count:
        return Clusters(labels, centroids)
    everyone = nearest(vectors, centroids)
    everyone[linked] = labels
    return Clusters(everyone, means(vectors, everyone))


def means(vectors: Vectors, labels: Labels) -> Vectors:
    """The mean vector of each label 0 … max."""
    return np.stack([vectors[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])


def nearest(vectors: Vectors, centroids: Vectors) -> Labels:
    """For each vector the centroid with the largest cosine similarity; ties go to the first."""
    return np.asarray((unit(vectors) @ unit(centroids).T).argmax(axis=1), dtype=np.int64)


def _link(vectors: Vectors, bounds: Bounds, min_size: int, threshold: float) -> Labels:
    count = len(vectors)
    if count == 1 or bounds.most == 1:
        return np.zeros(count, np.int64)
    tree = linkage(vectors.astype(np.float64), method="centroid", metric="euclidean")
    # A cluster need not be larger than a tenth of a short recording.
    min_size = min(min_size, max(1, round(0.1 * count)))
    merges, min_size = _cut(tree, bounds, min_size, threshold)
    labels = _labels(tree, merges)
    return _absorb(vectors, labels, min_size)


def _cut(tree: NDArray[np.float64], bounds: Bounds, min_size: int, threshold: float) -> tuple[int, int]:
    """How many merges to apply, and the least size of a cluster that counts as a speaker."""
    count = len(tree) + 1
    heights = tree[:, 2]
    above = np.flatnonzero(heights > threshold)
    natural = int(above[0]) if len(above) else len(tree)
    found = max(1, int(_large_clusters(tree, min_size)[natural]))
    wanted = min(bounds.nearest(found), count)
    if wanted == found:
        return natural, min_size
    # The distance of a cut from the threshold is that of the last merge it applies, or of the first it does not.
    reach = np.concatenate([[0.0], np.maximum.accumulate(heights)])
    while True:
        fitting = np.flatnonzero(_large_clusters(tree, min_size) == wanted)
        if len(fitting):
            return int(fitting[np.abs(reach[fitting] - threshold).argmin()]), min_size
        min_size //= 2


def _large_clusters(tree: NDArray[np.float64], min_size: int) -> NDArray[np.int64]:
    """Clusters of at least `min_size` members after 0, 1, … all merges of the tree, (merges + 1,)."""
    count = len(tree) + 1
    sizes = np.concatenate([np.ones(count), tree[:, 3]]) >= min_size
    left, right = tree[:, 0].astype(int), tree[:, 1].astype(int)
    change = sizes[count:].astype(int) - sizes[left].astype(int) - sizes[right].astype(int)
    return np.concatenate([[0], np.cumsum(change)]) + int(sizes[:count].sum())


def _labels(tree: NDArray[np.float64], merges: int) -> Labels:
    """Labels, from 0 without holes, after the first `merges` merges."""
    count = len(tree) + 1
    owner = np.arange(count + merges)
    # Walking from the last merge down, each node hands the name of its cluster to its two parts.
    for merge in range(merges - 1, -1, -1):
        for part in tree[merge, :2].astype(int):
            owner[part] = owner[count + merge]
    return np.unique(owner[:count], return_inverse=True)[1].astype(np.int64)


def _absorb(vectors: Vectors, labels: Labels, min_size: int) -> Labels:
    """Give the members of small clusters to the nearest large one; with no large one all are together."""
    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes >= min_size)
    if not len(large):
        return np.zeros_like(labels)
    centroids = means(vectors, labels)
    home = np.arange(len(sizes))
    small = np.flatnonzero(sizes < min_size)
    if len(small):
        home[small] = large[nearest(centroids[small], centroids[large])]
    return np.unique(home[labels], return_inverse=True)[1].astype(np.int64)
