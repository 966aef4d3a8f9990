"""The running platform: the fleet's state joined to held polls, waiting clients and worker processes."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.fleet import EndWorker, Fleet, StartWorker
from fanscribe.local.job import Job
from fanscribe.local.launcher import Launcher
from fanscribe.local.memory import Limits
from fanscribe.local.spec import EndpointSpec
from fanscribe.local.worker import Worker

log = logging.getLogger("fanscribe.local")

# The SDK cuts a poll after 90 s.
HOLD_S = 30.0
_LONGEST_TICK_S = 1.0


@dataclass(slots=True, eq=False)
class Poll:
    """A worker's held request for jobs."""

    worker: Worker
    count: int
    answer: asyncio.Future[list[Job]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Platform:
    """Everything a request needs: the fleet, the held polls, the launcher."""

    def __init__(
        self,
        specs: Sequence[EndpointSpec],
        limits: Limits,
        launcher: Launcher,
        *,
        key: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.url = ""
        self.started_at = clock()
        self.closing = asyncio.Event()
        self.shutdown_asked = asyncio.Event()
        self.launcher = launcher
        self._clock = clock
        self._polls: dict[str, list[Poll]] = defaultdict(list)
        self._stop_polls: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._job_ends: dict[str, asyncio.Event] = {}
        self._wake = asyncio.Event()
        # What is left of a worker that has ended may still call; it must not come back as an external one.
        self._past_workers: deque[str] = deque(maxlen=1000)
        self.fleet = Fleet(
            specs,
            limits,
            clock,
            new_worker_id=lambda: uuid4().hex[:14],
            ended=self._job_ended,
            lengthened=self._queue_lengthened,
            stop_ordered=self._stop_ordered,
        )

    @property
    def now(self) -> float:
        """Seconds of the platform's clock."""
        return self._clock()

    # The control loop.

    async def run(self) -> None:
        """Start and end workers as the fleet decides, until the platform closes."""
        while not self.closing.is_set():
            self._wake.clear()
            for action in self.fleet.decide():
                match action:
                    case StartWorker(worker):
                        self.launcher.start(
                            self.fleet.endpoints[worker.endpoint].spec, worker, self.worker_exited
                        )
                    case EndWorker(worker, grace_s):
                        log.info("ending worker %s of %s: %s", worker.id, worker.endpoint, worker.ending)
                        self.launcher.end(worker, grace_s)
                        self._end_polls(worker)
            due = self.fleet.next_due()
            wait_s = _LONGEST_TICK_S if due is None else min(_LONGEST_TICK_S, max(0.01, due - self._clock()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    def worker_exited(self, worker: Worker, exit_code: int | None) -> None:
        """Called by the launcher when a worker's process is gone."""
        endpoint = self.fleet.endpoints[worker.endpoint]
        last_lines = "" if exit_code == 0 and not worker.jobs else self.launcher.last_lines(worker)
        if worker.ending is None and exit_code != 0:
            log.warning("worker %s of %s ended with exit code %s", worker.id, worker.endpoint, exit_code)
        self._past_workers.append(worker.id)
        endpoint.worker_gone(worker, exit_code, last_lines)
        self._end_polls(worker)
        self._stop_polls.pop(worker.id, None)
        self._wake.set()

    async def close(self) -> None:
        """End every held request, then every worker."""
        self.closing.set()
        self._wake.set()
        for worker in list(self.fleet.workers()):
            worker.ending = worker.ending or "the platform stops"
        await self.launcher.close()
        for worker in list(self.fleet.workers()):
            self._end_polls(worker)
        for ended in self._job_ends.values():
            ended.set()

    # Jobs and the clients that wait for them.

    async def job_end(self, job: Job, wait_s: float) -> None:
        """Return when the job has come to its end, at the latest after `wait_s`."""
        if job.final:
            return
        ended = self._job_ends.setdefault(job.id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), wait_s)

    def _job_ended(self, endpoint: Endpoint, job: Job) -> None:
        if (ended := self._job_ends.pop(job.id, None)) is not None:
            ended.set()
        self._wake.set()

    def _queue_lengthened(self, endpoint: Endpoint) -> None:
        # The caller is in the midst of changing the queue: hand out when it is done.
        asyncio.get_running_loop().call_soon(self.hand_out, endpoint)
        self._wake.set()

    # Polls.

    def worker(self, endpoint: Endpoint, worker_id: str, *, may_join: bool = False) -> Worker | None:
        """The worker of that id. One that nobody here started may join as an external one."""
        found = endpoint.workers.get(worker_id)
        if found is None and may_join and worker_id not in self._past_workers:
            found = endpoint.add_worker(worker_id, external=True)
            log.info("external worker %s joined %s", worker_id, endpoint.spec.name)
        return found

    def open_poll(self, endpoint: Endpoint, worker: Worker, count: int) -> Poll:
        """Hold a worker's request; its `answer` is set when there are jobs for it, or when it shall end."""
        poll = Poll(worker, count)
        worker.open_polls += 1
        self._polls[endpoint.spec.name].append(poll)
        self.hand_out(endpoint)
        self._wake.set()
        return poll

    def close_poll(self, endpoint: Endpoint, poll: Poll) -> None:
        """The request has been answered, has expired, or its connection has gone."""
        poll.worker.open_polls -= 1
        poll.worker.seen(self._clock())
        with contextlib.suppress(ValueError):
            self._polls[endpoint.spec.name].remove(poll)
        poll.answer.cancel()

    def hand_out(self, endpoint: Endpoint) -> None:
        """Give waiting jobs to held polls: the worker with the least to do first, then the one used last.

        Among idle workers the one used last, so that those that are not needed run into their idle timeout.
        """
        polls = self._polls[endpoint.spec.name]
        while endpoint.queue.waiting:
            ready = [poll for poll in polls if not poll.answer.done() and poll.worker.serving]
            if not ready:
                return
            poll = min(ready, key=lambda each: (each.worker.load, -each.worker.idle_since))
            poll.answer.set_result(endpoint.take(poll.worker, poll.count))

    async def stop_orders(self, worker: Worker, wait_s: float) -> list[str]:
        """The jobs a worker shall stop; waits up to `wait_s` for the first one."""
        signal = self._stop_polls[worker.id]
        if not worker.stop_orders:
            worker.open_polls += 1
            try:
                await asyncio.wait_for(signal.wait(), wait_s)
            except TimeoutError:
                return []
            finally:
                worker.open_polls -= 1
                worker.seen(self._clock())
        signal.clear()
        orders, worker.stop_orders = worker.stop_orders, []
        return orders

    def _stop_ordered(self, worker: Worker) -> None:
        self._stop_polls[worker.id].set()

    def _end_polls(self, worker: Worker) -> None:
        for poll in self._polls[worker.endpoint]:
            if poll.worker is worker and not poll.answer.done():
                poll.answer.set_result([])
        # The SDK sleeps a second after an empty stop poll, not after one that names a job it does not have.
        worker.stop_orders.append("none")
        self._stop_polls[worker.id].set()
