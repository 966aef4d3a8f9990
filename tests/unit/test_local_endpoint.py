"""An endpoint's jobs and workers with a clock of our own: hand-out, results, loss, limits."""

import itertools
import json
from collections.abc import Callable

import pytest

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.fleet import EndWorker, Fleet, StartWorker
from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.memory import Limits
from fanscribe.local.queue import JobQueue, Retention
from fanscribe.local.spec import MIB, EndpointSpec
from fanscribe.local.wire import job_body, take_body
from fanscribe.local.worker import Worker

POLICY = Policy(execution_timeout_s=100.0, ttl_s=10_000.0)


class World:
    """One fleet with its clock and a record of what happened."""

    def __init__(self, *specs: EndpointSpec, ram_mib: int = 4096) -> None:
        self.now = 1000.0
        self.ended: list[str] = []
        self.stopped: list[str] = []
        self.names = iter(f"w{number}" for number in range(1, 1000))
        self.fleet = Fleet(
            specs or (EndpointSpec("e", ("x",), max_workers=2),),
            Limits(ram_mib * MIB),
            lambda: self.now,
            new_worker_id=lambda: next(self.names),
            ended=lambda endpoint, job: self.ended.append(job.id),
            lengthened=lambda endpoint: None,
            stop_ordered=lambda worker: self.stopped.append(worker.id),
        )

    def endpoint(self, name: str = "e") -> Endpoint:
        return self.fleet.endpoints[name]

    def submit(self, job_id: str, name: str = "e", policy: Policy = POLICY, *, sync: bool = False) -> Job:
        return self.endpoint(name).queue.submit(job_id, b"{}", policy, sync=sync)

    def started(self) -> list[Worker]:
        return [action.worker for action in self.fleet.decide() if isinstance(action, StartWorker)]

    def told_to_end(self) -> list[str]:
        return [action.worker.id for action in self.fleet.decide() if isinstance(action, EndWorker)]

    def up(self, name: str = "e") -> Worker:
        (worker,) = self.started()
        self.endpoint(name).polled(worker, in_progress=False)
        return worker


@pytest.fixture
def world() -> World:
    return World()


def test_jobs_are_handed_out_in_order_and_finished_by_their_holder_only(world: World) -> None:
    endpoint = world.endpoint()
    first, second = world.submit("a"), world.submit("b")
    worker = world.up()
    other = endpoint.add_worker("x", external=True)
    assert endpoint.take(worker, 1) == [first]
    world.now += 2
    assert not endpoint.complete(other, "a", b"1", None)
    assert endpoint.complete(worker, "a", b"1", None)
    assert (first.status, first.output_json, first.execution_ms()) == (Status.COMPLETED, b"1", 2000)
    assert not endpoint.complete(worker, "a", b"2", None)
    assert first.output_json == b"1"
    assert second.status is Status.IN_QUEUE
    assert world.ended == ["a"]


def test_progress_shows_while_in_progress_and_never_after(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    worker = world.up()
    endpoint.take(worker, 1)
    endpoint.queue.progress(job, b'"half"')
    assert job.output_json == b'"half"'
    endpoint.complete(worker, "a", b'"all"', None)
    endpoint.queue.progress(job, b'"late"')
    assert job.output_json == b'"all"'


def test_a_lost_workers_job_goes_first_in_line_and_fails_once_too_often() -> None:
    world = World(EndpointSpec("e", ("x",), max_retries=1))
    endpoint, job = world.endpoint(), world.submit("a")
    world.submit("b")
    endpoint.take(worker := world.up(), 1)
    endpoint.worker_gone(worker, -9, "last words")
    assert (job.status, job.retries, list(endpoint.queue.waiting)) == (Status.IN_QUEUE, 1, ["a", "b"])
    world.now += 60
    endpoint.take(worker := world.up(), 1)
    endpoint.worker_gone(worker, -9, "last words")
    assert job.status is Status.FAILED
    assert job.error is not None
    assert "exit code -9" in job.error
    assert "last words" in job.error
    assert "tried 2 times" in job.error
    assert endpoint.queue.totals["retried"] == 1


def test_a_cancelled_job_is_stopped_and_its_late_result_ignored(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    assert endpoint.cancel(job)
    assert world.stopped == [worker.id]
    assert worker.stop_orders == ["a"]
    assert worker.state == "running"
    assert not endpoint.complete(worker, "a", b"1", None)
    assert (job.status, job.output_json) == (Status.CANCELLED, None)
    assert worker.state == "idle"
    assert not endpoint.cancel(job)


def test_a_stop_order_is_repeated_ever_later_until_the_job_is_let_go(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    endpoint.cancel(job)
    given = []
    for _ in range(40):
        if worker.stop_orders:
            given.append(world.now - 1000)
            worker.stop_orders.clear()
        world.now += 0.125
        world.fleet.decide()
    assert given == [0, 0.25, 0.5, 1, 2, 4]
    endpoint.polled(worker, in_progress=False)
    world.now += 5
    world.fleet.decide()
    assert worker.stop_orders == []


def test_a_worker_that_does_not_let_go_of_a_stopped_job_is_ended(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    endpoint.cancel(job)
    world.now += 9
    assert world.told_to_end() == []
    world.now += 2
    assert world.told_to_end() == [worker.id]


def test_execution_timeout_and_ttl(world: World) -> None:
    endpoint = world.endpoint()
    slow, stale = world.submit("a"), world.submit("b", policy=Policy(100.0, 50.0))
    endpoint.take(worker := world.up(), 1)
    world.now += 51
    world.fleet.decide()
    assert "b" not in endpoint.queue.jobs
    assert stale.status is Status.IN_QUEUE
    world.now += 50
    world.fleet.decide()
    assert slow.status is Status.TIMED_OUT
    assert worker.stop_orders == ["a"]


def test_finished_jobs_are_kept_half_an_hour_and_sync_ones_a_minute(world: World) -> None:
    endpoint = world.endpoint()
    world.submit("a")
    world.submit("b", sync=True)
    endpoint.take(worker := world.up(), 2)
    endpoint.complete(worker, "a", None, None)
    endpoint.complete(worker, "b", None, None)
    assert Retention() == Retention(1800, 60, 256 * MIB)
    world.now += 61
    world.fleet.decide()
    assert list(endpoint.queue.jobs) == ["a"]
    world.now += 1740
    world.fleet.decide()
    assert not endpoint.queue.jobs


def test_the_oldest_finished_jobs_go_when_they_hold_too_much() -> None:
    queue = JobQueue(
        lambda: 0.0,
        retention=Retention(max_bytes=10),
        max_retries=0,
        ended=lambda job: None,
        lengthened=lambda: None,
    )
    for name in "abcd":
        (job,) = [queue.submit(name, b"1" * 100, POLICY)]
        queue.take("w", 1)
        queue.complete(job, b"four", None)
    # Four bytes of output and `null` where the input was.
    assert list(queue.jobs) == ["d"]
    queue.submit("waits", b"1" * 100, POLICY)
    assert list(queue.jobs) == ["d", "waits"]


def test_a_hand_out_that_did_not_arrive_is_undone_in_order(world: World) -> None:
    endpoint = world.endpoint()
    for name in "abc":
        world.submit(name)
    worker = world.up()
    endpoint.give_back(worker, endpoint.take(worker, 2))
    assert list(endpoint.queue.waiting) == ["a", "b", "c"]
    assert endpoint.queue.totals["retried"] == 0
    assert worker.state == "idle"


def test_a_worker_that_asks_with_nothing_in_progress_has_lost_its_jobs(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    endpoint.polled(worker, in_progress=True)
    assert list(endpoint.queue.running) == ["a"]
    endpoint.polled(worker, in_progress=False)
    assert (job.status, job.retries) == (Status.IN_QUEUE, 1)


def test_two_pings_without_a_job_mean_it_never_arrived(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    world.now += 5
    endpoint.pinged(worker, frozenset({"a"}))
    world.now += 5
    endpoint.pinged(worker, frozenset())
    assert list(endpoint.queue.running) == ["a"]
    world.now += 5
    endpoint.pinged(worker, frozenset())
    assert job.status is Status.IN_QUEUE


def test_silence_ends_a_worker_that_used_to_ping(world: World) -> None:
    endpoint = world.endpoint()
    world.submit("a")
    endpoint.take(worker := world.up(), 1)
    endpoint.pinged(worker, frozenset({"a"}))
    world.now += 31
    assert world.told_to_end() == [worker.id]


def test_workers_that_die_at_startup_are_restarted_ever_later_and_then_fail_the_jobs(world: World) -> None:
    job = world.submit("a")
    starts = []
    for _ in range(3):
        while not (fresh := world.started()):
            world.now += 0.25
        starts.append(world.now)
        world.endpoint().worker_gone(fresh[0], 1, "ModuleNotFoundError: nope")
    assert [round(b - a, 2) for a, b in itertools.pairwise(starts)] == [0.5, 1.0]
    assert job.status is Status.FAILED
    assert job.error is not None
    assert "ModuleNotFoundError: nope" in job.error


def test_a_crash_limit_of_zero_leaves_jobs_waiting() -> None:
    world = World(EndpointSpec("e", ("x",), crash_limit=0))
    job = world.submit("a")
    for _ in range(20):
        world.now += 60
        world.endpoint().worker_gone(world.started()[0], 1)
    assert job.status is Status.IN_QUEUE


def test_a_worker_that_ends_in_order_without_a_job_is_no_crash(world: World) -> None:
    world.submit("a")
    worker = world.up()
    world.endpoint().worker_gone(worker, 0)
    assert world.endpoint().crashes == 0
    assert len(world.started()) == 1


def test_a_command_that_ends_at_once_and_in_order_does_not_spin(world: World) -> None:
    job = world.submit("a")
    for delay_s in (0.5, 1.0):
        world.endpoint().worker_gone(world.started()[0], 0)
        assert world.started() == []
        world.now += delay_s
    world.endpoint().worker_gone(world.started()[0], 0)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert "exit code 0" in job.error


def test_a_worker_that_takes_too_much_memory_while_it_starts_does_not_loop(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    for _ in range(3):
        (worker,) = world.started()
        assert not endpoint.measured(worker, 4000 * MIB)
        assert endpoint.measured(worker, 4000 * MIB)
        endpoint.worker_gone(worker, -9)
        assert world.started() == []
        world.now += 60
    assert job.status is Status.FAILED
    assert job.error is not None
    assert "raise ram_bytes" in job.error


def test_a_draining_worker_that_takes_too_much_memory_is_ended_as_well(world: World) -> None:
    endpoint, job = world.endpoint(), world.submit("a")
    endpoint.take(worker := world.up(), 1)
    endpoint.end_worker(worker, "another endpoint needs its memory")
    endpoint.measured(worker, 4000 * MIB)
    assert endpoint.measured(worker, 4000 * MIB)
    assert job.status is Status.FAILED
    assert endpoint.crashes == 0


def test_what_stays_due_is_no_timer() -> None:
    small = EndpointSpec("small", ("x",), ram_bytes=600 * MIB, max_workers=2, scaler_value=4)
    big = EndpointSpec("big", ("x",), ram_bytes=800 * MIB, scaler_value=4)
    world = World(small, big, ram_mib=1000)
    world.submit("a", "small")
    world.endpoint("small").take(world.up("small"), 1)
    world.submit("b", "big")
    world.fleet.decide()
    assert world.fleet.next_due() == 1004
    world.now += 5
    world.fleet.decide()
    due = world.fleet.next_due()
    assert due is not None
    assert due > world.now


def test_an_idle_worker_ends_after_its_timeout_but_the_minimum_stays() -> None:
    world = World(EndpointSpec("e", ("x",), min_workers=1, max_workers=2, idle_timeout_s=5))
    kept = world.up()
    extra = world.endpoint().add_worker("extra")
    world.endpoint().polled(extra, in_progress=False)
    world.now += 6
    ended = world.told_to_end()
    assert len(ended) == 1
    assert kept.serving or extra.serving


def test_a_worker_that_never_comes_up_is_ended(world: World) -> None:
    world.submit("a")
    (worker,) = world.started()
    world.now += 421
    assert world.told_to_end() == [worker.id]
    assert world.told_to_end() == []


def test_an_idle_worker_of_another_endpoint_makes_room() -> None:
    small = EndpointSpec("small", ("x",), ram_bytes=600 * MIB, idle_timeout_s=600)
    big = EndpointSpec("big", ("x",), ram_bytes=800 * MIB)
    world = World(small, big, ram_mib=1000)
    world.submit("a", "small")
    worker = world.up("small")
    world.endpoint("small").take(worker, 1)
    world.submit("b", "big")
    assert world.fleet.decide() == []
    assert world.endpoint("big").throttled
    world.endpoint("small").complete(worker, "a", None, None)
    assert world.told_to_end() == [worker.id]
    assert world.started() == []
    world.endpoint("small").worker_gone(worker, 0)
    assert [each.endpoint for each in world.started()] == ["big"]


def test_whoever_has_waited_a_minute_gets_the_memory_of_a_busy_worker_when_it_is_done() -> None:
    small = EndpointSpec("small", ("x",), ram_bytes=400 * MIB, max_workers=2, scaler_value=1)
    big = EndpointSpec("big", ("x",), ram_bytes=800 * MIB)
    world = World(small, big, ram_mib=1000)
    endpoint = world.endpoint("small")
    for name in "ab":
        world.submit(name, "small")
    endpoint.take(world.up("small"), 1)
    world.now += 2
    endpoint.take(world.up("small"), 1)
    world.submit("z", "big")
    world.now += 1
    for name in "cdef":
        world.submit(name, "small")
    world.now += 50
    assert world.fleet.decide() == []
    world.now += 20
    for _ in range(2):
        world.fleet.decide()
        (leaving,) = [each for each in endpoint.workers.values() if not each.serving]
        assert leaving.jobs
        endpoint.complete(leaving, next(iter(leaving.jobs)), None, None)
        assert endpoint.take(leaving, 1) == []
        assert world.told_to_end() == [leaving.id]
        endpoint.worker_gone(leaving, 0)
    assert [each.endpoint for each in world.started()] == ["big"]


def test_a_parents_worker_never_takes_the_memory_its_children_need() -> None:
    parent = EndpointSpec(
        "parent", ("x",), ram_bytes=200 * MIB, max_workers=5, scaler_value=1, orchestrator=True
    )
    child = EndpointSpec("child", ("x",), ram_bytes=700 * MIB)
    world = World(parent, child, ram_mib=1000)
    for name in "abcde":
        world.submit(name, "parent")
    world.endpoint("parent").take(world.up("parent"), 1)
    world.now += 3600
    assert world.started() == []
    world.submit("z", "child")
    assert [each.endpoint for each in world.started()] == ["child"]


def test_low_priority_jobs_start_no_worker(world: World) -> None:
    world.submit("a", policy=Policy(100.0, 1000.0, low_priority=True))
    assert world.started() == []
    world.submit("b")
    assert len(world.started()) == 1


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_what_is_final_stays(status: Status) -> None:
    job = Job("a", b"{}", POLICY, 0.0, status=status)
    for other in Status:
        with pytest.raises(ValueError, match="cannot go"):
            job.move(other)


def test_bodies_are_joined_from_json_texts() -> None:
    job = Job("a", b'{"x":1}', POLICY, 0.0, passed_on={"s3Config": {"bucketName": "b"}})
    taken: Callable[[bytes], object] = json.loads
    assert taken(take_body(job)) == {
        "id": "a",
        "status": "IN_QUEUE",
        "delayTime": None,
        "retries": 0,
        "s3Config": {"bucketName": "b"},
        "input": {"x": 1},
    }
    job.output_json = b"[1]"
    assert taken(job_body(job)) == {"id": "a", "status": "IN_QUEUE", "output": [1]}
