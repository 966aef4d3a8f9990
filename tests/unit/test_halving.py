"""One more try with half the work."""

import pytest

from fanscribe_handlers.engine import Cancelled, OutOfMemory
from fanscribe_handlers.halving import halve_once, ran_out_of_memory


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_signs_of_too_little_memory(error: Exception) -> None:
    assert ran_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), Cancelled()])
def test_other_errors(error: Exception) -> None:
    assert not ran_out_of_memory(error)
    with pytest.raises(type(error)):
        halve_once(8, lambda size: raising(error))


def raising(error: Exception) -> int:
    raise error


def test_no_second_try_without_need() -> None:
    assert halve_once(8, lambda size: size) == 8


def test_the_second_try_has_half_and_comes_after_the_release() -> None:
    steps: list[object] = []

    def work(size: int) -> int:
        steps.append(size)
        if size > 4:
            raise MemoryError("too much")
        return size

    assert halve_once(8, work, release=lambda: steps.append("released")) == 4
    assert steps == [8, "released", 4]


def test_a_second_failure_is_final() -> None:
    tried: list[int] = []

    def work(size: int) -> int:
        tried.append(size)
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nlong advice")

    with pytest.raises(OutOfMemory, match=r"Tried to allocate 2 GiB\): send a shorter clip"):
        halve_once(8, work)
    assert tried == [8, 4]


@pytest.mark.parametrize(("size", "least"), [(1, 1), (100, 60)])
def test_what_cannot_be_halved_is_not_tried_again(size: int, least: int) -> None:
    tried: list[int] = []

    def work(size: int) -> int:
        tried.append(size)
        raise MemoryError

    with pytest.raises(OutOfMemory, match="no details"):
        halve_once(size, work, least=least)
    assert tried == [size]


def test_the_first_try_holds_nothing_when_memory_is_released() -> None:
    """A traceback keeps the frames, and with them the arrays, of what failed."""
    import weakref

    class Large:
        pass

    kept: list[weakref.ref[Large]] = []
    alive: list[bool] = []

    def work(size: int) -> int:
        if size > 4:
            large = Large()
            kept.append(weakref.ref(large))
            raise MemoryError
        return size

    halve_once(8, work, release=lambda: alive.append(kept[0]() is not None))
    assert alive == [False]
