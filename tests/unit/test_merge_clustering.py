"""Voices of many chunks become people."""

from collections.abc import Mapping, Sequence

import numpy as np

from fanscribe.pipeline.merge.clustering import Voices, cluster

NOTHING = [float("nan")] * 3


def at_angle(degrees: float) -> list[float]:
    return [float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0.0]


def voices(
    vectors: Sequence[Sequence[float]],
    speech_s: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    evidence_s: Mapping[tuple[int, int], float] | None = None,
) -> Voices:
    """Each voice speaks for 10 s in a chunk of its own if nothing else is said."""
    count = len(vectors)
    evidence = np.zeros((count, count))
    for (row, other), seconds in (evidence_s or {}).items():
        evidence[row, other] = evidence[other, row] = seconds
    return Voices(
        np.array(vectors, float),
        np.array(speech_s or [10.0] * count, float),
        np.array(groups or range(count)),
        evidence,
    )


def test_the_threshold_is_a_distance_of_unit_vectors() -> None:
    pair = voices([[5.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    assert cluster(pair, 1.40).tolist() == [0, 1]
    assert cluster(pair, 1.42).tolist() == [0, 0]


def test_people_are_where_all_their_voices_are_on_average() -> None:
    # The first two join; the third is 0.92 from the first, but 0.76 from the mean of both.
    assert cluster(voices([at_angle(0), at_angle(20), at_angle(55)]), 0.8).tolist() == [0, 0, 0]
    assert cluster(voices([at_angle(0), at_angle(55)]), 0.8).tolist() == [0, 1]


def test_who_speaks_longer_counts_more() -> None:
    vectors = [at_angle(0), at_angle(20), at_angle(55)]
    assert cluster(voices(vectors, [100, 1, 1]), 0.8).tolist() == [0, 0, 1]
    assert cluster(voices(vectors, [1, 100, 1]), 0.8).tolist() == [0, 0, 0]


def test_evidence_about_one_of_their_voices_holds_for_the_person() -> None:
    # The last two are as near to either of the others; what was heard of one voice of a person decides.
    vectors = [at_angle(0), at_angle(5), at_angle(90), at_angle(45)]
    for heard, expected in (((1, 3), [0, 0, 1, 0]), ((2, 3), [0, 0, 1, 1])):
        assert cluster(voices(vectors, evidence_s={heard: 10.0}), 0.8).tolist() == expected


def test_voices_without_vectors_join_by_evidence_alone() -> None:
    silent = voices(
        [at_angle(0), NOTHING, NOTHING, NOTHING], evidence_s={(0, 1): 3.0, (1, 2): 3.0, (0, 3): -3.0}
    )
    assert cluster(silent, 0.7).tolist() == [0, 0, 0, 1]


def test_a_bound_costs_the_one_who_says_least_not_the_two_most_alike() -> None:
    vectors = [at_angle(0), at_angle(80), [-0.3, -0.4, 1.0]]
    assert cluster(voices(vectors, [300, 300, 3]), 0.7, 1, 2).tolist() in ([0, 1, 0], [0, 1, 1])
    assert cluster(voices(vectors, [300, 300, 300]), 0.7, 1, 2).tolist() == [0, 0, 1]


def test_one_voice_and_none() -> None:
    assert cluster(voices([at_angle(0)]), 0.7, 2, 2).tolist() == [0]
    assert cluster(voices([NOTHING, NOTHING]), 0.7, 1, 1).tolist() == [0, 0]
