"""All endpoints on one machine: who may start a worker, who has to end one. No I/O; the clock is passed in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.job import Job
from fanscribe.local.memory import Limits, NeverFitsError, budget, check_fits, place
from fanscribe.local.queue import Clock, Retention
from fanscribe.local.spec import EndpointSpec, check_names
from fanscribe.local.worker import Worker


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start the process of this worker."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class EndWorker:
    """End the process of this worker: ask first, end it by force after `grace_s` seconds."""

    worker: Worker
    grace_s: float


Action = StartWorker | EndWorker

# An endpoint whose job has waited so long for memory, in seconds, gets the next that comes free.
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Liveness:
    """When a worker counts as lost although its process may live, in seconds."""

    silent_s: float = 30.0
    grace_s: float = 3.0


class Fleet:
    """The endpoints, their workers and the machine's memory."""

    def __init__(
        self,
        specs: Sequence[EndpointSpec],
        limits: Limits,
        clock: Clock,
        *,
        new_worker_id: Callable[[], str],
        retention: Retention | None = None,
        liveness: Liveness | None = None,
        ended: Callable[[Endpoint, Job], None],
        lengthened: Callable[[Endpoint], None],
        stop_ordered: Callable[[Worker], None],
    ) -> None:
        check_names(list(specs))
        check_fits(limits, [spec for spec in specs if not spec.blocked])
        self.limits = limits
        self.liveness = liveness or Liveness()
        self._clock = clock
        self._decided_at = float("-inf")
        self._new_worker_id = new_worker_id
        self._retention = retention or Retention()
        self._ended, self._lengthened, self._stop_ordered = ended, lengthened, stop_ordered
        self.endpoints: dict[str, Endpoint] = {}
        self._deleted: list[Endpoint] = []
        for spec in specs:
            self.deploy(spec)

    def deploy(self, spec: EndpointSpec) -> None:
        """Add an endpoint, or go on with this spec in place of the one of its name."""
        known = self.endpoints.get(spec.name)
        if known is not None:
            known.reconfigure(spec)
            return
        endpoint = Endpoint(
            spec,
            self._clock,
            retention=self._retention,
            ended=lambda job: self._ended(endpoint, job),
            lengthened=lambda: self._lengthened(endpoint),
            stop_ordered=self._stop_ordered,
        )
        self.endpoints[spec.name] = endpoint

    def delete(self, name: str) -> None:
        """Cancel an endpoint's jobs and take it out; its workers are known until their processes are gone."""
        endpoint = self.endpoints[name]
        endpoint.retire()
        del self.endpoints[name]
        self._deleted.append(endpoint)

    def misfit(self, spec: EndpointSpec) -> str:
        """Why the machine's memory can never hold a worker of this spec beside the others; empty if it can."""
        others = [
            each.spec
            for each in self.endpoints.values()
            if each.spec.name != spec.name and not each.spec.blocked
        ]
        try:
            check_fits(self.limits, [*others, spec])
        except NeverFitsError as error:
            return str(error)
        return ""

    def home_of(self, worker: Worker) -> Endpoint | None:
        """The endpoint that knows this worker, be it deleted; None when none does any more."""
        named = self.endpoints.get(worker.endpoint)
        for endpoint in ([named] if named else []) + self._deleted:
            if endpoint.workers.get(worker.id) is worker:
                return endpoint
        return None

    def workers(self) -> Iterator[Worker]:
        """Every worker, those on their way out included."""
        for endpoint in (*self.endpoints.values(), *self._deleted):
            yield from endpoint.workers.values()

    def decide(self) -> list[Action]:
        """Let time pass: fire timers, then say which workers to end and which to start."""
        actions: list[Action] = []
        self._decided_at = self._clock()
        for endpoint in self.endpoints.values():
            endpoint.expire()
            actions += self._endings(endpoint)
        self._deleted = [
            each for each in self._deleted if not all(worker.external for worker in each.workers.values())
        ]
        for endpoint in self._deleted:
            actions += self._endings(endpoint)
        starved: set[bool] = set()
        for endpoint in sorted(self.endpoints.values(), key=lambda each: each.oldest_wait_since()):
            # What comes free goes to the one that has waited too long, not to whoever needs less.
            if endpoint.spec.orchestrator in starved:
                endpoint.throttled = endpoint.missing_workers() > 0
                continue
            actions += self._started(endpoint)
            if endpoint.throttled and self._clock() - endpoint.oldest_wait_since() >= PATIENCE_S:
                starved.add(endpoint.spec.orchestrator)
        return actions

    def next_due(self) -> float | None:
        """When a timer of a job or a worker fires next, at the latest; None when nothing is waited for.

        What was due at the last decision and stays so (a job that waits for memory) is no timer any more.
        """
        times = []
        for endpoint in self.endpoints.values():
            spec, queue = endpoint.spec, endpoint.queue
            if (due := queue.due()) is not None:
                times.append(due)
            if queue.waiting:
                times.append(endpoint.start_after)
            for job in islice(queue.waiting.values(), spec.max_workers):
                times.append(job.queued_at + spec.scaler_value)
            for worker in endpoint.workers.values():
                times += worker.stop_due.values()
            for worker in endpoint.idle_workers():
                times.append(worker.idle_since + spec.idle_timeout_s)
        return min((due for due in times if due > self._decided_at), default=None)

    def _endings(self, endpoint: Endpoint) -> Iterator[Action]:
        now, spec = self._clock(), endpoint.spec
        idle = {worker.id for worker in endpoint.idle_workers()}
        for worker in list(endpoint.workers.values()):
            if not worker.serving:
                if worker.external and self._silent(worker, now):
                    endpoint.worker_gone(worker, None)
                elif worker.ended_at is None and not worker.jobs:
                    yield self._end(endpoint, worker, worker.ending or "")
                continue
            if self._silent(worker, now):
                if worker.external:
                    endpoint.worker_gone(worker, None)
                else:
                    yield self._end(
                        endpoint, worker, f"it gave no sign of life for {self.liveness.silent_s:g} s"
                    )
            elif worker.external:
                continue
            elif worker.ready_at is None and now - worker.started_at > spec.init_timeout_s:
                # Left as serving, so that its end counts as a crash at startup.
                if worker.ended_at is None:
                    worker.ended_at = now
                    yield EndWorker(worker, 0.0)
            elif not worker.jobs and any(now - at > spec.stop_grace_s for at in worker.stopping.values()):
                yield self._end(endpoint, worker, "it went on with a job it was told to stop", grace_s=0.0)
            elif (
                worker.id in idle
                and now - worker.idle_since >= spec.idle_timeout_s
                and not endpoint.queue.waiting
            ):
                yield self._end(endpoint, worker, "it was idle")

    def _silent(self, worker: Worker, now: float) -> bool:
        if worker.open_polls or worker.ready_at is None or now - worker.last_seen <= self.liveness.silent_s:
            return False
        # One that never sends pings is silent while it works; its process, or the job's time limit, tells.
        return worker.pings or (worker.external and not worker.jobs)

    def _started(self, endpoint: Endpoint) -> Iterator[Action]:
        specs = [each.spec for each in self.endpoints.values()]
        kind = endpoint.spec.orchestrator
        endpoint.throttled = False
        for _ in range(endpoint.missing_workers()):
            room = budget(self.limits, endpoint.spec, specs).beside(self._held_bytes(not kind), self.limits)
            same = [each for each in self.endpoints.values() if each.spec.orchestrator == kind]
            gone = [each for each in self._deleted if each.spec.orchestrator == kind]
            sharing = [worker for each in (*same, *gone) for worker in each.workers.values()]
            idle = [worker for each in same if each is not endpoint for worker in self._spare(each)]
            placement = place(
                endpoint.spec, room, sharing, sorted(idle, key=lambda worker: worker.idle_since)
            )
            if placement.fits:
                yield StartWorker(endpoint.add_worker(self._new_worker_id()))
                continue
            endpoint.throttled = True
            for worker in placement.evict:
                yield self._end(
                    self.endpoints[worker.endpoint], worker, f"{endpoint.spec.name} needs its memory"
                )
            if not placement.evict:
                self._make_room(endpoint, sharing)
            break

    def _held_bytes(self, orchestrators: bool) -> int:
        """The RAM of all workers whose jobs wait for other endpoints' jobs, or of all the others."""
        return sum(
            worker.ram_bytes
            for each in (*self.endpoints.values(), *self._deleted)
            if each.spec.orchestrator == orchestrators
            for worker in each.workers.values()
        )

    def _make_room(self, endpoint: Endpoint, sharing: list[Worker]) -> None:
        """Let the largest busy worker of another endpoint finish and go, once this one has waited too long."""
        waited_s = self._clock() - endpoint.oldest_wait_since()
        if waited_s < PATIENCE_S or any(not each.serving for each in sharing):
            return
        others = [each for each in self.endpoints.values() if each is not endpoint]
        spare = [worker for each in others for worker in each.busy_workers() if worker in sharing]
        if spare:
            chosen = max(spare, key=lambda worker: (worker.vram_bytes, worker.ram_bytes, -worker.started_at))
            why = f"{endpoint.spec.name} has waited too long for its memory"
            self.endpoints[chosen.endpoint].end_worker(chosen, why)

    def _spare(self, endpoint: Endpoint) -> Iterator[Worker]:
        return iter(()) if endpoint.queue.waiting else endpoint.idle_workers()

    def _end(self, endpoint: Endpoint, worker: Worker, why: str, grace_s: float | None = None) -> EndWorker:
        endpoint.end_worker(worker, why)
        worker.ended_at = self._clock()
        return EndWorker(worker, self.liveness.grace_s if grace_s is None else grace_s)
