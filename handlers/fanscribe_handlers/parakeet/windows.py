"""Which stretches of the audio the model hears at a time. Pure.

A window has its own side of the cuts and some audio beyond them: the words near a cut are heard by both windows
with their context, and `fanscribe.pipeline.merge.stitch` gives each to one of them.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fanscribe_handlers.engine import SAMPLE_RATE

MARGIN_S = 2.0
"""Audio heard beyond a cut, seconds: room for the two or more words that a switch between windows is made in."""

_SEARCH_S = 5.0
"""How far from its even place a cut may move to a quieter one, seconds."""

_FRAME = SAMPLE_RATE // 50  # samples of which the loudness is compared: 20 ms

_SILENT = 1e-4
"""Peak amplitude under which audio cannot hold speech: -80 dB of full scale."""

_SHORTEST_SILENCE_S = 2.0
_SILENCE_KEPT_S = 0.4
"""Silence of 2 s and more is left out, but for 0.4 s on each side of what sounds."""


@dataclass(frozen=True, slots=True)
class Window:
    """[start, end) is the window's own side of the cuts, [heard_start, heard_end) what is heard; seconds."""

    start: float
    end: float
    heard_start: float
    heard_end: float

    @property
    def heard_s(self) -> float:
        """Seconds of audio that are heard."""
        return self.heard_end - self.heard_start


def windows(samples: NDArray[np.float32], longest_s: float, *, skip_silence: bool) -> list[Window]:
    """The audio in windows that are heard for at most `longest_s` seconds each (above four margins).

    A stretch that is too long for one is cut into windows of even length, at the quietest 20 ms near each even
    cut. Long silence (nothing above -80 dB) is left out with `skip_silence`; without, everything is heard.
    """
    total_s = len(samples) / SAMPLE_RATE
    stretches = sounding(samples) if skip_silence else [(0.0, total_s)]
    return [window for start, end in stretches for window in _cut(samples, start, end, longest_s)]


def heard_in(samples: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """The samples that a window hears."""
    return samples[round(window.heard_start * SAMPLE_RATE) : round(window.heard_end * SAMPLE_RATE)]


def sounding(samples: NDArray[np.float32]) -> list[tuple[float, float]]:
    """The stretches between long silences, seconds, in order; none where all is silent."""
    total_s = len(samples) / SAMPLE_RATE
    loud = np.flatnonzero(np.abs(samples) >= _SILENT)
    if not loud.size:
        return []
    gaps = np.flatnonzero(np.diff(loud) >= _SHORTEST_SILENCE_S * SAMPLE_RATE)
    starts = [int(loud[0]), *(int(loud[gap + 1]) for gap in gaps)]
    ends = [*(int(loud[gap]) + 1 for gap in gaps), int(loud[-1]) + 1]
    return [
        (
            max(0.0, start / SAMPLE_RATE - _SILENCE_KEPT_S),
            min(total_s, end / SAMPLE_RATE + _SILENCE_KEPT_S),
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def _cut(samples: NDArray[np.float32], start: float, end: float, longest_s: float) -> list[Window]:
    length = end - start
    if length <= longest_s:
        return [Window(start, end, start, end)]
    # Each cut may move by `search_s`, so the even length leaves room for that on both sides, and for the margins.
    search_s = min(_SEARCH_S, (longest_s - 2 * MARGIN_S) / 8)
    count = math.ceil(length / (longest_s - 2 * MARGIN_S - 2 * search_s))
    cuts = [_quietest(samples, start + number * length / count, search_s) for number in range(1, count)]
    borders = [start, *cuts, end]
    return [Window(a, b, max(start, a - MARGIN_S), min(end, b + MARGIN_S)) for a, b in pairwise(borders)]


def _quietest(samples: NDArray[np.float32], near: float, search_s: float) -> float:
    """The middle of the quietest 20 ms around a time; the earliest of equals."""
    begin = int((near - search_s) * SAMPLE_RATE)
    frames = int(2 * search_s * SAMPLE_RATE) // _FRAME
    heard = samples[begin : begin + frames * _FRAME].reshape(frames, _FRAME)
    quietest = int(np.argmin(np.square(heard).sum(axis=1)))
    return (begin + quietest * _FRAME + _FRAME // 2) / SAMPLE_RATE


def batches(found: list[Window], budget_s: float, most: int) -> list[list[int]]:
    """Numbers of the windows in batches of similar lengths, the longest first.

    A batch is padded to its longest window; its padded length stays under `budget_s` seconds, unless one window
    alone is longer, and it holds at most `most` windows.
    """
    order = sorted(range(len(found)), key=lambda number: -found[number].heard_s)
    result: list[list[int]] = []
    for number in order:
        if result and len(result[-1]) < most:
            longest_s = found[result[-1][0]].heard_s
            if longest_s * (len(result[-1]) + 1) <= budget_s:
                result[-1].append(number)
                continue
        result.append([number])
    return result
