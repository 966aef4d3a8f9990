"""What holds for every set of chunks."""

import copy
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.pipeline.merge import DiarizedPart, link
from fanscribe.pipeline.merge.clustering import Voices, cluster

TICK_S = 0.25
CHUNK = 20
OVERLAP = 6
"""Ticks."""

Activity = NDArray[np.bool_]
"""(ticks of the heard span, speakers)."""


def runs(active: Activity, first: int, names: list[str]) -> list[Turn]:
    turns = []
    for column, name in enumerate(names):
        edges = np.flatnonzero(np.diff(active[:, column].astype(int), prepend=0, append=0)).reshape(-1, 2)
        turns += [Turn((first + a) * TICK_S, (first + b) * TICK_S, name) for a, b in edges.tolist()]
    return sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))


VECTORS = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3)


@st.composite
def recordings(draw: st.DrawFn) -> list[DiarizedPart]:
    """One to four chunks of up to three speakers who speak in runs of ticks; some failed, some lack embeddings."""
    count = draw(st.integers(1, 4))
    parts = []
    for number in range(count):
        start, end = number * CHUNK, (number + 1) * CHUNK
        first, last = max(0, start - OVERLAP), min(count * CHUNK, end + OVERLAP)
        span = (start * TICK_S, end * TICK_S, first * TICK_S, last * TICK_S)
        if draw(st.integers(0, 9)) == 0:
            parts.append(DiarizedPart(None, *span))
            continue
        names = [f"SPEAKER_{speaker:02d}" for speaker in range(draw(st.integers(0, 3)))]
        active = np.zeros((last - first, len(names)), np.bool_)
        for column in range(len(names)):
            for _ in range(draw(st.integers(1, 3))):
                begin = draw(st.integers(0, last - first - 1))
                active[begin : begin + draw(st.integers(1, 12)), column] = True
        alone = active & (np.cumsum(active, axis=1) == 1)
        embeddings = {name: draw(VECTORS) for name in names if draw(st.integers(0, 4))}
        result = DiarizeResult(
            segments=runs(active, first, names),
            exclusive_segments=runs(alone, first, names),
            num_speakers=len(names),
            embeddings=embeddings,
            duration=(last - first) * TICK_S,
        )
        parts.append(DiarizedPart(result, *span))
    return parts


def speaking(turns: list[Turn], tick: int) -> int:
    """How many people speak in the middle of a tick."""
    middle = (tick + 0.5) * TICK_S
    return len({turn.speaker for turn in turns if turn.start < middle < turn.end})


BOUNDS = st.one_of(st.none(), st.integers(1, 5))


@given(recordings())
def test_in_each_chunk_as_many_people_speak_at_any_time_as_the_chunk_says(parts: list[DiarizedPart]) -> None:
    # So nothing is lost or invented, and no two speakers of a chunk who meet become one.
    linked = link(parts)
    for number, part in enumerate(parts):
        heard = part.result or DiarizeResult()
        for tick in range(number * CHUNK, (number + 1) * CHUNK):
            assert speaking(linked.segments, tick) == speaking(heard.segments, tick)
            assert speaking(linked.exclusive_segments, tick) == speaking(heard.exclusive_segments, tick)


@settings(max_examples=300)
@given(recordings(), st.randoms(use_true_random=False))
def test_labels_inside_chunks_and_the_order_of_chunks_do_not_matter(
    parts: list[DiarizedPart], random: "np.random.Generator"
) -> None:
    shuffled = []
    for part in parts:
        if part.result is None:
            shuffled.append(part)
            continue
        names = sorted({turn.speaker for turn in part.result.segments})
        others = [f"voice {number}" for number in range(len(names))]
        random.shuffle(others)
        renamed = dict(zip(names, others, strict=True))
        result = DiarizeResult(
            segments=[Turn(turn.start, turn.end, renamed[turn.speaker]) for turn in part.result.segments],
            exclusive_segments=[
                Turn(turn.start, turn.end, renamed[turn.speaker]) for turn in part.result.exclusive_segments
            ],
            num_speakers=part.result.num_speakers,
            embeddings={renamed[name]: vector for name, vector in part.result.embeddings.items()},
            duration=part.result.duration,
        )
        random.shuffle(result.segments)
        shuffled.append(DiarizedPart(result, part.start, part.end, part.heard_start, part.heard_end))
    random.shuffle(shuffled)
    before = copy.deepcopy(shuffled)
    assert link(shuffled) == link(parts)
    assert shuffled == before


@given(recordings(), BOUNDS)
def test_turns_are_in_order_numbered_by_first_speech_and_one_persons_never_overlap(
    parts: list[DiarizedPart], most: int | None
) -> None:
    linked = link(parts, max_speakers=most)
    names = [f"SPEAKER_{number:02d}" for number in range(linked.num_speakers)]
    assert list(dict.fromkeys(turn.speaker for turn in linked.segments)) == names
    assert set(linked.embeddings) <= set(names)
    assert all(turn.start < turn.end for turn in linked.segments)
    assert [turn.start for turn in linked.segments] == sorted(turn.start for turn in linked.segments)
    for turns in (
        linked.exclusive_segments,
        *([turn for turn in linked.segments if turn.speaker == name] for name in names),
    ):
        assert all(before.end <= after.start for before, after in pairwise(turns))


@given(recordings(), st.integers(1, 5))
def test_the_bounds_hold_for_the_whole(parts: list[DiarizedPart], number: int) -> None:
    freely = link(parts).num_speakers
    speakers = sum(
        len(
            {turn.speaker for turn in part.result.segments if turn.end > part.start and turn.start < part.end}
        )
        for part in parts
        if part.result
    )
    most = link(parts, max_speakers=number).num_speakers
    least = link(parts, min_speakers=number).num_speakers
    assert most <= number
    assert most == freely or freely > number
    assert least >= min(number, speakers)
    assert link(parts, num_speakers=number).num_speakers == min(number, speakers)


@st.composite
def voices(draw: st.DrawFn) -> Voices:
    count = draw(st.integers(1, 12))
    vectors = np.array([draw(st.one_of(VECTORS, st.just([np.nan] * 3))) for _ in range(count)])
    groups = np.array([draw(st.integers(0, 4)) for _ in range(count)])
    evidence = np.zeros((count, count))
    for row in range(count):
        for other in range(row):
            if abs(groups[row] - groups[other]) == 1:
                evidence[row, other] = evidence[other, row] = draw(st.integers(-15, 15))
    return Voices(
        vectors, np.array([draw(st.integers(1, 60)) for _ in range(count)], float), groups, evidence
    )


@settings(max_examples=300)
@given(voices(), st.integers(1, 6), BOUNDS, st.sampled_from([0.3, 0.7, 1.2]))
def test_voices_of_one_group_never_share_a_cluster_that_the_bound_does_not_force(
    given_voices: Voices, least: int, most: int | None, threshold: float
) -> None:
    least = least if most is None else min(least, most)
    labels = cluster(given_voices, threshold, least, most)
    largest = int(np.bincount(given_voices.groups).max())
    found = int(labels.max()) + 1
    assert list(dict.fromkeys(labels.tolist())) == list(range(found))
    assert found >= min(least, len(labels))
    assert most is None or found <= most
    if most is None or largest <= most:
        pairs = list(zip(labels.tolist(), given_voices.groups.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
