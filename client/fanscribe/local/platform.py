"""The running platform: the fleet's state joined to held polls, waiting clients and worker processes."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from fanscribe.local import journal
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.faults import COLD_START, KILL_WORKER, Faults
from fanscribe.local.fleet import EndWorker, Fleet, StartWorker
from fanscribe.local.job import Job
from fanscribe.local.launcher import Launcher
from fanscribe.local.memory import Limits
from fanscribe.local.polls import Polls
from fanscribe.local.queue import Retention
from fanscribe.local.rates import PLATFORM_LIMITS, RateLimiter
from fanscribe.local.spec import EndpointSpec
from fanscribe.local.watch import gpu_memory_of_groups, memory_of_groups
from fanscribe.local.webhooks import WebhookPolicy, Webhooks
from fanscribe.local.worker import Worker

log = logging.getLogger("fanscribe.local")

_LONGEST_TICK_S = 1.0
_MEASURE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the platform treats jobs and callers, beside what each endpoint's spec says."""

    retention: Retention = field(default_factory=Retention)
    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    rate_limits: bool = True
    faults: Faults = field(default_factory=Faults)


class Platform:
    """Everything a request needs: the fleet, the held polls, the launcher."""

    def __init__(
        self,
        specs: Sequence[EndpointSpec],
        limits: Limits,
        launcher: Launcher,
        *,
        key: str | None,
        behaviour: Behaviour | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.url = ""
        self.behaviour = behaviour or Behaviour()
        self.faults = self.behaviour.faults
        self.started_at = clock()
        self.closing = asyncio.Event()
        self.shutdown_asked = asyncio.Event()
        self.launcher = launcher
        self.webhooks = Webhooks(self.behaviour.webhooks)
        self.rates = RateLimiter(clock, PLATFORM_LIMITS if self.behaviour.rate_limits else {})
        self.polls = Polls(clock)
        self.away = False
        self.restarts = 0
        self._specs, self._limits = {spec.name: spec for spec in specs}, limits
        self._clock = clock
        self._job_ends: dict[str, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._restart: asyncio.Task[None] | None = None
        self._kept: dict[str, Any] | None = None
        # What is left of a worker that has ended may still call; it must not come back as an external one.
        self._past_workers: deque[str] = deque(maxlen=1000)
        self.fleet = self._new_fleet()

    @property
    def now(self) -> float:
        """Seconds of the platform's clock."""
        return self._clock()

    # The control loop.

    async def run(self) -> None:
        """Start and end workers as the fleet decides, until the platform closes."""
        measuring = asyncio.create_task(self._measure())
        try:
            while not self.closing.is_set():
                self._wake.clear()
                if not self.away:
                    self._act()
                due = self.fleet.next_due()
                wait_s = (
                    _LONGEST_TICK_S if due is None else min(_LONGEST_TICK_S, max(0.01, due - self._clock()))
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
        finally:
            measuring.cancel()

    def _act(self) -> None:
        for action in self.fleet.decide():
            worker = action.worker
            match action:
                case StartWorker():
                    rule = self.faults.strike(COLD_START, worker.endpoint)
                    spec = self.fleet.endpoints[worker.endpoint].spec
                    self.launcher.start(spec, worker, self.worker_exited, rule.seconds if rule else 0.0)
                case EndWorker(grace_s=grace_s):
                    log.info("ending worker %s of %s: %s", worker.id, worker.endpoint, worker.ending)
                    self.launcher.end(worker, grace_s)
                    self.polls.end(worker)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(_MEASURE_EVERY_S)
            workers = {worker.pid: worker for worker in self.fleet.workers() if worker.pid is not None}
            if not workers:
                continue
            taken = await asyncio.to_thread(memory_of_groups, set(workers))
            gpu: dict[int, int] | None = None
            if self._limits.vram_bytes:
                gpu = await asyncio.to_thread(gpu_memory_of_groups, set(workers))
            for group, ram in taken.items():
                worker = workers[group]
                endpoint = self.fleet.home_of(worker)
                if endpoint is None:
                    continue
                if endpoint.measured(worker, ram, None if gpu is None else gpu.get(group, 0)):
                    log.warning("%s", endpoint.fault)
                    worker.ended_at = self._clock()
                    self.launcher.end(worker, 0.0)

    def worker_exited(self, worker: Worker, exit_code: int | None) -> None:
        """Called by the launcher when a worker's process is gone."""
        self._past_workers.append(worker.id)
        endpoint = self.fleet.home_of(worker)
        if endpoint is None:
            return
        in_order = exit_code == 0 and not worker.jobs and worker.ready_at is not None
        last_lines = "" if in_order else self.launcher.last_lines(worker)
        if worker.ending is None and exit_code != 0:
            log.warning("worker %s of %s ended with exit code %s", worker.id, worker.endpoint, exit_code)
        endpoint.worker_gone(worker, exit_code, last_lines)
        self.polls.end(worker)
        self.polls.forget(worker)
        self._wake.set()

    # Endpoints come and go.

    def deploy(self, spec: EndpointSpec) -> None:
        """Serve an endpoint from now on, or serve it as this spec says.

        One whose worker could never fit the machine is there all the same, blocked, and says why.
        """
        if not spec.blocked:
            spec = replace(spec, blocked=self.fleet.misfit(spec))
        self._specs[spec.name] = spec
        self.fleet.deploy(spec)
        self._wake.set()

    def delete(self, name: str) -> None:
        """Serve an endpoint no more; its jobs are cancelled and its workers end."""
        del self._specs[name]
        self.fleet.delete(name)
        self._wake.set()

    # Going away and coming back.

    def restart(self, seconds: float) -> None:
        """Go away for `seconds` as a platform that restarts: workers end, jobs are read back from the journal."""
        if not self.away and not self.closing.is_set():
            self.away = True
            self._restart = asyncio.create_task(self._restarted(seconds))

    async def _restarted(self, seconds: float) -> None:
        # Before anything is awaited: what the old workers' end would do to their jobs must reach no one.
        self._kept, old = self.journal(), list(self.fleet.workers())
        self.fleet = self._new_fleet()
        self._release_waiting()
        await self._end_workers(old, "the platform restarts")
        await asyncio.sleep(seconds)
        self.read_journal(self._kept)
        self._kept = None
        self.restarts += 1
        self.away = False
        self._wake.set()

    def journal(self) -> dict[str, Any]:
        """All jobs as JSON, by endpoint; while the platform is away, those it will come back with."""
        if self._kept is not None:
            return self._kept
        offset = journal.wall_offset(self._clock, time.time)
        return {name: journal.dump(each.queue, offset) for name, each in self.fleet.endpoints.items()}

    def read_journal(self, kept: dict[str, Any]) -> None:
        """Put back the jobs of an earlier life; those of endpoints that are no more are dropped."""
        offset = journal.wall_offset(self._clock, time.time)
        for name, jobs in kept.items():
            if name in self.fleet.endpoints:
                journal.load(self.fleet.endpoints[name].queue, jobs, offset)

    async def close(self) -> None:
        """End every worker and every held request."""
        self.closing.set()
        self._wake.set()
        if self._restart is not None:
            self._restart.cancel()
        await self._end_workers(list(self.fleet.workers()), "the platform stops")
        await self.launcher.close()
        self._release_waiting()
        await self.webhooks.close()

    async def _end_workers(self, workers: list[Worker], why: str) -> None:
        for worker in workers:
            worker.ending = worker.ending or why
        await self.launcher.end_all()
        for worker in workers:
            self.polls.end(worker)

    def _release_waiting(self) -> None:
        for ended in self._job_ends.values():
            ended.set()
        self._job_ends.clear()

    def _new_fleet(self) -> Fleet:
        return Fleet(
            list(self._specs.values()),
            self._limits,
            self._clock,
            new_worker_id=lambda: uuid4().hex[:14],
            retention=self.behaviour.retention,
            ended=self._job_ended,
            lengthened=self._queue_lengthened,
            stop_ordered=self.polls.stop_ordered,
        )

    # Jobs and the clients that wait for them.

    async def job_end(self, job: Job, wait_s: float) -> None:
        """Return when the job has come to its end, at the latest after `wait_s`."""
        await self._job_event(job, wait_s, until=lambda: job.final)

    async def chunk(self, job: Job, wait_s: float) -> None:
        """Return when the job has streamed something or has come to its end, at the latest after `wait_s`."""
        await self._job_event(job, wait_s, until=lambda: bool(job.chunks) or job.final)

    async def _job_event(self, job: Job, wait_s: float, *, until: Callable[[], bool]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                # A streamed part and the job's end share one event.
                while not (until() or job.gone or self.away or self.closing.is_set()):
                    await self._job_ends.setdefault(job.id, asyncio.Event()).wait()

    def job_streamed(self, job: Job) -> None:
        """A part of a job's output has come."""
        self._tell(job)

    def serves(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint is of the platform's present life."""
        return self.fleet.endpoints.get(endpoint.spec.name) is endpoint

    def _job_ended(self, endpoint: Endpoint, job: Job) -> None:
        if not self.serves(endpoint):
            return
        self._tell(job)
        self._wake.set()
        if job.webhook is not None and job.final and not self.closing.is_set():
            self.webhooks.send(job)

    def _tell(self, job: Job) -> None:
        if (changed := self._job_ends.pop(job.id, None)) is not None:
            changed.set()

    def _queue_lengthened(self, endpoint: Endpoint) -> None:
        # The caller is in the midst of changing the queue: hand out when it is done.
        asyncio.get_running_loop().call_soon(self.hand_out, endpoint)
        self._wake.set()

    def hand_out(self, endpoint: Endpoint) -> None:
        """Give waiting jobs to the workers that ask for some."""
        self.handed_out(endpoint, self.polls.hand_out(endpoint))

    def handed_out(self, endpoint: Endpoint, jobs: list[Job]) -> None:
        """Jobs went to workers: the time for a fault to kill one."""
        for job in jobs:
            rule = self.faults.strike(KILL_WORKER, endpoint.spec.name)
            worker = endpoint.workers.get(job.worker_id or "")
            if rule is not None and worker is not None:
                asyncio.get_running_loop().call_later(rule.seconds, self.launcher.end, worker, 0.0)

    def worker(self, endpoint: Endpoint, worker_id: str, *, may_join: bool = False) -> Worker | None:
        """The worker of that id. One that nobody here started may join as an external one."""
        found = endpoint.workers.get(worker_id)
        if found is None and may_join and worker_id not in self._past_workers:
            found = endpoint.add_worker(worker_id, external=True)
            log.info("external worker %s joined %s", worker_id, endpoint.spec.name)
        return found
