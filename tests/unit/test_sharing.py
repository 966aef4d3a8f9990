"""What the requests of one process share: places on an endpoint, in a fair order."""

import asyncio

import pytest
from tests.scripted import Scene, done

from fanscribe.pipeline.route import Route
from fanscribe.pipeline.sharing import Pool, Sharing

pytestmark = pytest.mark.anyio


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Queue:
    """Requests that ask a pool for places; `order` notes who got one."""

    def __init__(self, limit: int) -> None:
        self.pool = Pool(limit)
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, holder: str, times: int = 1) -> None:
        for _ in range(times):
            self.tasks.append(asyncio.create_task(self._one(holder)))

    async def _one(self, holder: str) -> None:
        await self.pool.acquire(holder)
        self.order.append(holder)

    async def free(self, holder: str) -> None:
        self.pool.release(holder)
        await settle()


async def test_no_more_than_the_limit() -> None:
    queue = Queue(2)
    queue.ask("a", 3)
    await settle()
    assert (queue.order, queue.pool.out, queue.pool.waiting) == (["a", "a"], 2, 1)
    await queue.free("a")
    assert (len(queue.order), queue.pool.out, queue.pool.waiting) == (3, 2, 0)


async def test_who_has_fewest_out_comes_first() -> None:
    queue = Queue(2)
    queue.ask("long", 10)
    await settle()
    queue.ask("short")
    await settle()
    await queue.free("long")
    assert queue.order == ["long", "long", "short"]


async def test_requests_take_turns() -> None:
    queue = Queue(1)
    for holder in "abc":
        queue.ask(holder, 3)
    await settle()
    for _ in range(8):
        await queue.free(queue.order[-1])
    assert queue.order == list("aabcabcbc")  # a was served before the others came


async def test_whoever_comes_later_is_not_served_for_ever_before_whoever_waits() -> None:
    queue = Queue(1)
    queue.ask("old", 2)
    await settle()
    served = 0
    for number in range(20):
        queue.ask(f"new-{number}")
        await settle()
        served = queue.order.count("old")
        if served == 2:
            break
        await queue.free(queue.order[-1])
    assert served == 2, queue.order


async def test_a_place_beside_another_is_not_waited_for() -> None:
    pool = Pool(1)
    await pool.acquire("a")
    pool.take("b")
    assert pool.out == 2
    waiting = asyncio.create_task(pool.acquire("c"))
    pool.release("a")
    await settle()
    assert not waiting.done()  # the limit is still used up
    pool.release("b")
    await waiting
    assert pool.out == 1


async def test_a_cancelled_wait_leaves_no_place_behind() -> None:
    queue = Queue(1)
    queue.ask("a", 2)
    queue.ask("b")
    await settle()
    queue.tasks[1].cancel()
    await settle()
    assert queue.pool.waiting == 1
    await queue.free("a")
    assert queue.order == ["a", "b"]
    await queue.free("b")
    assert (queue.pool.out, queue.pool.waiting) == (0, 0)


async def test_a_place_that_came_with_the_cancellation_goes_to_the_next() -> None:
    queue = Queue(1)
    queue.ask("a")
    queue.ask("b")
    queue.ask("c")
    await settle()
    queue.pool.release("a")  # b's future is done, b has not run yet
    queue.tasks[1].cancel()
    await settle()
    assert queue.order == ["a", "c"]
    assert queue.pool.out == 1


async def test_a_place_that_is_freed_in_the_moment_of_a_cancellation_is_counted_right() -> None:
    queue = Queue(2)
    queue.ask("a", 3)
    queue.ask("b")
    await settle()
    queue.tasks[2].cancel()  # a's third has not run since
    queue.tasks[3].cancel()
    queue.pool.release("a")
    await settle()
    assert [queue.tasks[number].cancelled() for number in (2, 3)] == [True, True]
    assert (queue.pool.out, queue.pool.waiting) == (1, 0)
    queue.ask("c", 2)
    await settle()
    assert (queue.pool.out, queue.pool.waiting) == (2, 1)


async def test_one_pool_for_each_endpoint() -> None:
    sharing = Sharing(decodes=2)
    pool = sharing.pool("words", 3)
    assert sharing.pool("words", 2) is pool
    assert pool.limit == 3
    sharing.pool("words", 5)
    assert pool.limit == 5
    assert sharing.pool("speakers", 1) is not pool


def shared(pool: Pool, holder: str) -> Route:
    """A request's route to an endpoint with four workers."""
    scene = Scene(lambda job: done())
    route = scene.route()
    return Route(route.endpoint, route.api, route.capacity, 5, scene.time.clock, pool, holder)


async def test_a_route_takes_a_place_for_each_slot() -> None:
    pool = Pool(4)
    mine, other = shared(pool, "mine"), shared(pool, "other")
    assert mine.spare
    async with other.slot(), other.slot(), other.slot(), mine.slot():
        assert pool.out == 4
        assert not mine.spare  # the other request's jobs hold the workers
        async with mine.slot(beside=True):
            assert pool.out == 5
        waiting = asyncio.create_task(other.slot().__aenter__())
        await settle()
        assert (pool.waiting, other.waiting) == (1, 0)
        waiting.cancel()
        await settle()
    assert (pool.out, pool.waiting) == (0, 0)
    assert mine.spare


async def test_a_slot_that_was_not_granted_is_not_kept() -> None:
    pool = Pool(1)
    route = shared(pool, "mine")
    async with route.slot():
        for _ in range(10):  # more than the route's own slots
            waiting = asyncio.create_task(route.slot().__aenter__())
            await settle()
            waiting.cancel()
            await settle()
    async with route.slot():
        assert pool.out == 1
