"""Which samples go through the network together. Pure.

Attention grows with the square of its window, so a long segment is heard in windows with some sound around each.
All windows of a batch get the same length, the longer ones' by taking more of the recording: filling up with
zeros would change what wav2vec2's group norm makes of the speech, since that model has no attention mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

HOP = 320
"""Samples from one frame to the next: 20 ms, the stride of wav2vec2's convolutions (Baevski et al. 2020)."""

_WINDOW = 1500  # frames: 30 s
_AROUND = 50  # frames of sound on both sides of a window that is cut out of a segment: 1 s
_SHORTEST = 50  # frames; the model needs some sound to make sense of it
_LEAST = 2  # frames in a recording: the convolutions need 400 samples

Wanted = tuple[int, int, int]
"""A segment's number, and the first of its frames that are wanted and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a segment's frames. Frames count from the start of the recording, HOP samples each.

    The frames [first, last) are wanted; the sound [heard_first, heard_last) goes through the network for them.
    """

    segment: int
    first: int
    last: int
    heard_first: int
    heard_last: int

    @property
    def wanted(self) -> Wanted:
        """What the window is for, however much sound it takes."""
        return (self.segment, self.first, self.last)

    @property
    def length(self) -> int:
        """Frames of sound that go through the network."""
        return self.heard_last - self.heard_first


def cut(spans: Sequence[tuple[float, float]], samples: int, rate: int) -> list[Window]:
    """The windows of all segments; a segment without a whole frame gets none.

    `spans` are seconds, `samples` is the recording's length, `rate` in Hz.
    """
    whole = samples // HOP
    windows: list[Window] = []
    if whole < _LEAST:
        return windows
    for segment, (start, end) in enumerate(spans):
        first, last = int(start * rate) // HOP, min(whole, -(-int(end * rate) // HOP))
        if last - first <= _WINDOW:
            around = 0
            parts = [(first, last)] if last > first else []
        else:
            around = _AROUND
            count = -(-(last - first) // _WINDOW)
            borders = [first + (last - first) * number // count for number in range(count + 1)]
            parts = list(pairwise(borders))
        for begin, stop in parts:
            # One frame more, because the last 400 samples of the sound give one frame, not one and a quarter.
            heard_first, heard_last = max(0, begin - around), min(whole, stop + max(1, around))
            lacking = max(0, _SHORTEST - (heard_last - heard_first))
            heard_first = max(0, heard_first - lacking)
            windows.append(Window(segment, begin, stop, heard_first, heard_last))
    return windows


def batches(windows: Sequence[Window], frames: int, whole: int) -> list[list[Window]]:
    """The windows in batches of at most `frames` frames of sound, but at least one window each, longest first.

    Every window of a batch is made as long as its longest, within the `whole` frames of the recording.
    """
    made: list[list[Window]] = []
    for window in sorted(windows, key=lambda each: -each.length):
        if made and made[-1][0].length * (len(made[-1]) + 1) <= frames:
            made[-1].append(_lengthened(window, made[-1][0].length, whole))
        else:
            made.append([window])
    return made


def _lengthened(window: Window, length: int, whole: int) -> Window:
    last = min(whole, window.heard_first + length)
    return Window(window.segment, window.first, window.last, last - length, last)
