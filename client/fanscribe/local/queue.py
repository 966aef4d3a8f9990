"""The jobs of one endpoint: a queue, the jobs in progress, and the finished ones for as long as they are kept."""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fanscribe.local.job import Job, Policy, Status

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long finished jobs are kept, in seconds (the platform's documented 30 min and 1 min).

    Beyond `max_bytes` of inputs and outputs in one endpoint the oldest finished jobs go earlier.
    """

    async_s: float = 1800.0
    sync_s: float = 60.0
    max_bytes: int = 256 * 1024 * 1024


class JobQueue:
    """All jobs of one endpoint, first in first out, with their timers.

    `ended` is called once per job, when it comes to its end; `lengthened` whenever a job waits anew.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        retention: Retention,
        max_retries: int,
        ended: Callable[[Job], None],
        lengthened: Callable[[], None],
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.finished: OrderedDict[str, int] = OrderedDict()
        """Finished jobs, oldest first, each with the bytes it holds."""
        self.waiting: OrderedDict[str, Job] = OrderedDict()
        self.running: dict[str, Job] = {}
        self.totals: Counter[str] = Counter()
        self.delay_s = 0.0
        self.execution_s = 0.0
        self.timed_jobs = 0
        """How many jobs the two sums are of."""
        self._clock = clock
        self._retention = retention
        self.max_retries = max_retries
        self._ended = ended
        self._lengthened = lengthened
        self._timers: list[tuple[float, int, str, int]] = []
        self._sequence = 0
        self._finished_bytes = 0

    def submit(
        self,
        job_id: str,
        input_json: bytes,
        policy: Policy,
        *,
        sync: bool = False,
        webhook: str | None = None,
        passed_on: Mapping[str, Any] | None = None,
    ) -> Job:
        """Accept a job and put it at the end of the queue."""
        now = self._clock()
        job = Job(job_id, input_json, policy, now, sync, webhook, passed_on or {}, queued_at=now)
        self.jobs[job.id] = job
        self.waiting[job.id] = job
        self.totals["submitted"] += 1
        # The ttl runs from the submission through every state, so its timer is not tied to a turn.
        self._set_timer(job, now + policy.ttl_s, turn=-1)
        self._lengthened()
        return job

    def take(self, worker_id: str, count: int) -> list[Job]:
        """Hand out up to `count` jobs to a worker, oldest first."""
        now = self._clock()
        taken: list[Job] = []
        while self.waiting and len(taken) < count:
            _, job = self.waiting.popitem(last=False)
            job.move(Status.IN_PROGRESS)
            job.taken_at, job.worker_id = now, worker_id
            self.running[job.id] = job
            self._set_timer(job, now + job.policy.execution_timeout_s, turn=job.turn)
            taken.append(job)
        return taken

    def give_back(self, job: Job) -> None:
        """Undo a hand-out that never reached its worker: the job waits first in line, uncounted."""
        self._to_front(job)

    def requeue(self, job: Job, reason: str) -> None:
        """The worker of a job was lost: first in line again, or FAILED with `reason` once too often."""
        if job.retries >= self.max_retries:
            self._finish(job, Status.FAILED, error=f"{reason}; the job was tried {job.retries + 1} times")
            return
        job.retries += 1
        self.totals["retried"] += 1
        job.output_json = None
        job.chunks.clear()
        self._to_front(job)

    def progress(self, job: Job, output_json: bytes) -> None:
        """Keep the latest progress as the job's output; a job that is not in progress ignores it."""
        if job.status is Status.IN_PROGRESS:
            job.output_json = output_json

    def complete(self, job: Job, output_json: bytes | None, error: str | None) -> bool:
        """Keep the result of a job in progress; False, and nothing changes, when it has ended already."""
        if job.status is not Status.IN_PROGRESS:
            return False
        job.output_json = output_json
        self._finish(job, Status.FAILED if error is not None else Status.COMPLETED, error=error)
        return True

    def cancel(self, job: Job) -> bool:
        """Cancel a job that waits or runs; False when it has ended already."""
        if job.final:
            return False
        job.output_json = None
        self._finish(job, Status.CANCELLED)
        return True

    def fail(self, job: Job, error: str) -> None:
        """End a job that waits or runs as FAILED."""
        if not job.final:
            self._finish(job, Status.FAILED, error=error)

    def fail_waiting(self, error: str) -> int:
        """End every waiting job as FAILED; returns how many there were."""
        jobs = list(self.waiting.values())
        for job in jobs:
            self._finish(job, Status.FAILED, error=error)
        return len(jobs)

    def add_chunk(self, job: Job, chunk_json: bytes) -> None:
        """Keep a part of a streamed output until it is drained; a job that has ended takes none."""
        if job.status is Status.IN_PROGRESS:
            job.chunks.append(chunk_json)

    def drain(self, job: Job) -> list[bytes]:
        """The parts streamed since the last call."""
        chunks = list(job.chunks)
        job.chunks.clear()
        return chunks

    def pass_over(self, job: Job) -> None:
        """Never hand out a job that waits, though it stays in the queue: a fault on purpose."""
        self.waiting.pop(job.id)

    def forget(self, job: Job) -> None:
        """Know nothing more of a job: a fault on purpose."""
        self._forget(job)

    def restore(self, job: Job) -> None:
        """Take over a job of an earlier life of the platform; one that has not ended waits, last in line."""
        self.jobs[job.id] = job
        self._set_timer(job, job.submitted_at + job.policy.ttl_s, turn=-1)
        if job.final:
            self._keep(job)
        else:
            self.waiting[job.id] = job
            self._lengthened()

    def retry(self, job: Job) -> bool:
        """Queue a FAILED or TIMED_OUT job again under its id; False for any other status."""
        if job.status not in (Status.FAILED, Status.TIMED_OUT):
            return False
        job.move(Status.IN_QUEUE)
        self._finished_bytes -= self.finished.pop(job.id)
        job.output_json = job.error = job.taken_at = job.ended_at = job.worker_id = None
        job.retries = 0
        job.chunks.clear()
        job.queued_at = self._clock()
        self.waiting[job.id] = job
        self._lengthened()
        return True

    def purge(self) -> int:
        """Drop the waiting jobs, each of which ends as CANCELLED; returns how many there were."""
        jobs = list(self.waiting.values())
        for job in jobs:
            self._finish(job, Status.CANCELLED)
        return len(jobs)

    def due(self) -> float | None:
        """When the next timer may fire; None when there is none."""
        return self._timers[0][0] if self._timers else None

    def expire(self) -> Iterator[Job]:
        """Fire the timers that are due; yields the jobs that were running and must be stopped."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            _, _, job_id, turn = heapq.heappop(self._timers)
            job = self.jobs.get(job_id)
            if job is None:
                continue
            if turn == -1:
                if job.id in self.running:
                    yield job
                self._forget(job)
            elif turn == job.turn and job.final:
                self._forget(job)
            elif turn == job.turn and job.status is Status.IN_PROGRESS:
                self._finish(job, Status.TIMED_OUT, error="job timed out: its execution timeout passed")
                yield job

    def overdue(self, wait_s: float, at_most: int) -> int:
        """How many jobs (low priority ones apart) have waited at least `wait_s`, counted up to `at_most`."""
        now, count = self._clock(), 0
        for job in self.waiting.values():
            if count >= at_most:
                break
            if not job.policy.low_priority and now - job.queued_at >= wait_s:
                count += 1
        return count

    def _to_front(self, job: Job) -> None:
        job.move(Status.IN_QUEUE)
        del self.running[job.id]
        job.taken_at = job.worker_id = None
        self.waiting[job.id] = job
        self.waiting.move_to_end(job.id, last=False)
        self._lengthened()

    def _finish(self, job: Job, status: Status, *, error: str | None = None) -> None:
        job.move(status)
        job.error = error
        job.ended_at = self._clock()
        self.running.pop(job.id, None)
        self.waiting.pop(job.id, None)
        self.totals[status.value] += 1
        if job.taken_at is not None:
            self.delay_s += job.taken_at - job.submitted_at
            self.execution_s += job.ended_at - job.taken_at
            self.timed_jobs += 1
        self._ended(job)
        if status in (Status.COMPLETED, Status.CANCELLED):
            # It can never run again, and inputs are the bulk of what a job holds.
            job.input_json = b"null"
        self._keep(job)

    def _keep(self, job: Job) -> None:
        kept_s = self._retention.sync_s if job.sync else self._retention.async_s
        self._set_timer(job, (job.ended_at or job.submitted_at) + kept_s, turn=job.turn)
        self.finished[job.id] = job.size_bytes()
        self._finished_bytes += self.finished[job.id]
        while self._finished_bytes > self._retention.max_bytes and len(self.finished) > 1:
            self._forget(self.jobs[next(iter(self.finished))])

    def _forget(self, job: Job) -> None:
        unfinished = not job.final
        del self.jobs[job.id]
        job.gone = True
        self._finished_bytes -= self.finished.pop(job.id, 0)
        self.running.pop(job.id, None)
        self.waiting.pop(job.id, None)
        if unfinished:
            self.totals["expired"] += 1
            job.turn += 1
            self._ended(job)

    def _set_timer(self, job: Job, due: float, *, turn: int) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, job.id, turn))
        # Timers of a day for jobs that were done and forgotten in a moment would pile up.
        if len(self._timers) > 4 * len(self.jobs) + 1000:
            self._timers = [timer for timer in self._timers if timer[2] in self.jobs]
            heapq.heapify(self._timers)
