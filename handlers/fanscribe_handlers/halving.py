"""One more try with half the work at a time after the memory ran out. Pure."""

from collections.abc import Callable
from typing import TypeVar

from fanscribe_handlers.engine import OutOfMemory

T = TypeVar("T")

_SIGNS = ("out of memory", "alloc_failed", "can't allocate memory", "cudnn_status_not_supported")
"""What the messages of CUDA, cuBLAS, PyTorch's CPU allocator and cuDNN (whose workspace does not fit) have in them."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch, or of a library on it, says that there was too little memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def halve_once(
    size: int, work: Callable[[int], T], *, least: int = 1, release: Callable[[], None] = lambda: None
) -> T:
    """What `work(size)` gives, or `work(size // 2)` where the first ran out of memory.

    `release` gives memory back between the two; it is called when nothing holds the first try's arrays any more.
    Raises OutOfMemory when the second try fails too, or when half would be less than `least`. Every other error passes.
    """
    try:
        return work(size)
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        told = str(error)
    release()
    smaller = size // 2
    if smaller < least:
        raise OutOfMemory(_advice(told))
    try:
        return work(smaller)
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise OutOfMemory(_advice(str(error))) from error


def _advice(told: str) -> str:
    first = told.strip().splitlines()[0][:200] if told.strip() else "no details"
    return f"the engine ran out of memory even with half its batch ({first}): send a shorter clip, or use a larger GPU"
