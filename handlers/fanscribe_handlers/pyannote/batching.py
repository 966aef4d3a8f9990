"""How many windows go through the networks at a time. Pure."""

from math import ceil

WINDOW_S = 10.0
STEP_S = 1.0
"""Length and distance of the windows of both pipelines, seconds (segmentation-3.0's duration, and a tenth of it)."""

WINDOW_BYTES = 60_000_000
"""GPU memory that the embedding of one window of 10 s takes in float32, bytes: pyannote.audio's issue 1963 measured
1.82 GiB for 32 of them on an RTX A5000. The segmentation takes less (0.43 GB for 32, same issue)."""

MOST = 64
"""More windows at a time keep no GPU busier, and a cancelled task would end later."""
ON_CPU = 1
"""0.6 s of processor time for both networks: two at a time are no faster, and a cancelled task would end later."""

_SHARE = 0.5
"""Share of the free memory that batches may take: the rest is for cuDNN's workspaces and the recording."""


def windows_at_once(free_bytes: int) -> int:
    """Windows in one batch, a power of two from 1 to MOST, or ON_CPU where there is no GPU memory."""
    if free_bytes <= 0:
        return ON_CPU
    fitting = int(free_bytes * _SHARE / WINDOW_BYTES)
    return min(MOST, 1 << max(0, fitting.bit_length() - 1))


def windows_in(duration_s: float) -> int:
    """Windows over a recording of `duration_s` seconds; the last may reach beyond its end."""
    return max(1, ceil((duration_s - WINDOW_S) / STEP_S) + 1)
