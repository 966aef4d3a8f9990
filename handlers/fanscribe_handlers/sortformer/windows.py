"""How a recording that is too long for one pass is cut into windows, and how long one may be. Pure.

An offline Sortformer attends from every frame to every other, so its memory grows with the square of the length.
"""

from dataclasses import dataclass

from fanscribe_handlers.engine import SAMPLE_RATE

FRAME_S = 0.08
"""Seconds from one frame of the answer to the next (10 ms of mel features, eightfold subsampling)."""
FRAME = round(FRAME_S * SAMPLE_RATE)
"""Samples of a frame."""

LONGEST_S = 720
"""Seconds in one pass, at most: NVIDIA's model card of diar_sortformer_4spk-v1 gives about 12 minutes for 48 GB."""
SHORTEST_S = 90
"""Seconds in one pass, at least: the length of the sessions that the model was trained on (same card)."""
ON_CPU_S = 120
"""Seconds in one pass without a GPU. Measured with 180 s: three times the processor time a second of audio that 30 s
take, and up to 1.9 s in one layer, too long for a task that is cancelled."""
OVERLAP_S = 30
"""Seconds that neighbouring windows share, so that their speakers can be told to be the same."""

_CARD_BYTES = 48e9
_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Window:
    """Frames `first` to `last` of the recording, half-open."""

    first: int
    last: int

    @property
    def samples(self) -> slice:
        """The samples of its frames; the slice may reach beyond the end of the recording."""
        return slice(self.first * FRAME, self.last * FRAME)


def longest_s(free_bytes: int) -> int:
    """Seconds that fit into one pass with so much free GPU memory; ON_CPU_S for none."""
    if free_bytes <= 0:
        return ON_CPU_S
    fitting = LONGEST_S * (free_bytes * _SHARE / _CARD_BYTES) ** 0.5
    return max(SHORTEST_S, min(LONGEST_S, int(fitting)))


def lay_out(samples: int, window_s: float, overlap_s: float = OVERLAP_S) -> list[Window]:
    """Windows of equal length over a recording of `samples`, each sharing at least `overlap_s` with the one before.

    None is longer than `window_s`, which must be more than twice the overlap.
    """
    if window_s <= 2 * overlap_s:
        raise ValueError(f"a window of {window_s} s is too short for an overlap of {overlap_s} s")
    total = -(-samples // FRAME)
    longest, shared = int(window_s / FRAME_S), -int(-overlap_s // FRAME_S)
    if total <= longest:
        return [Window(0, total)] if total else []
    count = -(-(total - shared) // (longest - shared))
    starts = [round(number * (total - longest) / (count - 1)) for number in range(count)]
    return [Window(start, start + longest) for start in starts]
