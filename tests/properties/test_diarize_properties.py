"""What holds for any windows, vectors and votes."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fanscribe.contracts.transcript import Turn
from fanscribe_handlers.diarize_onnx import assembly
from fanscribe_handlers.diarize_onnx.clustering import cluster
from fanscribe_handlers.diarize_onnx.embedding import voice_masks
from fanscribe_handlers.diarize_onnx.naming import name_voices
from fanscribe_handlers.diarize_onnx.windows import FRAMES, GRID, WINDOW, frame_time_s, lay_out
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.frames import loudest, turns
from fanscribe_handlers.speakers import Bounds

seeds = st.integers(0, 2**32 - 1)


@given(st.integers(0, 40 * 60 * SAMPLE_RATE), st.floats(0.5, 9.0), st.floats(0.5, 9.0))
def test_windows_cover_every_sample(samples: int, step_s: float, anchor_step_s: float) -> None:
    layout = lay_out(samples, step_s, anchor_step_s)
    assert layout.starts[0] == 0
    assert (layout.starts % GRID == 0).all()
    assert (np.diff(layout.starts) > 0).all()
    assert (np.diff(layout.starts) <= WINDOW).all()
    assert layout.starts[-1] + WINDOW >= samples
    assert samples < WINDOW or layout.starts[-1] + WINDOW - samples < GRID
    assert set(layout.anchors) <= set(range(len(layout.starts)))


@given(seeds, st.integers(1, 60), st.integers(1, 8), st.integers(1, 12))
def test_clusters_keep_to_the_bounds(seed: int, count: int, wanted: int, min_size: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    exact = cluster(vectors, Bounds(wanted, wanted), min_size)
    assert sorted(set(exact.labels)) == list(range(min(wanted, count)))
    assert np.allclose(exact.centroids[0], vectors[exact.labels == 0].mean(axis=0), atol=1e-5)
    free = cluster(vectors, Bounds(), min_size)
    assert len(free.labels) == count
    capped = cluster(vectors, Bounds(most=wanted), min_size)
    assert capped.labels.max() < wanted


@st.composite
def recordings(draw: st.DrawFn) -> tuple[assembly.Grid, assembly.Labels]:
    rng = np.random.default_rng(draw(seeds))
    frames, speakers = draw(st.integers(1, 300)), draw(st.integers(1, 5))
    grid = rng.integers(0, 4, (frames, speakers)).astype(np.float32)
    return grid, rng.integers(0, speakers + 1, frames)


@given(recordings())
def test_as_many_speak_as_are_counted(recording: tuple[assembly.Grid, assembly.Labels]) -> None:
    grid, count = recording
    assert assembly.assemble(grid, count).sum(axis=1).tolist() == count.tolist()


@given(recordings())
def test_exclusive_turns_never_overlap_and_cover_what_turns_cover(
    recording: tuple[assembly.Grid, assembly.Labels],
) -> None:
    grid, count = recording
    active = assembly.assemble(grid, count)
    alone = loudest(active, grid)
    assert (alone <= active).all()
    names = [f"SPEAKER_{number:02d}" for number in range(grid.shape[1])]
    duration_s = frame_time_s(len(grid))
    exclusive = turns(alone, names, duration_s, frame_time_s)
    assert all(left.end <= right.start for left, right in pairwise(exclusive))
    assert covered(exclusive) == covered(turns(active, names, duration_s, frame_time_s))


def covered(found: list[Turn]) -> list[tuple[float, float]]:
    """The union of the turns."""
    union: list[tuple[float, float]] = []
    for turn in sorted(found, key=lambda turn: turn.start):
        if union and turn.start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], turn.end))
        else:
            union.append((turn.start, turn.end))
    return union


@settings(max_examples=30)
@given(seeds, st.integers(1, 6))
def test_voices_of_one_window_are_different_people_while_there_are_any(seed: int, windows: int) -> None:
    rng = np.random.default_rng(seed)
    activity = (rng.random((windows, FRAMES, 3)) < 0.4).astype(np.uint8)
    vectors = rng.normal(size=(windows, 3, 16)).astype(np.float32)
    vectors[rng.random((windows, 3)) < 0.3] = np.nan
    labels, speakers = name_voices(vectors, activity, 1.0, Bounds(), 0.7)
    known = ~np.isnan(vectors[..., 0])
    assert ((labels >= 0) == known).all()
    for names in labels:
        own = names[names >= 0]
        assert len(set(own)) == min(len(own), len(speakers))


@given(seeds)
def test_a_voice_is_embedded_from_its_own_frames_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    activity = (rng.random((2, FRAMES, 3)) < rng.random((2, 1, 3))).astype(np.uint8)
    masks = voice_masks(activity)
    assert (masks <= activity).all()
    assert (masks.any(axis=1) == activity.any(axis=1)).all()
