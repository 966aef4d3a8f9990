"""Words as sound: each block of eight samples says which word it belongs to, where in it, and who speaks. Pure.

A word lasts WORD_SAMPLES, and any one whole block of it tells its number and its exact place, at whatever
sample a span was cut. The code survives what is lossless at 16 bits and 16 kHz (FLAC, WAV), and nothing else.

A sample's size is _BASE + _STEP x symbol, its sign + for the first half of a block and - for the second. The
symbols of a block: the sync mark, the word's number (3 bytes), the block's number in the word (2 bytes), the
speaker, a check byte. Noise of up to NOISE lies on everything, so that a FLAC of it is no smaller than speech.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fanscribe_handlers.engine import SAMPLE_RATE

BLOCK = 8  # samples
WORD_SAMPLES = 6400
"""The length of every word: 0.4 s."""

MAX_WORDS = 1 << 24
MAX_SPEAKERS = 256
NOISE = 10
"""The largest noise, in steps of 16 bits; a symbol is read wrong from half of _STEP on."""

_BASE, _STEP, _SYNC = 2048, 32, 320
_FULL_SCALE = 32_768
_WEIGHTS = np.array([3, 5, 7, 11, 13, 17], np.int64)
_SIGNS = np.array([1, 1, 1, 1, -1, -1, -1, -1], np.int16)


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, or what is left of it, in a span. `first` and `last` are samples of the span, half-open.

    `onset` is whether the word's beginning is there.
    """

    index: int
    speaker: int
    first: int
    last: int
    onset: bool

    @property
    def share(self) -> float:
        """How much of the word is in the span, 0 to 1."""
        return (self.last - self.first) / WORD_SAMPLES

    @property
    def recognised(self) -> bool:
        """Whether a recogniser knows the word: more than half is there. Of two equal halves it knows the first."""
        return self.share > 0.5 or (self.share == 0.5 and self.onset)


def word_samples(indices: NDArray[np.int64], speakers: NDArray[np.int64]) -> NDArray[np.int16]:
    """The sound of words without noise: shape (words, WORD_SAMPLES), int16.

    Raises ValueError for numbers that the code cannot say.
    """
    if indices.size and not (indices.min() >= 0 and indices.max() < MAX_WORDS):
        raise ValueError(f"a word's number must be 0 to {MAX_WORDS - 1}")
    if speakers.size and not (speakers.min() >= 0 and speakers.max() < MAX_SPEAKERS):
        raise ValueError(f"a speaker's number must be 0 to {MAX_SPEAKERS - 1}")
    blocks = WORD_SAMPLES // BLOCK
    symbols = np.empty((len(indices), blocks, BLOCK), np.int64)
    symbols[..., 0] = _SYNC
    for place, shift in ((1, 16), (2, 8), (3, 0)):
        symbols[..., place] = ((indices >> shift) & 255)[:, np.newaxis]
    position = np.arange(blocks)
    symbols[..., 4], symbols[..., 5] = position >> 8, position & 255
    symbols[..., 6] = speakers[:, np.newaxis]
    symbols[..., 7] = _check(symbols)
    return ((_BASE + _STEP * symbols).astype(np.int16) * _SIGNS).reshape(len(indices), WORD_SAMPLES)


def listen(samples: NDArray[np.float32]) -> list[Heard]:
    """Every word in a span, in order of time. `samples` are mono, -1 to 1, 16 kHz; other sound gives no words."""
    whole = np.rint(samples * _FULL_SCALE).astype(np.int32)
    symbols = (np.abs(whole) - _BASE + _STEP // 2) // _STEP
    at = np.flatnonzero((symbols == _SYNC) & (whole > 0))
    at = at[at + BLOCK <= len(symbols)]
    blocks = symbols[at[:, np.newaxis] + np.arange(BLOCK)].astype(np.int64)
    bytes_ = blocks[:, 1:]
    position = blocks[:, 4] * 256 + blocks[:, 5]
    good = (bytes_ >= 0).all(axis=1) & (bytes_ <= 255).all(axis=1)
    good &= (position < WORD_SAMPLES // BLOCK) & (blocks[:, 7] == _check(blocks))
    at, blocks, position = at[good], blocks[good], position[good]
    if not len(at):
        return []
    index = (blocks[:, 1] << 16) | (blocks[:, 2] << 8) | blocks[:, 3]
    start = at - position * BLOCK
    # A word whose blocks do not fit one start was put together from two places: that is two pieces of it.
    changes = np.flatnonzero((np.diff(index) != 0) | (np.diff(start) != 0)) + 1
    edges = [0, *changes.tolist(), len(at)]
    return [
        _heard(int(index[i]), int(blocks[i, 6]), int(start[i]), at[i:j], len(samples))
        for i, j in pairwise(edges)
    ]


def seconds(sample: int) -> float:
    """A time from a count of samples."""
    return sample / SAMPLE_RATE


def _heard(index: int, speaker: int, start: int, at: NDArray[np.int64], length: int) -> Heard:
    first, last = int(at[0]), int(at[-1]) + BLOCK
    # A cut within a block leaves a rest that cannot be read but belongs to the word.
    if first < BLOCK:
        first = max(start, 0)
    if length - last < BLOCK:
        last = min(start + WORD_SAMPLES, length)
    return Heard(index, speaker, first, last, first == start)


def _check(symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """The check byte of blocks, shape (…, BLOCK)."""
    total: NDArray[np.int64] = symbols[..., 1:7] @ _WEIGHTS
    return (total + 90) & 255
