"""Requests of workers that are held open: for jobs to do and for jobs to stop."""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass, field

from fanscribe.local.endpoint import Endpoint
from fanscribe.local.job import Job
from fanscribe.local.queue import Clock
from fanscribe.local.worker import Worker

# The SDK cuts a poll after 90 s.
HOLD_S = 30.0


@dataclass(slots=True, eq=False)
class Poll:
    """A worker's held request for jobs; `answer` is set when there are some, or when the worker shall end."""

    worker: Worker
    count: int
    answer: asyncio.Future[list[Job]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Polls:
    """All held requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._takes: dict[str, list[Poll]] = defaultdict(list)
        self._stops: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def open(self, endpoint: Endpoint, worker: Worker, count: int) -> Poll:
        """Hold a request for up to `count` jobs."""
        poll = Poll(worker, count)
        worker.open_polls += 1
        self._takes[endpoint.spec.name].append(poll)
        return poll

    def close(self, endpoint: Endpoint, poll: Poll) -> None:
        """The request has been answered, has expired, or its connection has gone."""
        poll.worker.open_polls -= 1
        poll.worker.seen(self._clock())
        with contextlib.suppress(ValueError):
            self._takes[endpoint.spec.name].remove(poll)
        poll.answer.cancel()

    def hand_out(self, endpoint: Endpoint) -> list[Job]:
        """Give waiting jobs to held requests: the worker with the least to do first, then the one used last.

        Among idle workers the one used last, so that those that are not needed run into their idle timeout.
        """
        polls, given = self._takes[endpoint.spec.name], []
        while endpoint.queue.waiting:
            ready = [poll for poll in polls if not poll.answer.done() and poll.worker.serving]
            if not ready:
                break
            poll = min(ready, key=lambda each: (each.worker.load, -each.worker.idle_since))
            jobs = endpoint.take(poll.worker, poll.count)
            poll.answer.set_result(jobs)
            given += jobs
        return given

    async def stop_orders(self, worker: Worker, wait_s: float) -> list[str]:
        """The jobs a worker shall stop; waits up to `wait_s` for the first one."""
        signal = self._stops[worker.id]
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

    def stop_ordered(self, worker: Worker) -> None:
        """There is a job for a worker to stop."""
        self._stops[worker.id].set()

    def end(self, worker: Worker) -> None:
        """Answer everything that a worker holds open, so that it can end."""
        for poll in self._takes[worker.endpoint]:
            if poll.worker is worker and not poll.answer.done():
                poll.answer.set_result([])
        # The SDK sleeps a second after an empty stop poll, not after one that names a job it does not have.
        worker.stop_orders.append("none")
        self._stops[worker.id].set()

    def forget(self, worker: Worker) -> None:
        """The worker has gone."""
        self._stops.pop(worker.id, None)
