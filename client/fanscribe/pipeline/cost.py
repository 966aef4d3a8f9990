"""What a set of chunks will take on one endpoint: seconds, paid seconds and dollars. Pure.

The model is list scheduling: chunks go out in order, and each is taken by the worker that is free first. Warm
workers are free at once, further ones after a cold start. Figures come from the variant file and the
endpoint, corrected by what earlier runs on the same endpoint showed.
"""

import heapq
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.gpu_pools import price_per_s

SDK_GAP_S = 1.0
"""What a plain SDK worker idles between two queued jobs: its fetch loop sleeps a second (measured, SDK 1.12)."""

QUEUE_DELAY_S = 4.0
"""How long a request waits, by Runpod's default, before the scaler adds workers for it."""

REACTION_S = 0.3
"""How late a caller that polls by prediction sees that a job is done, on average."""

HEDGE_RATIO = 1.4
"""A task that takes this many times what its peers took is a straggler."""

_HEDGE_FLOOR_S = 2.0
_APART_S = 1e-6
_TYPICAL_FROM = 3


class Optimize(StrEnum):
    """What the number of chunks and workers is chosen for."""

    LATENCY = "latency"
    COST = "cost"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Factors:
    """What one endpoint showed so far, actual over predicted: of a task's seconds, and of a cold start's.

    The predictions that they are learned from are those of a Capacity without factors.
    """

    run: float = 1.0
    start: float = 1.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """One endpoint as the cost model sees it. Times in seconds, prices in US dollars for a worker's second.

    `rtf`: seconds of work for a second of audio; `overhead_s`: of each job; `load_s`: the model into memory;
    `start_s`: the container; `scale_delay_s`: until the platform decides to start it (not paid). `supply_s`:
    what the caller needs to decode and send a second of audio, one after the other. `prefetch`: a worker
    fetches its next job while it is busy: no gap, but it may hold a job that another could have had.
    """

    rtf: float
    overhead_s: float = 0.0
    load_s: float = 0.0
    start_s: float = 0.0
    scale_delay_s: float = 0.0
    workers_max: int = 1
    workers_warm: int = 0
    price_per_s: float = 0.0
    idle_timeout_s: float = 0.0
    prefetch: bool = False
    supply_s: float = 0.0
    factors: Factors = field(default_factory=Factors)

    def task_s(self, audio_s: float) -> float:
        """How long a worker that is ready takes for one task: when to look for its answer."""
        return self.factors.run * (self.rtf * audio_s + self.overhead_s)

    @property
    def gap_s(self) -> float:
        """What a worker idles between two jobs that are queued."""
        return 0.0 if self.prefetch else SDK_GAP_S

    @property
    def cold_s(self) -> float:
        """From the submission until a worker that has to be started takes its first job."""
        return self.factors.start * (self.scale_delay_s + self.start_s + self.load_s)

    @property
    def paid_start_s(self) -> float:
        """The paid part of a cold start."""
        return self.factors.start * (self.start_s + self.load_s)

    def ready_s(self, workers: int) -> list[float]:
        """How long after its first job was sent each of so many workers takes it, the first worker first."""
        warm = min(self.workers_warm, workers)
        return [0.0] * warm + [self.cold_s] * (workers - warm)


def capacity_of(
    endpoint: DeployedEndpoint,
    pool: str,
    *,
    warm: int = 0,
    start_s: float = 0.0,
    scale_delay_s: float = QUEUE_DELAY_S,
    prefetch: bool = False,
    supply_s: float = 0.0,
    factors: Factors | None = None,
) -> Capacity:
    """The capacity of an endpoint whose workers are of a GPU pool (or "cpu_2").

    Where the variant has no figure for the pool, its slowest one stands in; an unknown price counts as 0.
    """
    figures = endpoint.variant.performance
    by_pool = {name.lower(): fact.value for name, fact in figures.rtf.items()}
    return Capacity(
        rtf=by_pool.get(pool.lower(), max(by_pool.values(), default=1.0)),
        overhead_s=figures.overhead_s.value,
        load_s=figures.load_s.value,
        start_s=start_s,
        scale_delay_s=scale_delay_s,
        workers_max=endpoint.workers.max,
        workers_warm=min(warm, endpoint.workers.max),
        price_per_s=price_per_s(pool) or 0.0,
        idle_timeout_s=endpoint.idle_timeout_s,
        prefetch=prefetch,
        supply_s=supply_s,
        factors=factors or Factors(),
    )


@dataclass(frozen=True, slots=True)
class TaskForecast:
    """One chunk: when it is sent, and when its work begins and ends; seconds from the start of the run."""

    sent_s: float
    start_s: float
    end_s: float
    worker: int
    cold: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """All chunks of one stage. `workers` counts those that are paid; `paid_s` their whole seconds."""

    makespan_s: float
    paid_s: int
    price_usd: float
    workers: int
    tasks: tuple[TaskForecast, ...]


def forecast(heard_s: Sequence[float], capacity: Capacity, width: int, *, in_flight: int = 0) -> Forecast:
    """What chunks of these lengths take on up to `width` workers, with `in_flight` jobs (at least `width`).

    A worker is paid from its start to its idle time-out, in whole seconds; a warm one from its first job. Which of
    the workers that fetch ahead takes a job is the platform's affair: of two orders the worse one counts, so that no
    plan builds on luck.
    """
    found = [
        _forecast(heard_s, capacity, width, in_flight, in_order)
        for in_order in (False, True)[: 1 + capacity.prefetch]
    ]
    return max(found, key=lambda each: each.makespan_s)


def _forecast(
    heard_s: Sequence[float], capacity: Capacity, width: int, in_flight: int, in_order: bool
) -> Forecast:
    workers = max(1, min(width, capacity.workers_max, len(heard_s)))
    in_flight = max(in_flight, workers)
    warm = min(capacity.workers_warm, workers)
    supplied = [capacity.supply_s * heard for heard in itertools.accumulate(heard_s)]
    overdue = itertools.islice(_overdue(heard_s, supplied, capacity, warm, in_flight), workers - warm)
    ready = [0.0] * warm + [sent + capacity.cold_s for sent in overdue]
    hands = _Hands(ready, warm, in_order=in_order)
    free = list(ready)
    busy_from: dict[int, float] = {}
    ends: list[float] = []
    tasks: list[TaskForecast] = []
    taken = 0.0
    for index, audio_s in enumerate(heard_s):
        sent = supplied[index]
        if index >= in_flight:
            sent = max(sent, heapq.heappop(ends) + REACTION_S)
        taken, worker = hands.next(max(sent, taken))
        start = max(taken, free[worker])
        end = start + capacity.task_s(audio_s)
        tasks.append(TaskForecast(sent, start, end, worker, worker not in busy_from and worker >= warm))
        busy_from.setdefault(worker, start)
        heapq.heappush(ends, end)
        free[worker] = end + capacity.gap_s
        hands.busy(worker, free[worker], start if capacity.prefetch else free[worker])
    paid, used = 0, 0
    for worker, ready_at in enumerate(ready):
        begin = ready_at - capacity.paid_start_s if worker >= warm else busy_from.get(worker, ready_at)
        if worker in busy_from:
            end = free[worker] - capacity.gap_s
        elif (
            worker >= warm and taken > capacity.scale_delay_s
        ):  # started for a job that another one then took
            end = ready_at
        else:
            continue
        used += 1
        paid += math.ceil(end - begin + capacity.idle_timeout_s - 1e-9)
    makespan = max((task.end_s for task in tasks), default=0.0)
    return Forecast(makespan, paid, paid * capacity.price_per_s, used, tuple(tasks))


def _overdue(
    heard_s: Sequence[float], supplied: Sequence[float], capacity: Capacity, warm: int, in_flight: int
) -> Iterator[float]:
    """When those jobs are sent that wait so long for the warm workers that the platform starts others for them."""
    if not warm:
        yield from supplied
        return
    takes = [(0.0, worker) for worker in range(warm)]
    free = [0.0] * warm
    ends: list[float] = []
    for index, audio_s in enumerate(heard_s):
        sent = supplied[index]
        if index >= in_flight:
            sent = max(sent, heapq.heappop(ends) + REACTION_S)
        taken, worker = heapq.heappop(takes)
        if taken > sent + capacity.scale_delay_s:
            yield sent
        start = max(taken, sent, free[worker])
        end = start + capacity.task_s(audio_s)
        heapq.heappush(ends, end)
        free[worker] = end + capacity.gap_s
        heapq.heappush(takes, (start if capacity.prefetch else free[worker], worker))


class _Hands:
    """Which worker takes the next job: one that idles, else one that fetches ahead, else whose turn is first.

    Among those that fetch ahead it is the one with the most left to do, or (`in_order`) the first of them. Workers
    that start come up one after the other, so that the first one takes two jobs before the next one takes any.
    """

    def __init__(self, ready: Sequence[float], warm: int, *, in_order: bool) -> None:
        self._in_order = in_order
        self._free = list(ready)
        self._room = [time + _APART_S * max(0, worker - warm) for worker, time in enumerate(ready)]
        self._later = [(time, worker) for worker, time in enumerate(self._room)]
        heapq.heapify(self._later)
        self._soonest: list[tuple[float, int]] = []
        self._ahead: list[tuple[float, float, int]] = []

    def next(self, now: float) -> tuple[float, int]:
        """When a job that waits since `now` is taken, and by which worker."""
        while True:
            while self._later and self._later[0][0] <= now:
                _, worker = heapq.heappop(self._later)
                free = self._free[worker]
                heapq.heappush(self._soonest, (free, worker))
                heapq.heappush(self._ahead, (worker if self._in_order else -free, free, worker))
            while self._soonest and self._took_one_since(*self._soonest[0], now):
                heapq.heappop(self._soonest)
            while self._ahead and self._took_one_since(*self._ahead[0][1:], now):
                heapq.heappop(self._ahead)
            if self._soonest:
                free, worker = self._soonest[0]
                return now, worker if free <= now else self._ahead[0][2]
            now = self._later[0][0]

    def busy(self, worker: int, free: float, room: float) -> None:
        """A worker took a job: it will be free then, and can take another one from `room` on."""
        self._free[worker], self._room[worker] = free, room
        heapq.heappush(self._later, (room, worker))

    def _took_one_since(self, free: float, worker: int, now: float) -> bool:
        return free != self._free[worker] or self._room[worker] > now


def hedge_after_s(expected_s: float, ratios: Sequence[float]) -> float:
    """After how many running seconds a task counts as a straggler and deserves a second job beside it.

    `expected_s` is its prediction; `ratios` are actual over predicted seconds of its finished peers, whose
    median tells whether everything is slow today, which no hedge would mend.
    """
    typical = statistics.median(ratios) if len(ratios) >= _TYPICAL_FROM else 1.0
    usual_s = expected_s * max(typical, 0.5)
    return max(HEDGE_RATIO * usual_s, usual_s + _HEDGE_FLOOR_S)
