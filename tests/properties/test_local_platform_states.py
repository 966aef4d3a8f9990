"""Any order of events on the platform's state: jobs only move forward, none is lost, none is answered twice."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fanscribe.local import journal
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.fleet import EndWorker, Fleet, StartWorker
from fanscribe.local.job import FINAL, Job, Policy, Status
from fanscribe.local.memory import Limits
from fanscribe.local.queue import Retention
from fanscribe.local.spec import MIB, REQUEST_COUNT, EndpointSpec
from fanscribe.local.worker import Worker

SPECS = (
    EndpointSpec("delay", ("x",), max_workers=3, ram_bytes=300 * MIB, max_retries=1),
    EndpointSpec(
        "count",
        ("x",),
        min_workers=1,
        max_workers=2,
        ram_bytes=500 * MIB,
        scaler=REQUEST_COUNT,
        scaler_value=1,
    ),
    EndpointSpec("parent", ("x",), max_workers=2, ram_bytes=100 * MIB, orchestrator=True, crash_limit=0),
)
LIMITS = Limits(1200 * MIB)
WANTED_STEPS = 10_000
MOST_ROUNDS = 20
RETRIABLE = (Status.FAILED, Status.TIMED_OUT)
KINDS = {
    *("submit", "decide", "poll", "ask for work", "take", "done", "late result", "progress", "late progress"),
    *(
        "cancel",
        "retry",
        "refused retry",
        "purge",
        "process ends",
        "ping",
        "measure",
        "external",
        "time",
        "restart",
        "reconfigure",
    ),
}
steps = Counter[str]()


class Model:
    """What the outside knows of one job."""

    def __init__(self, endpoint: str, job: Job) -> None:
        self.endpoint = endpoint
        self.ttl_at = job.submitted_at + job.policy.ttl_s
        self.seen = job.status
        self.answer: bytes | None = None
        self.ends = 0
        self.allowed_ends = 1
        self.kept_until: float | None = None


class PlatformStates(RuleBasedStateMachine):
    """Drives a fleet; `models` is what clients were promised."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.count = 0
        self.models: dict[str, Model] = {}
        self.past: list[tuple[str, Worker, str]] = []
        self.fleet = self.new_fleet()

    def new_fleet(self) -> Fleet:
        return Fleet(
            SPECS,
            LIMITS,
            lambda: self.now,
            new_worker_id=self.next_id,
            ended=self.job_ended,
            lengthened=lambda endpoint: None,
            stop_ordered=lambda worker: None,
        )

    def next_id(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def job_ended(self, endpoint: Endpoint, job: Job) -> None:
        if job.final:
            self.models[job.id].ends += 1

    def workers(self, *, ready: bool = False) -> list[Worker]:
        return [each for each in self.fleet.workers() if not ready or each.ready_at is not None]

    def pick(self, data: st.DataObject, things: list[Any]) -> Any:
        return things[data.draw(st.integers(0, len(things) - 1))]

    def of(self, worker: Worker) -> Endpoint:
        return self.fleet.endpoints[worker.endpoint]

    def jobs(self) -> list[tuple[Endpoint, Job]]:
        return [(each, job) for each in self.fleet.endpoints.values() for job in each.queue.jobs.values()]

    @rule(
        name=st.sampled_from([spec.name for spec in SPECS]),
        ttl_s=st.sampled_from([10.0, 86_400.0]),
        timeout_s=st.sampled_from([5.0, 600.0]),
        low=st.booleans(),
        sync=st.booleans(),
        count=st.integers(1, 4),
    )
    def submit(self, name: str, ttl_s: float, timeout_s: float, low: bool, sync: bool, count: int) -> None:
        steps["submit"] += 1
        policy = Policy(timeout_s, ttl_s, low)
        for _ in range(count):
            job = self.fleet.endpoints[name].queue.submit(self.next_id(), b'{"n":1}', policy, sync=sync)
            self.models[job.id] = Model(name, job)

    def waiting(self) -> list[Endpoint]:
        return [each for each in self.fleet.endpoints.values() if each.queue.waiting]

    def asks_for_work(self, data: st.DataObject) -> None:
        steps["ask for work"] += 1
        endpoint = self.pick(data, self.waiting())
        self.fleet.decide()
        serving = [each for each in endpoint.workers.values() if each.serving]
        if serving and endpoint.queue.waiting:
            worker = self.pick(data, serving)
            endpoint.polled(worker, in_progress=None)
            assert endpoint.take(worker, data.draw(st.integers(1, 2)))

    # Several rules of one kind: most of what a platform does all day.
    one_asks = precondition(lambda self: self.waiting())(rule(data=st.data())(asks_for_work))
    another_asks = precondition(lambda self: self.waiting())(rule(data=st.data())(asks_for_work))
    a_third_asks = precondition(lambda self: self.waiting())(rule(data=st.data())(asks_for_work))

    @precondition(lambda self: self.waiting() or self.workers())
    @rule()
    def decide(self) -> None:
        steps["decide"] += 1
        for action in self.fleet.decide():
            if isinstance(action, StartWorker):
                assert action.worker.serving
            else:
                assert isinstance(action, EndWorker)

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), said=st.sampled_from([None, True, False]))
    def poll(self, data: st.DataObject, said: bool | None) -> None:
        steps["poll"] += 1
        worker = self.pick(data, self.workers())
        held = list(worker.jobs)
        self.of(worker).polled(worker, in_progress=said)
        if said is False:
            self.past += [(job_id, worker, worker.endpoint) for job_id in held]

    @precondition(lambda self: self.workers(ready=True))
    @rule(data=st.data(), count=st.integers(1, 3), arrives=st.booleans())
    def take(self, data: st.DataObject, count: int, arrives: bool) -> None:
        steps["take"] += 1
        worker = self.pick(data, self.workers(ready=True))
        endpoint = self.of(worker)
        expected = list(endpoint.queue.waiting)[:count] if worker.serving else []
        jobs = endpoint.take(worker, count)
        assert [job.id for job in jobs] == expected
        if not arrives:
            before = list(endpoint.queue.waiting)
            endpoint.give_back(worker, jobs)
            assert list(endpoint.queue.waiting) == expected + before

    def answers(self, data: st.DataObject, failed: bool, twice: bool, last: bool) -> None:
        steps["done"] += 1
        worker = self.pick(data, [each for each in self.workers() if each.jobs])
        job_id, endpoint = self.pick(data, list(worker.jobs)), self.of(worker)
        if last:
            endpoint.end_worker(worker, "it asked to be replaced")
        answer = self.next_id().encode()
        assert endpoint.complete(worker, job_id, answer, "failed" if failed else None)
        self.models[job_id].answer = answer
        if twice:
            assert not endpoint.complete(worker, job_id, b'"again"', None)

    one_answers = precondition(lambda self: any(each.jobs for each in self.workers()))(
        rule(data=st.data(), failed=st.booleans(), twice=st.booleans(), last=st.just(False))(answers)
    )
    another_answers = precondition(lambda self: any(each.jobs for each in self.workers()))(
        rule(data=st.data(), failed=st.booleans(), twice=st.booleans(), last=st.booleans())(answers)
    )

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def late_result(self, data: st.DataObject) -> None:
        """A worker that lost a job answers it after all."""
        steps["late result"] += 1
        job_id, worker, name = self.pick(data, self.past)
        if job_id not in worker.jobs:
            assert not self.fleet.endpoints[name].complete(worker, job_id, b'"late"', None)

    @precondition(lambda self: any(each.jobs for each in self.workers()))
    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        steps["progress"] += 1
        worker = self.pick(data, [each for each in self.workers() if each.jobs])
        queue, job_id = self.of(worker).queue, self.pick(data, list(worker.jobs))
        queue.progress(queue.jobs[job_id], b'"half"')
        queue.add_chunk(queue.jobs[job_id], b'{"output":1}')

    @precondition(lambda self: len(self.jobs()) > 2)
    @rule(data=st.data())
    def late_progress(self, data: st.DataObject) -> None:
        steps["late progress"] += 1
        endpoint, job = self.pick(data, self.jobs())
        if job.status is not Status.IN_PROGRESS:
            before = job.output_json
            endpoint.queue.progress(job, b'"late"')
            assert job.output_json == before

    @precondition(lambda self: len(self.jobs()) > 2)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        steps["cancel"] += 1
        endpoint, job = self.pick(data, self.jobs())
        assert endpoint.cancel(job) == (self.models[job.id].seen not in FINAL)

    @precondition(lambda self: any(job.status in RETRIABLE for _, job in self.jobs()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        steps["retry"] += 1
        endpoint, job = self.pick(data, [each for each in self.jobs() if each[1].status in RETRIABLE])
        model = self.models[job.id]
        assert endpoint.queue.retry(job)
        model.seen, model.answer, model.kept_until = Status.IN_QUEUE, None, None
        model.allowed_ends += 1

    @precondition(lambda self: any(job.status not in RETRIABLE for _, job in self.jobs()))
    @rule(data=st.data())
    def refused_retry(self, data: st.DataObject) -> None:
        steps["refused retry"] += 1
        endpoint, job = self.pick(data, [each for each in self.jobs() if each[1].status not in RETRIABLE])
        assert not endpoint.queue.retry(job)

    @precondition(lambda self: sum(len(each.queue.waiting) for each in self.waiting()) > 3)
    @rule(name=st.sampled_from([spec.name for spec in SPECS]))
    def purge(self, name: str) -> None:
        steps["purge"] += 1
        queue = self.fleet.endpoints[name].queue
        assert queue.purge() + len(queue.waiting) >= 0
        assert not queue.waiting

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), code=st.sampled_from([0, 1, -9]))
    def process_ends(self, data: st.DataObject, code: int) -> None:
        steps["process ends"] += 1
        worker = self.pick(data, self.workers())
        self.past += [(job_id, worker, worker.endpoint) for job_id in worker.jobs]
        self.of(worker).worker_gone(worker, code, "last words")

    @precondition(lambda self: self.workers(ready=True))
    @rule(data=st.data(), share=st.booleans())
    def ping(self, data: st.DataObject, share: bool) -> None:
        steps["ping"] += 1
        worker = self.pick(data, self.workers(ready=True))
        held = list(worker.jobs)
        self.past += [(job_id, worker, worker.endpoint) for job_id in held]
        self.of(worker).pinged(worker, frozenset(held if share else held[1:]))

    @precondition(lambda self: self.workers(ready=True))
    @rule(data=st.data(), mib=st.sampled_from([10, 5000]))
    def measure(self, data: st.DataObject, mib: int) -> None:
        steps["measure"] += 1
        worker = self.pick(data, self.workers(ready=True))
        self.of(worker).measured(worker, mib * MIB)

    @precondition(lambda self: len(self.workers()) < 4)
    @rule(name=st.sampled_from([spec.name for spec in SPECS]))
    def external_worker_joins(self, name: str) -> None:
        steps["external"] += 1
        self.fleet.endpoints[name].add_worker(self.next_id(), external=True)

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), at_most=st.integers(1, 3), fresh=st.booleans())
    def reconfigure(self, data: st.DataObject, at_most: int, fresh: bool) -> None:
        """Other settings under running workers, or another release in their place."""
        steps["reconfigure"] += 1
        spec = self.pick(data, list(self.fleet.endpoints.values())).spec
        spec = replace(spec, max_workers=at_most, release=spec.release + fresh)
        held = {worker.id: dict(worker.jobs) for worker in self.fleet.workers()}
        self.fleet.deploy(spec)
        assert {worker.id: dict(worker.jobs) for worker in self.fleet.workers()} == held
        for worker in self.fleet.endpoints[spec.name].workers.values():
            assert worker.external or not worker.serving or worker.release == spec.release

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 40.0, 70.0, 700.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        steps["time"] += 1
        self.now += seconds
        self.fleet.decide()

    @precondition(lambda self: len(self.jobs()) > 4)
    @rule()
    def restart(self) -> None:
        """The platform goes away, its workers with it, and reads its journal when it is back."""
        steps["restart"] += 1
        kept = {name: journal.dump(each.queue, 5.0) for name, each in self.fleet.endpoints.items()}
        kept = json.loads(json.dumps(kept))
        for worker in self.fleet.workers():
            self.past += [(job_id, worker, worker.endpoint) for job_id in worker.jobs]
            worker.jobs.clear()
        self.fleet = self.new_fleet()
        for name, jobs in kept.items():
            journal.load(self.fleet.endpoints[name].queue, jobs, 5.0)

    @invariant()
    def jobs_move_forward_and_are_answered_once(self) -> None:
        for job_id, model in list(self.models.items()):
            job = self.fleet.endpoints[model.endpoint].queue.jobs.get(job_id)
            if job is None:
                kept_until = model.kept_until
                assert self.now >= model.ttl_at or (kept_until is not None and self.now >= kept_until)
                del self.models[job_id]
                continue
            if model.seen in FINAL:
                assert job.status is model.seen
            if job.final and model.kept_until is None:
                kept_s = Retention().sync_s if job.sync else Retention().async_s
                assert job.ended_at is not None
                model.kept_until = job.ended_at + kept_s
            model.seen = job.status
            assert model.ends <= model.allowed_ends
            assert model.ends >= model.allowed_ends - (0 if job.final else 1)
            if job.status is Status.COMPLETED:
                assert job.output_json == model.answer
            if job.status is Status.CANCELLED:
                assert job.output_json is None

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        for endpoint in self.fleet.endpoints.values():
            queue = endpoint.queue
            held = Counter(job_id for worker in endpoint.workers.values() for job_id in worker.jobs)
            assert dict(held) == dict.fromkeys(queue.running, 1)
            for job in queue.jobs.values():
                assert (job.id in queue.waiting) == (job.status is Status.IN_QUEUE)
                assert (job.id in queue.running) == (job.status is Status.IN_PROGRESS)
                if job.status is Status.IN_PROGRESS:
                    assert job.id in endpoint.workers[job.worker_id or ""].jobs
            assert set(queue.waiting) | set(queue.running) <= set(queue.jobs)

    @invariant()
    def workers_fit_their_endpoint_and_the_machine(self) -> None:
        own = [worker for worker in self.fleet.workers() if not worker.external]
        parents = sum(worker.ram_bytes for worker in own if worker.endpoint == "parent")
        everything = sum(worker.ram_bytes for worker in own)
        assert parents <= LIMITS.ram_bytes * LIMITS.orchestrator_share
        assert everything <= LIMITS.ram_bytes
        for endpoint in self.fleet.endpoints.values():
            serving = [each for each in endpoint.workers.values() if each.serving and not each.external]
            assert len(serving) <= endpoint.spec.max_workers


def test_any_order_of_events_keeps_every_promise() -> None:
    steps.clear()
    often = settings(
        max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    # Which kinds of events a round draws is chance, so a rare one may need another round, of another seed.
    for number in range(MOST_ROUNDS):
        run_state_machine_as_test(seed(number)(PlatformStates), settings=often)
        if steps.total() >= WANTED_STEPS and set(steps) == KINDS:
            return
    raise AssertionError(f"{MOST_ROUNDS} rounds drew too little: {steps}")
