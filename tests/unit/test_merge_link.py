"""Speakers of overlapping chunks become the speakers of the recording."""

import copy

import numpy as np
import pytest

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.pipeline.merge import DiarizedPart, link

ANNA = [1.0, 0.0, 0.0, 0.0]
BERT = [0.0, 1.0, 0.0, 0.0]
CARL = [0.0, 0.0, 1.0, 0.0]

Said = list[tuple[float, float, str]]


def part(
    said: Said,
    start: float,
    end: float,
    embeddings: dict[str, list[float]] | None = None,
    *,
    overlap: float = 5.0,
    exclusive: Said | None = None,
) -> DiarizedPart:
    """A chunk that hears `overlap` seconds beyond both cuts."""
    turns = [Turn(*each) for each in said]
    alone = turns if exclusive is None else [Turn(*each) for each in exclusive]
    names = {turn.speaker for turn in turns}
    result = DiarizeResult(
        segments=turns,
        exclusive_segments=alone,
        num_speakers=len(names),
        embeddings=embeddings or {},
        duration=end - start + 2 * overlap,
    )
    return DiarizedPart(result, start, end, max(0.0, start - overlap), end + overlap)


def said(turns: list[Turn]) -> Said:
    return [(turn.start, turn.end, turn.speaker) for turn in turns]


def test_a_voice_is_one_speaker_whatever_its_chunk_calls_it() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (40, 70, "y")], 0, 100, {"x": ANNA, "y": BERT}),
            part([(120, 150, "x"), (150, 180, "y")], 100, 200, {"x": BERT, "y": ANNA}),
        ]
    )
    assert said(linked.segments) == [
        (0, 40, "SPEAKER_00"),
        (40, 70, "SPEAKER_01"),
        (120, 150, "SPEAKER_01"),
        (150, 180, "SPEAKER_00"),
    ]
    assert linked.num_speakers == 2
    assert linked.duration == 200
    assert linked.exclusive_segments == linked.segments


def test_who_speaks_over_a_cut_has_one_turn() -> None:
    linked = link(
        [
            part([(90, 105, "x")], 0, 100, {"x": ANNA}),
            part([(95, 130, "y")], 100, 200, {"y": ANNA}),
        ]
    )
    assert said(linked.segments) == [(90, 130, "SPEAKER_00")]
    assert said(linked.exclusive_segments) == [(90, 130, "SPEAKER_00")]


def test_a_pause_at_a_cut_stays_one() -> None:
    linked = link(
        [
            part([(90, 98, "x")], 0, 100, {"x": ANNA}),
            part([(100, 130, "y")], 100, 200, {"y": ANNA}),
        ]
    )
    assert said(linked.segments) == [(90, 98, "SPEAKER_00"), (100, 130, "SPEAKER_00")]


def test_a_pause_inside_a_chunk_stays_one_however_short() -> None:
    linked = link([part([(10, 20, "x"), (20.05, 30, "x")], 0, 100, {"x": ANNA})])
    assert said(linked.segments) == [(10, 20, "SPEAKER_00"), (20.05, 30, "SPEAKER_00")]


def test_two_speakers_of_one_chunk_stay_two_even_with_one_voice() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (40, 70, "y")], 0, 100, {"x": ANNA, "y": ANNA}),
            part([(120, 150, "x")], 100, 200, {"x": ANNA}),
        ]
    )
    assert linked.num_speakers == 2


def test_a_voice_between_two_is_whoever_spoke_at_the_same_moments() -> None:
    between = [1.0, 1.0, 0.0, 0.0]
    for speaking, expected in (("x", "SPEAKER_00"), ("y", "SPEAKER_01")):
        before = [(0.0, 40.0, "x"), (40.0, 80.0, "y"), (96.0, 104.0, speaking)]
        linked = link(
            [
                part(before, 0, 100, {"x": ANNA, "y": BERT}),
                part([(96, 104, "z"), (150, 160, "z")], 100, 200, {"z": between}),
            ],
            threshold=0.9,
        )
        assert linked.segments[-1].speaker == expected


def test_voices_heard_at_different_moments_of_the_same_seconds_are_two() -> None:
    alike = [1.0, 0.75, 0.0, 0.0]
    together = link(
        [part([(0, 40, "x")], 0, 100, {"x": ANNA}), part([(120, 150, "x")], 100, 200, {"x": alike})]
    )
    contradicting = link(
        [
            part([(0, 40, "x"), (95, 99, "x")], 0, 100, {"x": ANNA}),
            part([(100, 105, "x"), (120, 150, "x")], 100, 200, {"x": alike}),
        ]
    )
    assert (together.num_speakers, contradicting.num_speakers) == (1, 2)


def test_without_any_embedding_the_overlap_links() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (40, 97, "y"), (97, 105, "x")], 0, 100),
            part([(95, 97, "p"), (97, 120, "q"), (120, 150, "p")], 100, 200),
        ]
    )
    assert said(linked.segments) == [
        (0, 40, "SPEAKER_00"),
        (40, 97, "SPEAKER_01"),
        (97, 120, "SPEAKER_00"),
        (120, 150, "SPEAKER_01"),
    ]
    assert linked.embeddings == {}


def test_without_embedding_or_overlap_who_speaks_long_stays_apart() -> None:
    linked = link([part([(0, 40, "x")], 0, 100), part([(120, 150, "x")], 100, 200)])
    assert linked.num_speakers == 2


def test_a_word_without_embedding_goes_to_the_one_nearest_in_time() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (40, 90, "y")], 0, 100, {"x": ANNA, "y": BERT}),
            part([(120, 121, "x")], 100, 200),
            part([(230, 260, "z"), (260, 290, "y")], 200, 300, {"z": ANNA, "y": BERT}),
        ]
    )
    # BERT ends 30 s before it, ANNA begins 109 s after it and has ended 80 s before.
    assert (120, 121, "SPEAKER_01") in said(linked.segments)
    assert linked.num_speakers == 2


def test_a_word_without_embedding_goes_to_the_one_who_spoke_at_that_moment() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (40, 90, "y"), (100, 101, "x")], 0, 100, {"x": ANNA, "y": BERT}),
            part([(100, 101, "z")], 100, 200),
        ]
    )
    assert (100, 101, "SPEAKER_00") in said(linked.segments)


def test_a_word_without_embedding_is_never_its_own_chunks_other_speaker() -> None:
    linked = link([part([(0, 40, "x"), (40, 41, "y")], 0, 100, {"x": ANNA})])
    assert linked.num_speakers == 2
    assert list(linked.embeddings) == ["SPEAKER_00"]


@pytest.mark.parametrize("empty", [[0.0, 0.0, 0.0, 0.0], [float("nan")] * 4, []])
def test_an_empty_vector_is_no_embedding(empty: list[float]) -> None:
    linked = link(
        [
            part([(0, 40, "x")], 0, 100, {"x": ANNA}),
            part([(120, 150, "x")], 100, 200, {"x": empty}),
        ]
    )
    assert linked.num_speakers == 2
    assert linked.embeddings == {"SPEAKER_00": ANNA}


def test_vectors_of_another_network_are_not_compared() -> None:
    linked = link(
        [
            part([(0, 60, "x")], 0, 100, {"x": ANNA}),
            part([(120, 150, "x")], 100, 200, {"x": [1.0, 0.0]}),
            part([(220, 250, "x")], 200, 300, {"x": ANNA}),
        ]
    )
    assert [turn.speaker for turn in linked.segments] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert linked.embeddings == {"SPEAKER_00": ANNA}


def three_voices() -> list[DiarizedPart]:
    """ANNA and BERT speak for minutes, CARL for ten seconds; his voice is a little nearer to BERT's."""
    carl = [0.1, 0.3, 1.0, 0.0]
    return [
        part([(0, 40, "x"), (40, 90, "y")], 0, 100, {"x": ANNA, "y": BERT}),
        part([(110, 120, "x"), (120, 190, "y")], 100, 200, {"x": carl, "y": ANNA}),
        part([(210, 250, "x"), (250, 290, "y")], 200, 300, {"x": BERT, "y": ANNA}),
    ]


def test_the_threshold_decides_where_no_bound_is_given() -> None:
    assert link(three_voices()).num_speakers == 3
    assert link(three_voices(), min_speakers=2, max_speakers=5).num_speakers == 3


@pytest.mark.parametrize("bound", ["num_speakers", "max_speakers"])
def test_too_many_voices_lose_the_one_with_least_to_say(bound: str) -> None:
    linked = link(three_voices(), **{bound: 2})
    assert linked.num_speakers == 2
    assert (110, 120, "SPEAKER_01") in said(linked.segments)


@pytest.mark.parametrize("bound", ["num_speakers", "min_speakers"])
def test_too_few_voices_are_the_ones_least_alike(bound: str) -> None:
    parts = [
        part([(0, 40, "x")], 0, 100, {"x": ANNA}),
        part([(110, 150, "x")], 100, 200, {"x": [1.0, 0.1, 0.0, 0.0]}),
        part([(210, 250, "x")], 200, 300, {"x": [1.0, 0.6, 0.0, 0.0]}),
    ]
    assert link(parts).num_speakers == 1
    linked = link(parts, **{bound: 2})
    assert [turn.speaker for turn in linked.segments] == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]


def test_fewer_speakers_than_asked_for_come_out_where_the_chunks_have_fewer() -> None:
    assert link([part([(0, 40, "x")], 0, 100, {"x": ANNA})], num_speakers=3).num_speakers == 1


def test_where_more_speakers_are_asked_for_a_word_without_embedding_is_one() -> None:
    parts = [part([(0, 40, "x")], 0, 100, {"x": ANNA}), part([(120, 121, "x")], 100, 200)]
    assert link(parts).num_speakers == 1
    assert link(parts, min_speakers=2).num_speakers == 2


def test_a_bound_is_kept_where_no_two_clusters_may_be_joined() -> None:
    # Each two of the three chunks share one voice, so each two of the three people meet in one chunk.
    parts = [
        part([(0, 40, "x"), (40, 90, "y")], 0, 100, {"x": ANNA, "y": BERT}),
        part([(110, 150, "x"), (150, 190, "y")], 100, 200, {"x": ANNA, "y": CARL}),
        part([(210, 230, "x"), (230, 290, "y")], 200, 300, {"x": BERT, "y": CARL}),
    ]
    linked = link(parts, max_speakers=2)
    assert linked.num_speakers == 2
    for first in (0, 2, 4):
        assert linked.segments[first].speaker != linked.segments[first + 1].speaker


def test_the_bound_wins_over_a_chunk_that_has_more_speakers() -> None:
    linked = link(
        [part([(0, 40, "x"), (40, 80, "y"), (80, 81, "z")], 0, 100, {"x": ANNA, "y": BERT})], num_speakers=2
    )
    assert linked.num_speakers == 2
    assert [turn.speaker for turn in linked.segments[:2]] == ["SPEAKER_00", "SPEAKER_01"]


def test_turns_that_become_one_persons_do_not_overlap() -> None:
    linked = link([part([(0, 40, "x"), (30, 80, "y")], 0, 100, {"x": ANNA, "y": BERT})], max_speakers=1)
    assert said(linked.segments) == [(0, 80, "SPEAKER_00")]


def test_a_failed_chunk_leaves_a_gap_and_the_rest_is_linked_over_it() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (95, 105, "x")], 0, 100, {"x": ANNA}),
            DiarizedPart(None, 100, 200, 95, 205),
            part([(195, 240, "y")], 200, 300, {"y": ANNA}),
        ]
    )
    assert said(linked.segments) == [
        (0, 40, "SPEAKER_00"),
        (95, 100, "SPEAKER_00"),
        (200, 240, "SPEAKER_00"),
    ]
    assert linked.duration == 300


def test_without_any_answer_there_is_nobody() -> None:
    nobody = DiarizeResult(duration=100.0)
    assert link([DiarizedPart(None, 0, 100, 0, 100)]) == nobody
    assert link([part([], 0, 100)], num_speakers=2) == nobody
    assert link([]) == DiarizeResult()


def test_who_is_heard_only_beyond_the_cut_belongs_to_the_other_chunk() -> None:
    linked = link(
        [
            part([(0, 40, "x"), (101, 104, "y")], 0, 100, {"x": ANNA, "y": CARL}),
            part([(101, 104, "x"), (120, 150, "x")], 100, 200, {"x": BERT}),
        ]
    )
    assert said(linked.segments) == [
        (0, 40, "SPEAKER_00"),
        (101, 104, "SPEAKER_01"),
        (120, 150, "SPEAKER_01"),
    ]
    assert linked.embeddings == {"SPEAKER_00": ANNA, "SPEAKER_01": BERT}


def test_overlapped_speech_stays_and_exclusive_turns_stay_exclusive() -> None:
    linked = link(
        [
            part(
                [(80, 105, "x"), (90, 95, "y")],
                0,
                100,
                {"x": ANNA, "y": BERT},
                exclusive=[(80, 90, "x"), (90, 95, "y"), (95, 105, "x")],
            ),
            part([(95, 130, "p"), (120, 125, "q")], 100, 200, {"p": ANNA, "q": BERT}, exclusive=[]),
        ]
    )
    assert said(linked.segments) == [
        (80, 130, "SPEAKER_00"),
        (90, 95, "SPEAKER_01"),
        (120, 125, "SPEAKER_01"),
    ]
    assert said(linked.exclusive_segments) == [
        (80, 90, "SPEAKER_00"),
        (90, 95, "SPEAKER_01"),
        (95, 100, "SPEAKER_00"),
    ]


def test_exclusive_turns_are_not_joined_over_somebody_elses_word() -> None:
    linked = link(
        [
            part([(90, 99.95, "x"), (99.95, 100, "y")], 0, 100, {"x": ANNA, "y": BERT}),
            part([(100, 130, "x"), (140, 150, "y")], 100, 200, {"x": ANNA, "y": BERT}),
        ]
    )
    assert said(linked.segments)[:2] == [(90, 130, "SPEAKER_00"), (99.95, 100, "SPEAKER_01")]
    assert said(linked.exclusive_segments)[:3] == [
        (90, 99.95, "SPEAKER_00"),
        (99.95, 100, "SPEAKER_01"),
        (100, 130, "SPEAKER_00"),
    ]


def test_the_embedding_is_the_mean_weighted_with_seconds_of_speech() -> None:
    linked = link(
        [
            part([(0, 30, "x")], 0, 100, {"x": [2.0, 0.0, 0.0, 0.0]}),
            part([(120, 130, "x")], 100, 200, {"x": [2.0, 0.4, 0.0, 0.0]}),
        ]
    )
    assert list(linked.embeddings) == ["SPEAKER_00"]
    assert np.allclose(linked.embeddings["SPEAKER_00"], [2.0, 0.1, 0.0, 0.0])


def test_the_order_of_the_chunks_does_not_matter_and_nothing_is_changed() -> None:
    parts = three_voices()
    before = copy.deepcopy(parts)
    assert link(parts[::-1]) == link(parts)
    assert parts == before
