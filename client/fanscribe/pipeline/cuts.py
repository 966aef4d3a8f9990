"""Where a recording is cut: at the quietest point near each wanted cut, found while it is being decoded.

The chunks tile the audio exactly: each owns the span from one cut to the next. Where there is no pause near a
wanted cut, the chunks on both sides also hear a little of each other, so that no word is heard only in half;
merging then gives each word to the chunk that owns its middle. Times are seconds from the start of the file,
always a whole number of samples.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fanscribe.media import SAMPLE_RATE
from fanscribe.pipeline.pauses import FRAME, STEP, Loudness, Samples

SHORTEST_S = 1.0
"""No chunk that follows a cut is shorter, in seconds: a rest this short stays with the chunk before it."""

WINDOW_S = 6.0
"""How far from the wanted cut, in seconds, a pause is looked for. Speech pauses every few seconds."""

OVERLAP_S = 1.5
"""What both sides hear beyond a cut that is not in a pause, in seconds: longer than almost any word."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to cut, and how many seconds both sides hear beyond it: 0 in a pause."""

    at_s: float
    overlap_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the recording: it owns [start, end) and is sent as [heard_start, heard_end). Seconds."""

    index: int
    start: float
    end: float
    heard_start: float
    heard_end: float


class Cutter(Protocol):
    """Something that takes mono samples as they are decoded and says which chunks are complete.

    `cuts` are those made so far; after `finish` all of them.
    """

    cuts: list[Cut]

    def feed(self, samples: Samples) -> list[Chunk]:
        """The chunks whose heard span ends in or before these samples, shape (n,)."""

    def finish(self) -> list[Chunk]:
        """The rest, when no more samples come."""

    def hasten(self) -> None:
        """Ask for a cut as soon as possible."""

    @property
    def settled_s(self) -> float:
        """Everything before this belongs to the heard span of the next chunk, and to no later one."""

    @property
    def hears_from_s(self) -> float:
        """Where the heard span of the next chunk starts."""


def every(spacing_s: float, start_s: float = 0.0) -> Iterator[float]:
    """Wanted cuts without end, for a recording whose length is not known before it is decoded."""
    return (start_s + spacing_s * number for number in itertools.count(1))


def chunks_of(cuts: Sequence[Cut], start_s: float, end_s: float) -> list[Chunk]:
    """The chunks that these cuts make of the span; cuts must be ascending and inside of it."""
    tiles = _Tiles(_samples(start_s))
    chunks = []
    for each in cuts:
        tiles.close(_samples(each.at_s), _samples(each.overlap_s))
        chunks += tiles.ready(_NEVER)
    return chunks + tiles.last(_samples(end_s))


class CutFinder:
    """Finds the cuts of one channel, or of the mix of all, block after block; memory does not grow.

    `wanted_s` ascends and may be endless; what lies beyond the audio is ignored. No chunk hears more than
    `limit_s`: where the wanted cuts would let one, a cut is added. `start_s` is where the samples begin in the
    file. `window_s` is the reach on each side of a wanted cut; it never covers more than a third of the way to
    its neighbours. With a window of 0 every cut lies where it is wanted and has an overlap. The result depends
    on the samples alone, not on how they are divided into blocks. Raises ValueError for a limit that leaves no
    room to cut.
    """

    def __init__(
        self,
        wanted_s: Iterable[float],
        *,
        limit_s: float,
        start_s: float = 0.0,
        window_s: float = WINDOW_S,
        overlap_s: float = OVERLAP_S,
    ) -> None:
        if limit_s < 4 * (overlap_s + SHORTEST_S):
            raise ValueError(
                f"chunks of at most {limit_s:g} s cannot be cut with {overlap_s:g} s of overlap; "
                f"the limit must be {4 * (overlap_s + SHORTEST_S):g} s or more"
            )
        self.cuts: list[Cut] = []
        self._limit, self._window = _samples(limit_s), _samples(window_s)
        self._overlap = _frames(overlap_s) * FRAME
        self._wanted = (_samples(each) for each in wanted_s)
        self._tiles = _Tiles(_samples(start_s))
        self._first = self._position = _samples(start_s)
        self._loudness = Loudness()
        self._waiting: list[Samples] = []
        self._waiting_count = 0
        self._queue: list[int] = []
        self._hastened = False
        self._low, self._aim, self._high = self._next_window()

    def feed(self, samples: Samples) -> list[Chunk]:
        """The chunks whose heard span ends in or before these samples: mono float32 in -1 to 1, shape (n,)."""
        self._waiting.append(samples)
        self._waiting_count += len(samples)
        if self._waiting_count < STEP:
            return []
        gathered = np.concatenate(self._waiting)
        whole = len(gathered) // STEP * STEP
        self._waiting, self._waiting_count = [gathered[whole:].copy()], len(gathered) - whole
        return [
            chunk for place in range(0, whole, STEP) for chunk in self._step(gathered[place : place + STEP])
        ]

    def finish(self) -> list[Chunk]:
        """The chunks that are left, when no more samples come; a cut that is not decided by now is not made."""
        end = self._position + self._waiting_count
        chunks = self._tiles.last(end)
        self.cuts = [cut for cut in self.cuts if _samples(cut.at_s) <= _samples(chunks[-1].start)]
        return chunks

    def hasten(self) -> None:
        """Look for the next cut from here on, instead of around where it is wanted."""
        if not self._hastened and self._low > self._position:
            self._hastened = True
            here = self._position + self._waiting_count + self._overlap
            self._low, self._aim, self._high = self._span(here + self._window, self._window)

    @property
    def settled_s(self) -> float:
        """Everything before this belongs to the heard span of the next chunk, and to no later one."""
        if self._tiles.closing is not None:
            return self._tiles.heard_start / SAMPLE_RATE
        return max(self._low - self._overlap, self._tiles.heard_start) / SAMPLE_RATE

    @property
    def hears_from_s(self) -> float:
        """Where the heard span of the next chunk starts."""
        closing = self._tiles.closing
        return self._tiles.heard_start / SAMPLE_RATE if closing is None else closing.heard_start

    def _step(self, samples: Samples) -> Iterator[Chunk]:
        if self._window:  # else nothing is looked for
            self._loudness.add(samples)
        self._position += len(samples)
        yield from self._tiles.ready(self._position)
        while self._position >= self._high:
            self._cut()
            yield from self._tiles.ready(self._position)
        self._loudness.forget((min(self._low, self._position) - self._first) // FRAME)

    def _cut(self) -> None:
        first, last, aim = ((each - self._first) // FRAME for each in (self._low, self._high, self._aim))
        found = self._loudness.quietest(first, last, aim)
        at = self._first + found.frame * FRAME
        overlap = 0 if found.quiet else self._overlap
        self.cuts.append(Cut(at / SAMPLE_RATE, overlap / SAMPLE_RATE))
        self._tiles.close(at, overlap)
        self._hastened = False
        self._low, self._aim, self._high = self._next_window()

    def _next_window(self) -> tuple[int, int, int]:
        """Where the next cut may lie: first sample, wanted sample, last sample."""
        earliest = self._tiles.start + self._overlap + _samples(SHORTEST_S)
        while len(self._queue) < 2:
            self._queue.append(next(self._wanted, _NEVER))
        while self._queue[0] <= earliest:
            self._queue = [self._queue[1], next(self._wanted, _NEVER)]
        wanted, following = self._queue
        latest = self._latest()
        if wanted > latest:
            return self._span(latest - min(self._window, (latest - earliest) // 3), self._window)
        self._queue = [following]
        return self._span(wanted, min(self._window, (following - wanted) // 3))

    def _span(self, wanted: int, after: int) -> tuple[int, int, int]:
        earliest = self._tiles.start + self._overlap + _samples(SHORTEST_S)
        before = min(self._window, (wanted - self._tiles.start) // 3)
        low = max(wanted - before, earliest)
        high = max(min(wanted + after, self._latest()), low)
        low, high, wanted = (
            self._first + (each - self._first) // FRAME * FRAME for each in (low, high, wanted)
        )
        return low, min(max(wanted, low), high), high

    def _latest(self) -> int:
        """A later cut could let the chunk hear more than the limit, also with a short rest added to it."""
        return self._tiles.heard_start + self._limit - self._overlap - _samples(SHORTEST_S)


class KnownCuts:
    """Cuts that were found before, with the face of a CutFinder: the same file gives the same chunks again.

    Raises ValueError when they do not ascend, with room for a chunk between each two.
    """

    def __init__(self, cuts: Iterable[Cut], *, start_s: float = 0.0) -> None:
        self.cuts = list(cuts)
        for left, right in itertools.pairwise([Cut(start_s), *self.cuts]):
            room = _samples(right.at_s) - _samples(left.at_s)
            if room < _samples(max(left.overlap_s, right.overlap_s)) + _samples(SHORTEST_S):
                raise ValueError(
                    f"no room for a chunk between the cuts at {left.at_s:g} s and {right.at_s:g} s"
                )
        self._left = [(_samples(cut.at_s), _samples(cut.overlap_s)) for cut in self.cuts]
        self._left.reverse()
        self._tiles = _Tiles(_samples(start_s))
        self._position = _samples(start_s)

    def feed(self, samples: Samples) -> list[Chunk]:
        """The chunks whose heard span ends in or before these samples."""
        self._position += len(samples)
        chunks = self._tiles.ready(self._position)
        while self._left and self._left[-1][0] <= self._position:
            self._tiles.close(*self._left.pop())
            chunks += self._tiles.ready(self._position)
        return chunks

    def finish(self) -> list[Chunk]:
        """The chunks that are left, when no more samples come."""
        return self._tiles.last(self._position)

    def hasten(self) -> None:
        """Known cuts stay where they are."""

    @property
    def settled_s(self) -> float:
        """Everything before this belongs to the heard span of the next chunk, and to no later one."""
        if self._tiles.closing is not None:
            return self._tiles.heard_start / SAMPLE_RATE
        if not self._left:
            return self._position / SAMPLE_RATE
        at, overlap = self._left[-1]
        return max(at - overlap, self._tiles.heard_start) / SAMPLE_RATE

    @property
    def hears_from_s(self) -> float:
        """Where the heard span of the next chunk starts."""
        closing = self._tiles.closing
        return self._tiles.heard_start / SAMPLE_RATE if closing is None else closing.heard_start


class _Tiles:
    """The chunk that is being gathered, and the one before it while its heard span is not complete. Samples."""

    def __init__(self, start: int) -> None:
        self.start = self.heard_start = start
        self.closing: Chunk | None = None
        self._index = 0

    def close(self, at: int, overlap: int) -> None:
        assert self.closing is None, "a chunk is given out before the next one is cut"
        self.closing = self._chunk(at, at + overlap)
        self._index += 1
        self.start, self.heard_start = at, at - overlap

    def ready(self, position: int) -> list[Chunk]:
        """The closed chunk, once enough follows it to be a chunk of its own."""
        if self.closing is None or position < _samples(self.closing.heard_end) + _samples(SHORTEST_S):
            return []
        chunk, self.closing = self.closing, None
        return [chunk]

    def last(self, end: int) -> list[Chunk]:
        """The chunks at the end of the audio: a rest that is too short goes with the chunk before it."""
        closed = self.ready(end)
        if self.closing is not None:
            self.start, self.heard_start = _samples(self.closing.start), _samples(self.closing.heard_start)
            self._index -= 1
            self.closing = None
        return [*closed, self._chunk(end, end)]

    def _chunk(self, end: int, heard_end: int) -> Chunk:
        times = (each / SAMPLE_RATE for each in (self.start, end, self.heard_start, heard_end))
        return Chunk(self._index, *times)


_NEVER = 1 << 62


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / FRAME)
