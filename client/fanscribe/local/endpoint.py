"""One endpoint: its jobs and its workers, and what passes between them. No I/O; the clock is passed in."""

from collections.abc import Callable, Iterator

from fanscribe.local.job import Job, Policy
from fanscribe.local.memory import overrun
from fanscribe.local.queue import Clock, JobQueue, Retention
from fanscribe.local.scaler import Demand, restart_delay_s, wanted_workers
from fanscribe.local.spec import MIB, QUEUE_DELAY, EndpointSpec
from fanscribe.local.worker import Worker

# Two pings that do not name a job its worker should hold mean that the hand-out never arrived.
PINGS_WITHOUT_JOB = 2
# One high measurement may be a moment's.
OVERRUNS = 2


class Endpoint:
    """The state of one endpoint.

    `ended` is called once for each job that comes to its end, `lengthened` when a job waits anew, and
    `stop_ordered` when a worker has jobs to stop.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        clock: Clock,
        *,
        retention: Retention,
        ended: Callable[[Job], None],
        lengthened: Callable[[], None],
        stop_ordered: Callable[[Worker], None],
    ) -> None:
        self.spec = spec
        self.policy = Policy(spec.execution_timeout_s, spec.ttl_s)
        self.workers: dict[str, Worker] = {}
        self.crashes = 0
        self.startup_crashes = 0
        self.start_after = 0.0
        self.fault: str | None = None
        self.throttled = False
        self.deleted = False
        self._clock = clock
        self._stop_ordered = stop_ordered
        self.queue = JobQueue(
            clock,
            retention=retention,
            max_retries=spec.max_retries,
            ended=ended,
            lengthened=lengthened,
        )

    @property
    def trouble(self) -> str | None:
        """Why its workers do not come up, or what became of the last one that failed; None while all is well."""
        return self.spec.blocked or self.fault

    def reconfigure(self, spec: EndpointSpec) -> None:
        """Go on with another spec of the same name: at once, except that busy workers finish their jobs.

        Workers of another release are replaced, and those beyond the new maximum end, idle ones first. Jobs
        keep the limits they were submitted with.
        """
        replaced = spec.release != self.spec.release
        self.spec = spec
        self.policy = Policy(spec.execution_timeout_s, spec.ttl_s)
        self.queue.max_retries = spec.max_retries
        serving = [worker for worker in self.workers.values() if worker.serving and not worker.external]
        if replaced:
            self.crashes = self.startup_crashes = 0
            self.start_after, self.fault = 0.0, None
            for worker in serving:
                self.end_worker(worker, f"release {spec.release} takes its place")
            return
        serving.sort(key=lambda worker: (worker.load > 0, worker.ready_at is not None, worker.idle_since))
        for worker in serving[: max(0, len(serving) - spec.max_workers)]:
            self.end_worker(worker, f"its endpoint now has {spec.max_workers} workers at most")

    def retire(self) -> None:
        """The endpoint is deleted: what waits or runs is cancelled, and its workers get no more jobs."""
        self.deleted = True
        for job in [*self.queue.waiting.values(), *self.queue.running.values()]:
            self.cancel(job)
        for worker in self.workers.values():
            self.end_worker(worker, "its endpoint was deleted")

    # Workers come and go.

    def add_worker(self, worker_id: str, *, external: bool = False) -> Worker:
        """Note a worker that is being started, or that has come by itself."""
        now = self._clock()
        ram, vram = (0, 0) if external else (self.spec.ram_bytes, self.spec.vram_bytes)
        worker = Worker(
            worker_id,
            self.spec.name,
            external,
            now,
            ram,
            vram,
            self.spec.release,
            last_seen=now,
            idle_since=now,
        )
        self.workers[worker_id] = worker
        return worker

    def end_worker(self, worker: Worker, why: str) -> None:
        """Give it no more jobs; its process is ended by whoever asked."""
        if worker.ending is None:
            worker.ending = why

    def worker_gone(self, worker: Worker, exit_code: int | None, last_lines: str = "") -> None:
        """Its process has ended (None: not ours, or never started): what it held goes back to the queue."""
        self.workers.pop(worker.id, None)
        held = [
            self.queue.running[job_id] for job_id in reversed(worker.jobs) if job_id in self.queue.running
        ]
        crashed = (
            not worker.external
            and worker.ending is None
            and bool(held or exit_code != 0 or worker.ready_at is None)
        )
        code = None if exit_code is None else f"exit code {exit_code}"
        how = "; ".join(text for text in (worker.note, code) if text) or "no sign of life"
        told = f"; its last lines: {last_lines}" if last_lines else ""
        for job in held:
            self.queue.requeue(
                job, f"worker {worker.id} was lost while it ran the job ({worker.ending or how}){told}"
            )
        if crashed:
            self._crashed(worker, f"worker {worker.id} ended with {how}{told}")

    def _crashed(self, worker: Worker, what: str) -> None:
        self.fault = what
        self.crashes += 1
        self.start_after = self._clock() + restart_delay_s(self.crashes)
        if worker.took_jobs:
            return
        self.startup_crashes += 1
        limit = self.spec.crash_limit
        if (
            limit
            and self.startup_crashes >= limit
            and not any(w.serving and w.ready_at is not None for w in self.workers.values())
        ):
            self.queue.fail_waiting(
                f"no worker of endpoint {self.spec.name} comes up ({self.startup_crashes} in a row ended before"
                f" taking a job): {what}"
            )

    # Jobs go to workers and come back.

    def take(self, worker: Worker, count: int) -> list[Job]:
        """Hand up to `count` waiting jobs to a worker; none to one that is on its way out."""
        if not worker.serving:
            return []
        now = self._clock()
        jobs = self.queue.take(worker.id, count)
        for job in jobs:
            worker.hold(job.id, now)
        if jobs:
            self.startup_crashes = 0
        return jobs

    def give_back(self, worker: Worker, jobs: list[Job]) -> None:
        """The hand-out of these jobs did not reach the worker."""
        for job in reversed(jobs):
            if job.id in worker.jobs:
                worker.let_go(job.id, self._clock())
                self.queue.give_back(job)

    def held_by(self, worker: Worker, job_id: str) -> Job | None:
        """The job if this worker holds it now; None for results and progress that come too late."""
        return self.queue.running.get(job_id) if job_id in worker.jobs else None

    def complete(self, worker: Worker, job_id: str, output_json: bytes | None, error: str | None) -> bool:
        """Keep a result; False when the worker no longer holds the job, whose state then stays as it is."""
        job = self.held_by(worker, job_id)
        worker.let_go(job_id, self._clock())
        if job is None:
            return False
        self.queue.complete(job, output_json, error)
        self.crashes = self.startup_crashes = 0
        self.fault = None
        return True

    def cancel(self, job: Job) -> bool:
        """Cancel a job and order its worker to stop it; False when it has ended already."""
        worker = self.workers.get(job.worker_id or "")
        cancelled = self.queue.cancel(job)
        if cancelled:
            self._stop(worker, job)
        return cancelled

    def polled(self, worker: Worker, *, in_progress: bool | None) -> None:
        """A worker asks for jobs. When it says that it has none in progress, what we think it holds is lost."""
        now = self._clock()
        worker.seen(now)
        if in_progress is not False:
            return
        worker.let_go_of_stopped()
        for job_id in list(worker.jobs):
            self._missing(worker, job_id)

    def pinged(self, worker: Worker, job_ids: frozenset[str]) -> None:
        """A ping names the jobs the worker has; one that stays unnamed never reached it."""
        now = self._clock()
        worker.seen(now)
        worker.pings = True
        for job_id, ordered_at in list(worker.stopping.items()):
            if job_id not in job_ids and job_id not in worker.stop_orders and now - ordered_at > 1.0:
                worker.let_go(job_id, now)
        for job_id, taken_at in list(worker.jobs.items()):
            if job_id in job_ids:
                worker.missing.pop(job_id, None)
            elif now - taken_at > 1.0:
                worker.missing[job_id] = worker.missing.get(job_id, 0) + 1
                if worker.missing[job_id] >= PINGS_WITHOUT_JOB:
                    self._missing(worker, job_id)

    def unhealthy(self, worker: Worker, check: str, reason: str) -> None:
        """A worker says that one of its fitness checks failed; it ends by itself."""
        worker.note = self.fault = f"fitness check {check} failed: {reason}"

    def measured(self, worker: Worker, ram_bytes: int, vram_bytes: int | None = None) -> bool:
        """Note what a worker takes. True, and its jobs fail, when that is far more than its spec says."""
        worker.memory_bytes, worker.gpu_bytes = ram_bytes, vram_bytes
        too_much = overrun(worker.ram_bytes, ram_bytes)
        too_much_gpu = vram_bytes is not None and overrun(worker.vram_bytes, vram_bytes)
        worker.overruns = worker.overruns + 1 if too_much or too_much_gpu else 0
        if worker.overruns < OVERRUNS or worker.ended_at is not None:
            return False
        kind, taken, said, name = (
            ("RAM", ram_bytes, worker.ram_bytes, "ram_bytes")
            if too_much
            else ("GPU memory", vram_bytes or 0, worker.vram_bytes, "vram_bytes")
        )
        what = (
            f"worker {worker.id} took {taken // MIB} MiB of {kind} where the spec of {self.spec.name} says"
            f" {said // MIB} MiB; raise {name}"
        )
        self.fault = what
        unused = worker.serving and not worker.took_jobs
        self.end_worker(worker, what)
        if unused:
            self._crashed(worker, what)
        for job_id in list(worker.jobs):
            job = self.queue.running.get(job_id)
            if job is not None:
                self.queue.fail(job, what)
            worker.let_go(job_id, self._clock())
        return True

    def _missing(self, worker: Worker, job_id: str) -> None:
        job = self.held_by(worker, job_id)
        worker.let_go(job_id, self._clock())
        if job is not None:
            self.queue.requeue(job, f"worker {worker.id} holds the job no more and gave no result")

    def _stop(self, worker: Worker | None, job: Job) -> None:
        if worker is not None and job.id in worker.jobs:
            worker.order_stop(job.id, self._clock())
            self._stop_ordered(worker)

    # Time passes.

    def expire(self) -> None:
        """Fire the timers of the jobs; a job stopped by one is taken from its worker."""
        for job in self.queue.expire():
            self._stop(self.workers.get(job.worker_id or ""), job)
        now = self._clock()
        for worker in self.workers.values():
            if worker.stop_due and worker.repeat_stops(now):
                self._stop_ordered(worker)

    def demand(self) -> Demand:
        """What the scaler looks at."""
        serving = [worker for worker in self.workers.values() if worker.serving]
        most = self.spec.max_workers
        queued = self.queue.overdue(0.0, at_most=1_000_000 if self.spec.scaler != QUEUE_DELAY else 1)
        overdue = self.queue.overdue(self.spec.scaler_value, at_most=most) if queued else 0
        running = sum(not job.policy.low_priority for job in self.queue.running.values())
        ready = sum(worker.ready_at is not None for worker in serving)
        return Demand(queued, overdue, running, len(serving), ready)

    def missing_workers(self) -> int:
        """How many more workers the scaler wants now; 0 while the endpoint waits out a crash."""
        if not self.spec.command or self.spec.blocked or self._clock() < self.start_after:
            return 0
        demand = self.demand()
        return max(0, wanted_workers(self.spec, demand) - demand.workers)

    def idle_workers(self) -> Iterator[Worker]:
        """Own workers without a job, longest idle first, except the minimum."""
        serving = [w for w in self.workers.values() if w.serving and not w.external]
        spare = len(serving) - self.spec.min_workers
        idle = sorted(
            (w for w in serving if w.ready_at is not None and not w.load), key=lambda w: w.idle_since
        )
        yield from idle[: max(0, spare)]

    def busy_workers(self) -> Iterator[Worker]:
        """Own workers with a job, except as many as the minimum."""
        serving = [worker for worker in self.workers.values() if worker.serving and not worker.external]
        yield from [worker for worker in serving if worker.load][
            : max(0, len(serving) - self.spec.min_workers)
        ]

    def oldest_wait_since(self) -> float:
        """When the job that waits longest was queued; infinite when none waits."""
        return next((job.queued_at for job in self.queue.waiting.values()), float("inf"))
