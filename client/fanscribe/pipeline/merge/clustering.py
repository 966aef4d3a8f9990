"""Which voices of many chunks belong to one person: agglomerative clustering with constraints. Pure.

Centroid linkage of unit vectors up to a distance threshold, as the diarizers themselves cluster the voices of
their windows, so that a diarizer's own threshold holds here too. Three things are added: voices of one group
(the speakers of one chunk) are different people and never share a cluster; what was heard of two voices in the
same seconds moves their distance; and the number of clusters is kept within bounds.

Each merge looks at all pairs once: cubic in the number of voices, though in array operations, and quadratic in
memory. Measured on one core: 240 voices (ten hours in chunks of ten minutes, four speakers in each) take 0.3 s,
500 take 0.9 s, 1,000 take 4 s.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVIDENCE_WEIGHT = 0.25
"""By how much seconds heard by both chunks move the distance of two unit vectors, at most, either way."""

EVIDENCE_HALF_S = 2.0
"""Seconds of evidence that have half of the greatest effect: a sentence settles more than a word."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Voices:
    """What is known of n voices.

    `vectors` (n, dimension) are voice embeddings of any length, NaN rows where there is none; `speech_s` (n,) is
    what each is made of, in seconds, above 0; `groups` (n,) numbers the chunks from 0; `evidence_s` (n, n),
    symmetric, is how many more seconds two voices were heard at the same moments than only one of them was.
    """

    vectors: Floats
    speech_s: Floats
    groups: Integers
    evidence_s: Floats


def cluster(voices: Voices, threshold: float, least: int = 1, most: int | None = None) -> Integers:
    """The cluster of each voice, (n,), numbered from 0 in order of their first members.

    Between `least` and `most` clusters the threshold, a distance of unit vectors, decides. Fewer than `least` come
    out only where there are fewer voices. Voices of one group share a cluster only where the group alone has more
    than `most` voices. Voices without a vector join others by evidence alone, unless `most` forces them.
    """
    clusters = _Clusters(voices, threshold)
    while clusters.count > least and clusters.join(below=threshold):
        pass
    while most is not None and clusters.count > most:
        if not clusters.join_cheapest():
            clusters.dissolve_smallest()
    _, first, numbers = np.unique(clusters.owner, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers].astype(np.int64)


class _Clusters:
    """The clusters so far; each is known by the row of one of its members. Rows of dead ones are infinitely far."""

    def __init__(self, voices: Voices, threshold: float) -> None:
        count = len(voices.speech_s)
        self._unknown_distance = threshold
        known: NDArray[np.bool_] = np.asarray(np.isfinite(voices.vectors).all(axis=1))
        lengths = np.linalg.norm(np.where(known[:, None], voices.vectors, 0.0), axis=1)
        known &= lengths > 0
        self._units = np.zeros(voices.vectors.shape)
        self._units[known] = voices.vectors[known] / lengths[known, None]
        self._known_s = np.where(known, voices.speech_s, 0.0)
        self._speech_s = voices.speech_s
        self._groups = voices.groups
        self._voice_evidence = voices.evidence_s
        self.owner = np.arange(count)
        self._sums = self._units * self._known_s[:, None]
        self._sum_s = self._known_s.copy()
        self._weights = voices.speech_s.copy()
        self._evidence = voices.evidence_s.copy()
        self._holds = np.zeros((count, int(voices.groups.max(initial=-1)) + 1), np.bool_)
        self._holds[np.arange(count), voices.groups] = True
        self._alive = np.ones(count, np.bool_)
        self._distances = np.full((count, count), np.inf)
        for row in range(count):
            self._measure(row)

    @property
    def count(self) -> int:
        return int(self._alive.sum())

    def join(self, below: float) -> bool:
        """Join the two nearest clusters that may be joined, if they are nearer than `below`."""
        if len(self._distances) < 2:
            return False
        row, other = divmod(int(self._distances.argmin()), len(self._distances))
        if not self._distances[row, other] < below:
            return False
        self._join(row, other)
        return True

    def join_cheapest(self) -> bool:
        """Join the two clusters that may be joined whose joining moves the least speech the least way (Ward)."""
        pair = self._weights[:, None] * self._weights / (self._weights[:, None] + self._weights)
        costs = pair * np.maximum(self._distances, 0.0) ** 2
        row, other = divmod(int(costs.argmin()), len(costs))
        if not np.isfinite(costs[row, other]):
            return False
        self._join(row, other)
        return True

    def dissolve_smallest(self) -> None:
        """Give each voice of the cluster with least speech to the nearest other that may take it, or to any."""
        alive = np.flatnonzero(self._alive)
        smallest = int(alive[self._weights[alive].argmin()])
        self._alive[smallest] = False
        for voice in np.flatnonzero(self.owner == smallest).tolist():
            evidence = np.array([self._voice_evidence[voice, self.owner == row].sum() for row in alive])
            distances = self._moved(self._apart(self._units[voice], self._known_s[voice], alive), evidence)
            distances[alive == smallest] = np.inf
            free = np.where(self._holds[alive, self._groups[voice]], np.inf, distances)
            best = int((free if np.isfinite(free).any() else distances).argmin())
            self._take(int(alive[best]), voice)
        self._distances[smallest] = self._distances[:, smallest] = np.inf
        for row in np.flatnonzero(self._alive).tolist():
            self._measure(row)

    def _join(self, row: int, other: int) -> None:
        row, other = min(row, other), max(row, other)
        self.owner[self.owner == other] = row
        self._sums[row] += self._sums[other]
        self._sum_s[row] += self._sum_s[other]
        self._weights[row] += self._weights[other]
        self._evidence[row] += self._evidence[other]
        self._evidence[:, row] = self._evidence[row]
        self._holds[row] |= self._holds[other]
        self._alive[other] = False
        self._distances[other] = self._distances[:, other] = np.inf
        self._measure(row)

    def _take(self, row: int, voice: int) -> None:
        self.owner[voice] = row
        self._sums[row] += self._units[voice] * self._known_s[voice]
        self._sum_s[row] += self._known_s[voice]
        self._weights[row] += self._speech_s[voice]
        self._evidence[row] += self._voice_evidence[voice]
        self._evidence[:, row] = self._evidence[row]
        self._holds[row, self._groups[voice]] = True

    def _measure(self, row: int) -> None:
        """Distances of one cluster to all others, infinite where they may not be joined."""
        rows = np.flatnonzero(self._alive)
        centroid = self._sums[row] / max(self._sum_s[row], np.finfo(np.float64).tiny)
        distances = np.full(len(self._alive), np.inf)
        distances[rows] = self._moved(
            self._apart(centroid, self._sum_s[row], rows), self._evidence[row, rows]
        )
        distances[(self._holds & self._holds[row]).any(axis=1)] = np.inf
        self._distances[row] = self._distances[:, row] = distances

    def _apart(self, vector: Floats, known_s: float, rows: Integers) -> Floats:
        """Distances of a vector to the centroids of these clusters; the threshold where either is unknown."""
        sums_s = self._sum_s[rows]
        centroids = self._sums[rows] / np.maximum(sums_s, np.finfo(np.float64).tiny)[:, None]
        distances = np.linalg.norm(centroids - vector, axis=1)
        return np.where((sums_s > 0) & (known_s > 0), distances, self._unknown_distance)

    def _moved(self, distances: Floats, evidence_s: Floats) -> Floats:
        return distances - EVIDENCE_WEIGHT * evidence_s / (np.abs(evidence_s) + EVIDENCE_HALF_S)
