"""Memory that a worker of many threads gives back to the system after a rush.

glibc keeps what was freed in up to eight arenas a core, and raises the sizes from which it asks for pages of their
own, and gives free ones back, by what it has seen. So the memory of a worker with hundreds of threads grew by a tenth
with each two hundred requests, though no object of them was left.
"""

import contextlib
import ctypes

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3
"""Parameters of mallopt, as glibc's malloc.h numbers them."""

_ARENAS = 2
_THRESHOLD_BYTES = 128 * 1024
"""glibc's own first value of both thresholds; once set, they stay."""


def keep_memory_flat() -> bool:
    """Tell the allocator of this process so; call it before threads are started. False where it is not glibc's."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(
            mallopt(parameter, value) == 1
            for parameter, value in (
                (_ARENA_MAX, _ARENAS),
                (_TRIM_THRESHOLD, _THRESHOLD_BYTES),
                (_MMAP_THRESHOLD, _THRESHOLD_BYTES),
            )
        )
    return False
