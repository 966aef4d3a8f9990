"""Where speech pauses: the loudness of the recent past, and the pauses in it. Pure, and in bounded memory.

Pauses are judged against the speech around them, not against a fixed level: recordings differ by 40 dB in
gain and in noise. A pause is quiet twice: in the signal without rumble and hum, which would fill it, and in
its first difference, where unvoiced consonants (s, f, t), which end many words, are strong and vowels weak.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanscribe.media import SAMPLE_RATE

Samples = NDArray[np.float32]
Levels = NDArray[np.float64]

FRAME = SAMPLE_RATE // 100
"""Samples of one level: 10 ms."""

STEP = SAMPLE_RATE
"""Samples that are taken in at once, so that results do not depend on how the audio comes in."""

SHORTEST_PAUSE_S = 0.2
"""Closures inside of words (p, t, k) are silent for 50 to 150 ms; a longer hush stands between words."""

_SILENCE_DB = -80.0
"""Below this there is no sound at all: the steps of 16 bit lie near -96 dB."""

_LOWEST_DB, _HIGHEST_DB = -100, 10
_SMOOTHED_FRAMES = 5
_RUMBLE_SPAN = SAMPLE_RATE // 200
"""A mean over 5 ms follows hum at 50 Hz (20 dB less is left) and nothing of a voice's harmonics above 200 Hz."""

_HALF_LIFE_S = 120.0
_CLEAR_DB = 25.0
"""So far below the speech is a pause, whatever the noise is."""

_NOISE_SHARE = 0.45
"""In noise: a pause lies within this share of the way from the noise up to the speech."""

_SEPARATION_DB = 8.0
"""Noise nearer to the speech than this hides its pauses."""

_LONG_PAUSE_S = 0.8
"""A pause is not worth more for being longer than this."""

_DISTANCE_WEIGHT_S = 0.4
"""How much longer a pause at the window's edge must be than one in its middle to be taken instead."""

_DISTANCE_WEIGHT_DB = 3.0
"""How much quieter a place at the window's edge must be than one in its middle, where there is no pause: a cut that
loses no word anywhere, since both sides hear beyond it, had better leave the chunks as long as was planned."""


@dataclass(frozen=True, slots=True)
class QuietPoint:
    """A frame border, counted in frames from the first one, and whether it lies in a pause."""

    frame: int
    quiet: bool


class Loudness:
    """Levels in dB of the frames since the last `forget`, and how loud speech and noise are around here.

    Levels are kept in two rows: of the signal without rumble, and of its first difference.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._kept: deque[Levels] = deque()
        self._first = 0
        self._before = np.zeros(_RUMBLE_SPAN, np.float32)
        self._histograms = np.zeros((2, _HIGHEST_DB - _LOWEST_DB + 1))

    def add(self, samples: Samples) -> None:
        """Take in the next STEP mono samples, shape (STEP,), float32 in -1 to 1."""
        joined = np.concatenate((self._before, samples))
        self._before = samples[-_RUMBLE_SPAN:].copy()
        total = np.cumsum(joined, dtype=np.float64)
        rumble = (total[_RUMBLE_SPAN:] - total[:-_RUMBLE_SPAN]) / _RUMBLE_SPAN
        sharp = samples - joined[_RUMBLE_SPAN - 1 : -1]
        rows = np.stack((joined[_RUMBLE_SPAN // 2 :][: len(samples)] - rumble, sharp)).reshape(2, -1, FRAME)
        power = np.einsum("bij,bij->bi", rows, rows) / FRAME
        levels = 10.0 * np.log10(np.maximum(power, 10.0 ** (_LOWEST_DB / 10)))
        bins = np.clip(np.rint(levels).astype(np.int64) - _LOWEST_DB, 0, self._histograms.shape[1] - 1)
        self._histograms *= 0.5 ** (len(samples) / SAMPLE_RATE / _HALF_LIFE_S)
        for histogram, own in zip(self._histograms, bins, strict=True):
            histogram += np.bincount(own, minlength=len(histogram))
        self._kept.append(levels)
        self.frames += levels.shape[1]

    def forget(self, before: int) -> None:
        """Let go of the levels of the frames before this one."""
        while self._kept and self._first + self._kept[0].shape[1] <= before:
            self._first += self._kept.popleft().shape[1]

    def quiet_db(self) -> tuple[float, float]:
        """The levels below which a stretch counts as a pause here: without rumble, and differentiated."""
        plain, sharp = (_quiet_db(each) for each in self._histograms)
        return plain, sharp

    def quietest(self, first: int, last: int, wanted: int) -> QuietPoint:
        """The best place for a cut in the frames [first, last): in a pause, long and near to `wanted`.

        Where there is no pause it is the middle of the quietest quarter of a second, near to `wanted` too. The
        frames must be there: taken in, and not forgotten.
        """
        if first >= last:
            return QuietPoint(wanted, False)
        levels = self._levels(first, last)
        quiet_db = np.array(self.quiet_db())[:, np.newaxis]
        hushed = (_smoothed(levels, _SMOOTHED_FRAMES) < quiet_db).all(axis=0)
        best, score = None, -math.inf
        reach = max(wanted - first, last - wanted, 1)
        for start, end in _runs(np.asarray(hushed)):
            length_s = (end - start) * FRAME / SAMPLE_RATE
            if length_s < SHORTEST_PAUSE_S:
                continue
            margin = min((end - start) // 2, round(_LONG_PAUSE_S / 2 * SAMPLE_RATE / FRAME))
            place = min(max(wanted - first, start + margin), end - margin)
            worth = min(length_s, _LONG_PAUSE_S) - _DISTANCE_WEIGHT_S * abs(first + place - wanted) / reach
            if worth > score:
                best, score = first + place, worth
        if best is not None:
            return QuietPoint(best, True)
        above_db = (_smoothed(levels, 25) - quiet_db).max(axis=0)
        away = np.abs(np.arange(first, last) - wanted) / reach
        return QuietPoint(first + int(np.argmin(above_db + _DISTANCE_WEIGHT_DB * away)), False)

    def _levels(self, first: int, last: int) -> Levels:
        assert self._first <= first < last <= self.frames, "these frames are not there"
        return np.concatenate(self._kept, axis=1)[:, first - self._first : last - self._first]


def _quiet_db(histogram: NDArray[np.float64]) -> float:
    heard = histogram.copy()
    heard[: int(_SILENCE_DB) - _LOWEST_DB] = 0
    if not heard.any():
        return _SILENCE_DB
    speech, noise = _percentile(heard, 0.95), _percentile(heard, 0.02)
    clear = speech - _CLEAR_DB
    if speech - noise >= _SEPARATION_DB:
        clear = max(clear, noise + _NOISE_SHARE * (speech - noise))
    return max(_SILENCE_DB, clear)


def _smoothed(levels: Levels, width: int) -> Levels:
    """The level of the mean power over `width` frames around each one (fewer at the edges), row by row."""
    count = levels.shape[1]
    power = np.zeros((2, count + 1))
    np.cumsum(10.0 ** (levels / 10), axis=1, out=power[:, 1:])
    places = np.arange(count)
    low = np.maximum(places - width // 2, 0)
    high = np.minimum(places + width // 2 + 1, count)
    mean = (power[:, high] - power[:, low]) / (high - low)
    return np.asarray(10.0 * np.log10(np.maximum(mean, 10.0 ** (_LOWEST_DB / 10))))


def _percentile(histogram: NDArray[np.float64], share: float) -> float:
    total = np.cumsum(histogram)
    return float(np.searchsorted(total, share * total[-1])) + _LOWEST_DB


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
