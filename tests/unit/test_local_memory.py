"""What fits the machine, and who has to go."""

import pytest

from fanscribe.local.memory import Budget, Limits, NeverFitsError, budget, check_fits, place
from fanscribe.local.spec import MIB, EndpointSpec
from fanscribe.local.worker import Worker

GIB = 1024 * MIB


def worker(name: str, ram_gib: float, *, ending: str | None = None) -> Worker:
    made = Worker(name, "other", external=False, started_at=0.0, ram_bytes=int(ram_gib * GIB))
    made.ending = ending
    return made


BIG = EndpointSpec("big", ("x",), ram_bytes=4 * GIB)
ROOM = Budget(8 * GIB, 0)


def test_a_worker_starts_where_there_is_room() -> None:
    assert place(BIG, ROOM, [worker("a", 4)], []).fits


def test_idle_workers_are_evicted_and_only_as_many_as_needed() -> None:
    first, second = worker("a", 3), worker("b", 3)
    placement = place(BIG, ROOM, [first, second], [first, second])
    assert not placement.fits
    assert placement.evict == (first,)


def test_nobody_is_evicted_when_it_would_not_help() -> None:
    idle, busy = worker("a", 1), worker("b", 6)
    assert place(BIG, ROOM, [idle, busy], [idle]).evict == ()


def test_memory_of_an_ending_worker_is_waited_for_instead_of_evicting_another() -> None:
    leaving, idle = worker("a", 4, ending="it was idle"), worker("b", 4)
    placement = place(BIG, ROOM, [leaving, idle], [idle])
    assert not placement.fits
    assert placement.evict == ()


def test_a_spec_that_can_never_fit_is_refused_with_its_figures() -> None:
    with pytest.raises(NeverFitsError, match=r"big: a worker needs 4096 MiB of RAM .* 2048 MiB"):
        check_fits(Limits(2 * GIB), [BIG])
    gpu = EndpointSpec("gpu", ("x",), ram_bytes=0, vram_bytes=GIB)
    with pytest.raises(NeverFitsError, match="set vram_bytes to 0"):
        check_fits(Limits(2 * GIB), [gpu])


def test_a_minimum_that_leaves_no_room_for_another_endpoint_is_refused() -> None:
    kept = EndpointSpec("kept", ("x",), ram_bytes=3 * GIB, min_workers=2, max_workers=2)
    with pytest.raises(
        NeverFitsError, match=r"big: .* the minimum of kept needs 10240 MiB of RAM .* 8192 MiB"
    ):
        check_fits(Limits(8 * GIB), [BIG, kept])
    check_fits(Limits(10 * GIB), [BIG, kept])
    gpu = EndpointSpec("gpu", ("x",), ram_bytes=0, vram_bytes=GIB, min_workers=1)
    other = EndpointSpec("other", ("x",), ram_bytes=0, vram_bytes=GIB)
    with pytest.raises(NeverFitsError, match=r"other: .* GPU memory"):
        check_fits(Limits(8 * GIB, GIB), [gpu, other])


def test_orchestrators_and_the_rest_cannot_take_each_others_memory() -> None:
    parent = EndpointSpec("parent", ("x",), ram_bytes=GIB, orchestrator=True)
    limits = Limits(8 * GIB, GIB)
    assert budget(limits, BIG, [BIG]) == Budget(8 * GIB, GIB)
    assert budget(limits, BIG, [BIG, parent]) == Budget(7 * GIB, GIB)
    assert budget(limits, parent, [BIG, parent]) == Budget(GIB, 0)


def test_orchestrators_get_no_more_than_their_share() -> None:
    parents = EndpointSpec("parents", ("x",), ram_bytes=GIB, max_workers=5, orchestrator=True)
    limits = Limits(8 * GIB)
    assert budget(limits, BIG, [BIG, parents]) == Budget(6 * GIB, 0)
    assert budget(limits, parents, [BIG, parents]) == Budget(2 * GIB, 0)


def test_a_budget_gives_way_to_workers_that_still_hold_the_other_one() -> None:
    room, limits = Budget(6 * GIB, GIB), Limits(8 * GIB, GIB)
    assert room.beside(2 * GIB, limits) == room
    assert room.beside(3 * GIB, limits) == Budget(5 * GIB, GIB)
