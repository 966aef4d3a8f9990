"""Python's cycle collector, held off while many objects are made that cannot form cycles.

Every new word counts towards the next collection, and each collection walks over all words made so far. For
100,000 words that is half of the merge's time (measured, tests/bench/merge_speed.py) and the part of it that
does not grow linearly.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_held() -> Iterator[None]:
    """No cycle collection inside the block; left as it was found afterwards. Freed memory is not affected."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
