"""Whatever the audio and the wishes: chunks tile it, stay within the limit, and do not depend on the blocks."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fanscribe import media
from fanscribe.pipeline.chunks import ChunkWriter
from fanscribe.pipeline.cuts import Chunk, CutFinder, Cutter, KnownCuts, chunks_of

RATE = media.SAMPLE_RATE
Samples = NDArray[np.float32]


@st.composite
def recordings(draw: st.DrawFn) -> Samples:
    """Stretches of noise and of silence; the total is no whole number of anything."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    parts = draw(
        st.lists(
            st.tuples(st.floats(0.05, 12), st.sampled_from([0.0, 1e-4, 0.01, 0.2])), min_size=1, max_size=12
        )
    )
    stretches = [
        (generator.standard_normal(round(length * RATE)) * level).astype(np.float32)
        for length, level in parts
    ]
    return np.concatenate([np.zeros(RATE // 4, np.float32), *stretches])


def feed(cutter: Cutter, samples: Samples, blocks: list[int]) -> list[Chunk]:
    chunks, place, turn = [], 0, 0
    while place < len(samples):
        size = blocks[turn % len(blocks)]
        chunks += cutter.feed(samples[place : place + size])
        place, turn = place + size, turn + 1
    return chunks + cutter.finish()


BLOCKS = st.lists(st.integers(500, 200_000), min_size=1, max_size=4)
WANTED = st.lists(st.floats(0.1, 140), max_size=8).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    recordings(),
    WANTED,
    BLOCKS,
    BLOCKS,
    st.floats(12, 40),
    st.floats(0, 12),
    st.floats(0, 2),
    st.sampled_from([0.0, 71.3]),
)
def test_chunks_tile_the_audio_within_the_limit(
    samples: Samples,
    wanted: list[float],
    blocks: list[int],
    others: list[int],
    limit: float,
    window: float,
    overlap: float,
    start: float,
) -> None:
    def finder() -> CutFinder:
        return CutFinder(
            [start + each for each in wanted],
            limit_s=limit,
            start_s=start,
            window_s=window,
            overlap_s=overlap,
        )

    first = finder()
    chunks = feed(first, samples, blocks)
    begin = round(start * RATE)
    assert round(chunks[0].start * RATE) == begin
    assert round(chunks[-1].end * RATE) == begin + len(samples)
    assert [each.index for each in chunks] == list(range(len(chunks)))
    for left, right in pairwise(chunks):
        assert left.end == right.start
        assert (
            round((left.heard_end - left.end) * RATE) == round((right.start - right.heard_start) * RATE) >= 0
        )
    for each in chunks:
        assert each.heard_start <= each.start < each.end <= each.heard_end
        assert each.heard_end - each.heard_start <= limit + 1e-4
        assert each.end - each.start >= 1 or len(chunks) == 1
    assert feed(finder(), samples, others) == chunks
    assert feed(KnownCuts(first.cuts, start_s=start), samples, others) == chunks
    assert chunks_of(first.cuts, chunks[0].start, chunks[-1].end) == chunks


@settings(max_examples=20, deadline=None)
@given(recordings(), WANTED, BLOCKS, st.lists(st.integers(0, 30), max_size=3))
def test_files_join_to_the_recording_also_when_cuts_are_hastened(
    samples: Samples, wanted: list[float], blocks: list[int], hastened: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        finder = CutFinder(wanted, limit_s=40, window_s=3, overlap_s=1)
        writer = ChunkWriter(finder, Path(folder), "mix")
        pieces, place, turn = [], 0, 0
        while place < len(samples):
            size = blocks[turn % len(blocks)]
            pieces += writer.feed(samples[place : place + size])
            if turn in hastened:
                finder.hasten()
            place, turn = place + size, turn + 1
        pieces += writer.finish()
        whole = []
        for piece in pieces:
            chunk = piece.chunk
            heard = media.decode(piece.file, piece.file.name).samples
            skip = round((chunk.start - chunk.heard_start) * RATE)
            whole.append(heard[skip : skip + round((chunk.end - chunk.start) * RATE)])
        expected = np.rint(samples * 32768).clip(-32768, 32767)
        assert np.array_equal(np.rint(np.concatenate(whole) * 32768), expected)
