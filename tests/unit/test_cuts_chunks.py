"""Chunks as FLAC files: what the workers get is exactly the span, and nothing of it is kept in memory."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe import media
from fanscribe.pipeline.chunks import ChunkWriter, Piece
from fanscribe.pipeline.cuts import Cut, CutFinder, KnownCuts, every

RATE = media.SAMPLE_RATE


def recording(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    draw = np.random.default_rng(3)
    samples = draw.uniform(-level, level, round(seconds * RATE)).astype(np.float32)
    samples[round(seconds / 3 * RATE) :][: RATE // 2] *= 0.001
    return samples


def write(writer: ChunkWriter, samples: NDArray[np.float32], block: int) -> list[Piece]:
    pieces = [
        piece
        for place in range(0, len(samples), block)
        for piece in writer.feed(samples[place : place + block])
    ]
    return pieces + writer.finish()


@pytest.mark.parametrize("block", [4_001, RATE, 90 * RATE])
def test_each_file_holds_exactly_its_heard_span(tmp_path: Path, block: int) -> None:
    samples = recording(90)
    finder = CutFinder(every(30.0), limit_s=60)
    pieces = write(ChunkWriter(finder, tmp_path, "mix"), samples, block)
    assert [each.chunk.index for each in pieces] == list(range(len(pieces)))
    assert sum(each.overlap_s > 0 for each in finder.cuts) >= 1
    for each in pieces:
        first, last = round(each.chunk.heard_start * RATE), round(each.chunk.heard_end * RATE)
        expected = np.rint(samples[first:last] * 32768).astype("<i2")
        decoded = media.decode(each.file, each.file.name).samples
        assert np.array_equal(np.rint(decoded * 32768).astype("<i2"), expected)
        assert each.digest == hashlib.sha256(expected.tobytes()).hexdigest()
        assert each.size_bytes == each.file.stat().st_size


def test_the_same_cuts_give_the_same_digests(tmp_path: Path) -> None:
    samples = recording(90)
    finder = CutFinder(every(30.0), limit_s=60)
    first = write(ChunkWriter(finder, tmp_path, "a"), samples, RATE)
    again = write(ChunkWriter(KnownCuts(finder.cuts), tmp_path, "b"), samples, 7_000)
    assert [each.digest for each in again] == [each.digest for each in first]
    assert [each.chunk for each in again] == [each.chunk for each in first]


def test_a_chunk_that_grows_too_large_is_cut_early(tmp_path: Path) -> None:
    limit = 2_000_000  # bytes; loud noise fills them in about a minute
    samples = recording(200, level=1.0)
    pieces = write(
        ChunkWriter(CutFinder([], limit_s=10_000), tmp_path, "mix", limit_bytes=limit), samples, RATE
    )
    assert max(each.size_bytes for each in pieces) <= limit
    assert 3 <= len(pieces) <= 6
    assert pieces[-1].chunk.end == 200


def test_only_the_span_around_the_next_cut_is_kept(tmp_path: Path) -> None:
    writer = ChunkWriter(CutFinder(every(100.0), limit_s=150), tmp_path, "mix")
    block = recording(1)
    kept = []
    for _ in range(400):
        writer.feed(block)
        kept.append(writer.kept_s)
    writer.abandon()
    assert max(kept) < 25


def test_a_clip_starts_where_it_starts(tmp_path: Path) -> None:
    samples = recording(30)
    pieces = write(
        ChunkWriter(KnownCuts([Cut(110.0)], start_s=100.0), tmp_path, "mix", start_s=100.0), samples, RATE
    )
    assert [(each.chunk.start, each.chunk.end) for each in pieces] == [(100, 110), (110, 130)]
    assert len(media.decode(pieces[0].file, "a").samples) == 10 * RATE
