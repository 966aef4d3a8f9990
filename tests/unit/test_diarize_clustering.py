"""How many speakers come out, and who is whose."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe_handlers.diarize_onnx import clustering
from fanscribe_handlers.diarize_onnx.clustering import cluster
from fanscribe_handlers.speakers import Bounds


def voices(sizes: list[int], spread: float = 0.02, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around as many orthogonal directions as there are sizes, shuffled."""
    rng = np.random.default_rng(seed)
    centres = np.eye(192)[: len(sizes)].repeat(sizes, axis=0)
    vectors = centres + rng.normal(0, spread, centres.shape)
    return rng.permutation(vectors * rng.uniform(1, 9, (len(vectors), 1))).astype(np.float32)


def test_the_threshold_finds_the_number_of_voices() -> None:
    found = cluster(voices([40, 30, 20]), Bounds(), min_size=5)
    assert sorted(np.bincount(found.labels)) == [20, 30, 40]
    assert found.centroids.shape == (3, 192)


def test_a_cluster_that_is_too_small_joins_the_nearest() -> None:
    assert cluster(voices([60, 40, 3]), Bounds(), min_size=5).labels.max() == 1


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 7])
def test_a_wanted_number_comes_out(wanted: int) -> None:
    found = cluster(voices([40, 30]), Bounds(wanted, wanted), min_size=12)
    assert len(np.unique(found.labels)) == wanted
    assert len(found.centroids) == wanted


def test_bounds_move_the_count_no_further_than_needed() -> None:
    vectors = voices([30, 30, 30])
    assert cluster(vectors, Bounds(least=4), 5).labels.max() + 1 == 4
    assert cluster(vectors, Bounds(most=2), 5).labels.max() + 1 == 2
    assert cluster(vectors, Bounds(least=2, most=5), 5).labels.max() + 1 == 3


def test_fewer_vectors_than_speakers_wanted_give_one_each() -> None:
    assert sorted(cluster(voices([1, 1]), Bounds(5, 5), 12).labels) == [0, 1]


def test_one_vector_is_one_speaker() -> None:
    assert cluster(voices([1]), Bounds(), 12).labels.tolist() == [0]


def test_long_recordings_do_not_take_quadratic_memory() -> None:
    count = 8 * clustering.MAX_LINKED
    vectors = voices([count // 2, count // 2])
    tracemalloc.start()
    try:
        found = cluster(vectors, Bounds(), min_size=5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.labels.max() == 1
    assert sorted(np.bincount(found.labels)) == [count // 2, count // 2]
    # All distances at once would be 2.3 GB.
    assert peak < 300e6
