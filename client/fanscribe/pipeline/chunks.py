"""Chunks as files for the workers, written while the recording is still being decoded.

One FLAC file is open at a time. What may still belong to two chunks, a few seconds around the next cut, is
kept as samples; everything before is written at once, so memory depends neither on the length of the
recording nor on that of the chunks.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fanscribe.media import SAMPLE_RATE
from fanscribe.media.flac import FlacWriter, pcm16
from fanscribe.pipeline.cuts import OVERLAP_S, SHORTEST_S, WINDOW_S, Chunk, Cutter
from fanscribe.pipeline.pauses import Samples

FLAC_WORST_BYTES_PER_S = 33_000
"""FLAC of loud white noise, 16 kHz mono, 16 bit: measured; a little more than the samples themselves."""

_RESERVE_S = 2 * (WINDOW_S + OVERLAP_S) + SHORTEST_S + 2.0
"""The longest time between asking for a cut and the end of the chunk that it makes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as a FLAC file of its heard span. `digest` is the SHA-256 of its samples, 16 bit little-endian."""

    chunk: Chunk
    file: Path
    size_bytes: int
    digest: str


class ChunkWriter:
    """Writes the chunks that `cutter` makes of one channel into `folder`, as `{stem}-{index}.flac`.

    `limit_bytes` is the largest file that can be sent: a chunk that grows towards it is cut early. `start_s` is
    where the samples begin in the file. OSError of the folder (a full disk) passes as it is. Every call
    encodes: make it in a thread.
    """

    def __init__(
        self,
        cutter: Cutter,
        folder: Path,
        stem: str,
        *,
        start_s: float = 0.0,
        limit_bytes: int | None = None,
    ) -> None:
        self._cutter, self._folder, self._stem = cutter, folder, stem
        self._kept: Samples = np.empty(0, np.float32)
        self._kept_from = self._written = round(start_s * SAMPLE_RATE)
        self._hasten_at = None if limit_bytes is None else limit_bytes - _RESERVE_S * FLAC_WORST_BYTES_PER_S
        self._count = 0
        self._file: _ChunkFile | None = None

    def feed(self, samples: Samples) -> list[Piece]:
        """Take in mono samples, float32 in -1 to 1, shape (n,); give the chunks that are complete."""
        self._kept = np.concatenate((self._kept, samples)) if len(self._kept) else samples
        pieces = [self._close(chunk) for chunk in self._cutter.feed(samples)]
        file = self._extend(self._cutter.hears_from_s, self._cutter.settled_s)
        self._kept, self._kept_from = self._kept[self._written - self._kept_from :], self._written
        if self._hasten_at is not None and file.size_bytes >= self._hasten_at:
            self._cutter.hasten()
        return pieces

    def finish(self) -> list[Piece]:
        """The chunks that are left, when no more samples come."""
        return [self._close(chunk) for chunk in self._cutter.finish()]

    @property
    def kept_s(self) -> float:
        """Seconds of samples that are held in memory, because they may belong to two chunks."""
        return len(self._kept) / SAMPLE_RATE

    def abandon(self) -> None:
        """Let go of the file that is open; what was written stays in the folder."""
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _extend(self, start_s: float, end_s: float) -> "_ChunkFile":
        """Write to the open file up to `end_s`, as far as there are samples; a new file begins at `start_s`."""
        if self._file is None:
            self._file = _ChunkFile(self._folder / f"{self._stem}-{self._count}.flac")
            self._count += 1
            self._written = round(start_s * SAMPLE_RATE)
        end = min(round(end_s * SAMPLE_RATE), self._kept_from + len(self._kept))
        if end > self._written:
            self._file.write(self._kept[self._written - self._kept_from : end - self._kept_from])
            self._written = end
        return self._file

    def _close(self, chunk: Chunk) -> Piece:
        file = self._extend(chunk.heard_start, chunk.heard_end)
        self._file = None
        size, digest = file.close()
        return Piece(chunk, file.path, size, digest)


class _ChunkFile:
    """One FLAC file in the making, with the digest of its samples."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target: BinaryIO = path.open("wb")
        self._writer = FlacWriter(self._target)
        self._digest = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        """What was written so far, but for the second or so that the encoder holds back."""
        return self._target.tell()

    def write(self, samples: Samples) -> None:
        self._writer.write(samples)
        self._digest.update(pcm16(samples).tobytes())

    def close(self) -> tuple[int, str]:
        with self._target:
            return self._writer.close(), self._digest.hexdigest()

    def abandon(self) -> None:
        self._writer.abandon()
        self._target.close()
