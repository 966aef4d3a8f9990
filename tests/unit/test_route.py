"""A route: its slots, its spare workers, and which of its jobs straggle."""

import asyncio
from dataclasses import replace

import pytest
from tests.scripted import Scene, done

from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.task import Progress
from fanscribe.pipeline.cost import HEDGE_RATIO
from fanscribe.pipeline.job import Watched
from fanscribe.pipeline.route import PEERS, PLATFORM_LIMIT, Route

HEARD_S = 100.0
USUAL_S = 10.1
"""What the scripted route's figures say for so much audio."""


@pytest.fixture
def scene() -> Scene:
    return Scene(lambda job: done())


def job(scene: Scene, route: Route, *, running_s: float | None, share: float | None = None) -> Watched:
    """A job that is out; it was taken so many seconds ago, and has told of its share just now."""
    watched = Watched(
        scene.time.now - (running_s or 0.0) - 0.1, JobState(id="j", status=JobStatus.IN_PROGRESS)
    )
    if running_s is not None:
        watched.taken_at = scene.time.now - running_s
    if share is not None:
        watched.progress = Progress(phase="running", share=share)
        watched.looked_at = scene.time.now
    route.out(watched, HEARD_S)
    return watched


def finished(scene: Scene, route: Route, count: int = PEERS, took_s: float = USUAL_S) -> None:
    """Jobs that were answered after so long."""
    for _ in range(count):
        route.back(job(scene, route, running_s=took_s), answered=True)


def test_limits_are_those_of_the_plan_and_the_platform(scene: Scene) -> None:
    assert scene.route(limit=3).limit == 3
    assert scene.route(limit=0).limit == 1
    assert scene.route(limit=10_000).limit == PLATFORM_LIMIT


async def test_slots_are_given_first_come_first_served(scene: Scene) -> None:
    route, order = scene.route(limit=2), list[int]()
    most = 0
    inside = 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with route.slot():
            order.append(number)
            inside += 1
            most = max(most, inside)
            await scene.time.sleep(1.0)
            inside -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(work(number) for number in range(6)))

    await scene.time.run(all_of_them())
    assert (order, most, route.waiting) == ([0, 1, 2, 3, 4, 5], 2, 0)


async def test_whoever_leaves_while_waiting_takes_no_slot(scene: Scene) -> None:
    route = scene.route(limit=1)
    async with route.slot():
        waiting = asyncio.ensure_future(route.slot().__aenter__())
        await asyncio.sleep(0)
        assert route.waiting == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert route.waiting == 0
    async with route.slot():
        pass


def test_a_worker_is_spare_while_fewer_jobs_are_out_than_there_are_workers(scene: Scene) -> None:
    route = scene.route(workers=2)
    first = job(scene, route, running_s=1.0)
    assert route.spare
    job(scene, route, running_s=1.0)
    assert not route.spare
    route.back(first, answered=False)
    assert route.spare
    route.waiting = 1
    assert not route.spare


def test_a_cold_start_is_expected_until_a_job_was_answered(scene: Scene) -> None:
    route = scene.route()
    assert route.expected_s(HEARD_S) == pytest.approx(USUAL_S), "workers are warm"
    cold = Route(route.endpoint, route.api, replace(route.capacity, workers_warm=0), 5, scene.time.clock)
    assert cold.expected_s(HEARD_S) == pytest.approx(USUAL_S + 5.0)
    finished(scene, cold, 1)
    assert cold.expected_s(HEARD_S) == pytest.approx(USUAL_S)


def test_a_job_far_above_its_peers_straggles(scene: Scene) -> None:
    route = scene.route()
    finished(scene, route)
    assert not route.straggles(job(scene, route, running_s=HEDGE_RATIO * USUAL_S - 0.2), HEARD_S)
    assert route.straggles(job(scene, route, running_s=HEDGE_RATIO * USUAL_S + 0.2), HEARD_S)


def test_where_all_are_slow_none_straggles(scene: Scene) -> None:
    route = scene.route()
    finished(scene, route, took_s=3 * USUAL_S)
    assert not route.straggles(job(scene, route, running_s=3.5 * USUAL_S), HEARD_S)
    assert route.straggles(job(scene, route, running_s=3 * HEDGE_RATIO * USUAL_S + 1), HEARD_S)


def test_too_few_peers_tell_nothing(scene: Scene) -> None:
    route = scene.route()
    finished(scene, route, PEERS - 1)
    assert not route.straggles(job(scene, route, running_s=2.5 * USUAL_S), HEARD_S)


def test_where_no_worker_is_free_another_job_helps_nobody(scene: Scene) -> None:
    route = scene.route(workers=1)
    finished(scene, route)
    assert not route.straggles(job(scene, route, running_s=3 * USUAL_S), HEARD_S)


def test_progress_gives_a_straggler_away_early(scene: Scene) -> None:
    route = scene.route(workers=8)
    for _ in range(PEERS):
        job(scene, route, running_s=4.0, share=0.4)
    slow = job(scene, route, running_s=4.0, share=0.04)
    assert route.straggles(slow, HEARD_S)
    assert not route.straggles(job(scene, route, running_s=4.0, share=0.3), HEARD_S)
    assert not route.straggles(job(scene, route, running_s=1.0, share=0.001), HEARD_S), "too early to tell"


def test_a_job_of_an_earlier_run_tells_nothing_of_what_is_usual(scene: Scene) -> None:
    route = scene.route(workers=8)
    for _ in range(PEERS):
        resumed = job(scene, route, running_s=0.5, share=0.9)
        resumed.resumed = True
        route.back(resumed, answered=True)
        job(scene, route, running_s=0.5, share=0.9).resumed = True
    assert not route.straggles(job(scene, route, running_s=USUAL_S), HEARD_S)


def test_a_job_nobody_takes_is_lost_in_the_end(scene: Scene) -> None:
    route = scene.route()
    waiting = Watched(scene.time.now, JobState(id="j", status=JobStatus.IN_QUEUE))
    route.out(waiting, HEARD_S)
    assert not route.straggles(waiting, HEARD_S)
    scene.time.now += 3 * USUAL_S + 59.0
    assert not route.straggles(waiting, HEARD_S)
    scene.time.now += 2.0
    assert route.straggles(waiting, HEARD_S)
