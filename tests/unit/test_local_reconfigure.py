"""A fleet whose endpoints come, change and go while it runs, with a clock of our own."""

from dataclasses import replace

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.fleet import EndWorker, Fleet, StartWorker
from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.memory import Limits
from fanscribe.local.spec import MIB, REQUEST_COUNT, EndpointSpec
from fanscribe.local.worker import Worker

SPEC = EndpointSpec("e", ("x",), ram_bytes=1000 * MIB, max_workers=3, idle_timeout_s=60)


class World:
    """A fleet with its clock, the workers it was told to end, and the jobs that came to their end."""

    def __init__(self, *specs: EndpointSpec, ram_mib: int = 4000) -> None:
        self.now = 1000.0
        self.ended: list[tuple[str, Status]] = []
        self.names = iter(f"w{number}" for number in range(1, 1000))
        self.fleet = Fleet(
            specs,
            Limits(ram_mib * MIB),
            lambda: self.now,
            new_worker_id=lambda: next(self.names),
            ended=lambda endpoint, job: self.ended.append((job.id, job.status)),
            lengthened=lambda endpoint: None,
            stop_ordered=lambda worker: None,
        )

    @property
    def endpoint(self) -> Endpoint:
        return self.fleet.endpoints["e"]

    def submit(self, job_id: str) -> Job:
        return self.endpoint.queue.submit(job_id, b"{}", Policy(600, 86_400))

    def step(self) -> tuple[list[Worker], list[str]]:
        """Workers to start, and ids of workers to end."""
        actions = self.fleet.decide()
        ends = [action.worker.id for action in actions if isinstance(action, EndWorker)]
        return [action.worker for action in actions if isinstance(action, StartWorker)], ends

    def ready(self, worker: Worker) -> Worker:
        self.endpoint.polled(worker, in_progress=False)
        return worker

    def busy_and_idle(self) -> tuple[Worker, Worker]:
        self.fleet.deploy(replace(self.endpoint.spec, min_workers=2))
        busy, idle = (self.ready(worker) for worker in self.step()[0])
        self.submit("job")
        self.endpoint.take(busy, 1)
        self.fleet.deploy(replace(self.endpoint.spec, min_workers=0))
        return busy, idle

    def gone(self, worker: Worker) -> None:
        home = self.fleet.home_of(worker)
        assert home is not None
        home.worker_gone(worker, 0)


def test_a_new_release_replaces_idle_workers_at_once_and_busy_ones_after_their_job() -> None:
    world = World(SPEC)
    busy, idle = world.busy_and_idle()
    world.submit("waiting")
    world.fleet.deploy(replace(SPEC, release=2, command=("y",)))
    (fresh,), ends = world.step()
    assert (fresh.release, ends) == (2, [idle.id])
    assert (busy.release, busy.state) == (1, "draining")
    assert world.endpoint.take(busy, 1) == []
    assert world.endpoint.complete(busy, "job", b"1", None)
    assert world.step() == ([], [busy.id])
    world.ready(fresh)
    assert [job.id for job in world.endpoint.take(fresh, 1)] == ["waiting"]
    assert world.ended == [("job", Status.COMPLETED)]


def test_a_new_release_starts_without_the_crashes_of_the_last() -> None:
    world = World(SPEC)
    world.submit("a")
    for _ in range(2):
        world.now += 60
        (worker,), _ends = world.step()
        world.endpoint.worker_gone(worker, 1)
    assert world.step() == ([], [])
    assert world.endpoint.trouble is not None
    world.fleet.deploy(replace(SPEC, release=2))
    assert world.endpoint.trouble is None
    assert len(world.step()[0]) == 1


def test_settings_of_the_same_release_change_under_the_workers() -> None:
    world = World(SPEC)
    busy, idle = world.busy_and_idle()
    world.fleet.deploy(replace(SPEC, idle_timeout_s=5, execution_timeout_s=7))
    assert world.step() == ([], [])
    world.now += 5
    world.endpoint.polled(busy, in_progress=True)
    assert world.step() == ([], [idle.id])
    assert world.endpoint.policy.execution_timeout_s == 7


def test_a_lower_maximum_ends_idle_workers_first_and_lets_busy_ones_finish() -> None:
    world = World(SPEC)
    busy, idle = world.busy_and_idle()
    world.fleet.deploy(replace(SPEC, max_workers=1))
    assert world.step() == ([], [idle.id])
    world.submit("later")
    world.fleet.deploy(replace(SPEC, max_workers=0))
    assert world.step() == ([], [])
    assert world.endpoint.complete(busy, "job", b"1", None)
    assert world.step() == ([], [busy.id])
    world.gone(busy)
    world.gone(idle)
    assert world.step() == ([], [])
    world.fleet.deploy(SPEC)
    assert len(world.step()[0]) == 1


def test_another_scaler_counts_from_now_on() -> None:
    world = World(SPEC)
    for number in range(3):
        world.submit(f"j{number}")
    (first,), _ = world.step()
    world.ready(first)
    assert world.step() == ([], [])
    world.fleet.deploy(replace(SPEC, scaler=REQUEST_COUNT, scaler_value=1))
    assert len(world.step()[0]) == 2


def test_a_deleted_endpoint_cancels_its_jobs_and_its_workers_count_until_they_are_gone() -> None:
    other = EndpointSpec("other", ("x",), ram_bytes=3000 * MIB)
    world = World(SPEC, other)
    busy, idle = world.busy_and_idle()
    world.submit("waiting")
    world.fleet.delete("e")
    assert world.ended == [("waiting", Status.CANCELLED), ("job", Status.CANCELLED)]
    assert "e" not in world.fleet.endpoints
    world.fleet.endpoints["other"].queue.submit("big", b"{}", Policy(600, 86_400))
    starts, ends = world.step()
    assert (starts, sorted(ends)) == ([], sorted([busy.id, idle.id]))
    assert {worker.id for worker in world.fleet.workers()} == {busy.id, idle.id}
    world.gone(busy)
    world.gone(idle)
    assert world.fleet.home_of(busy) is None
    assert [worker.endpoint for worker in world.step()[0]] == ["other"]


def test_external_workers_do_not_keep_a_deleted_endpoint_alive() -> None:
    world = World(SPEC)
    guest = world.endpoint.add_worker("guest", external=True)
    world.fleet.delete("e")
    world.step()
    assert list(world.fleet.workers()) == []
    assert guest.state == "draining"


def test_a_blocked_endpoint_starts_nothing_keeps_its_jobs_and_says_why() -> None:
    world = World(replace(SPEC, blocked="no such image", min_workers=1))
    job = world.submit("a")
    assert world.step() == ([], [])
    assert world.endpoint.trouble == "no such image"
    assert job.status is Status.IN_QUEUE
    world.fleet.deploy(SPEC)
    assert len(world.step()[0]) == 1


def test_what_can_never_fit_is_told_and_what_is_blocked_does_not_count() -> None:
    world = World(SPEC, ram_mib=1500)
    assert "1600 MiB" in world.fleet.misfit(replace(SPEC, name="f", ram_bytes=1600 * MIB))
    kept = replace(SPEC, name="g", min_workers=1)
    assert "beside the minimum of g" in world.fleet.misfit(kept)
    assert world.fleet.misfit(replace(SPEC, min_workers=1)) == ""
    world.fleet.deploy(replace(SPEC, blocked="for now"))
    assert world.fleet.misfit(kept) == ""
