"""Several channels made into one, and what that would lose.

The mean of the channels never clips and keeps a mono recording that was saved as stereo exactly. Two
channels with opposite polarity cancel each other in it, though: that is measured on the way and told.
"""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_AUDIBLE_POWER = 1e-6
"""Mean square below which a block counts as silence: 60 dB under full scale."""

_CANCELLED_SHARE = 0.1
"""A mix that keeps less than this share of what one speaking channel alone would leave has cancelled."""


class MixDown:
    """Mixes block after block; `cancelled_s` are the seconds in which the channels erased each other."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self.cancelled_s = 0.0
        self.audible_s = 0.0

    def mix(self, block: Samples) -> Samples:
        """The mean over the channels: shape (channels, n) in, (n,) out."""
        channels, count = block.shape
        if channels == 1:
            only: Samples = block[0]
            return only
        mixed: Samples = block.mean(axis=0, dtype=np.float32)
        if count:
            power = float(np.einsum("ij,ij->", block, block)) / (channels * count)
            if power > _AUDIBLE_POWER:
                self.audible_s += count / self._sample_rate
                # One channel alone leaves 1/channels of the mean power in the mix, as independent ones do.
                if float(mixed @ mixed) / count < _CANCELLED_SHARE * power / channels:
                    self.cancelled_s += count / self._sample_rate
        return mixed

    def warning(self, name: str) -> str | None:
        """What to tell the user, or None. A second, or a twentieth of what is audible, is worth telling."""
        if self.cancelled_s < min(1.0, 0.05 * self.audible_s) or self.cancelled_s == 0:
            return None
        return (
            f"{name}: its channels cancel each other for {self.cancelled_s:.1f} s when they are mixed (one has "
            "reversed polarity); transcribe one channel, or each channel by itself"
        )
