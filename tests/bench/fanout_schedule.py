"""Is the planner's number of chunks the right one? Judged by a simulation that knows nothing of the planner.

    python -m tests.bench.fanout_schedule            the whole grid, some minutes
    python -m tests.bench.fanout_schedule --jitter 0.2

The simulation plays the platform event by event: a client that keeps a bounded number of jobs in flight, a
queue, workers that start when a job waits too long and stop when they idle, gaps between jobs, jobs that take
more or less than expected. For each point of the grid all chunk counts (and for cost, numbers of workers) are
tried by force; the planner's choice, run through the same simulation, is compared with the best of them.
"""

import argparse
import asyncio
import heapq
import itertools
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.fan_out import OVERHEAD_S, RTF, SPEAKERS, START_S, WORDS, bench, coded
from tests.bench.timing import Row

from fanscribe.pipeline.cost import Capacity, Optimize
from fanscribe.pipeline.division import Bounds, Division, Work, divide, divide_together
from fanscribe.pipeline.survey import SUPPLY_S

TOLERANCE = 1.10

GRID = ((60, 300, 900, 3600, 10800, 36000), (1, 2, 5, 10, 20), (0, 5, 20, 60), (0, 0.5, 1))
"""Seconds of audio, workers, seconds of the load, shares of the workers that are warm."""

REAL_RUNS = ((4, False), (10, False), (6, True))
"""Workers, and whether they are cold, of the real runs over 15 minutes that the simulation is held against."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The world of one simulation, in seconds. Independent of the planner's own types on purpose."""

    rtf: float
    overhead: float
    start: float
    scale_delay: float
    warm: int
    most: int
    idle: float
    gap: float
    prefetch: bool
    supply: float
    reaction: float = 0.3
    jitter: float = 0.0


@dataclass(slots=True)
class Worker:
    """One worker of the simulated platform."""

    billed_from: float | None
    free_again: float = 0.0
    last_end: float = 0.0
    held: deque[int] = field(default_factory=deque)
    running: bool = False
    up: bool = False
    stopped: bool = False


class Simulation:
    """Runs jobs of the given lengths (seconds of audio) and gives the makespan and the paid seconds."""

    def __init__(self, rules: Rules, audio: Sequence[float], in_flight: int, seed: int = 0) -> None:
        chance = random.Random(seed)

        def about(value: float) -> float:
            return value * (1 + rules.jitter * chance.uniform(-1, 1))

        self.rules, self.in_flight = rules, in_flight
        self.work = [about(rules.rtf * each + rules.overhead) for each in audio]
        self.start_times = [about(rules.start) for _ in range(rules.most)]
        self.decoded = [rules.supply * heard for heard in itertools.accumulate(audio)]
        self.workers: list[Worker] = []
        self.queue: deque[int] = deque()
        self.now = 0.0
        self.submitted = self.done = 0
        self.paid = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def run(self) -> tuple[float, float]:
        for _ in range(self.rules.warm):
            self.workers.append(Worker(billed_from=None, up=True))
        self._at(0.0, self._submit)
        makespan = 0.0
        while self._events and self.done < len(self.work):
            self.now, _, happening = heapq.heappop(self._events)
            happening()
            makespan = self.now
        for worker in self.workers:
            self._bill(worker)
        return makespan, self.paid

    def _at(self, time: float, happening: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happening))

    def _submit(self) -> None:
        while self.submitted < len(self.work) and self.submitted - self.done < self.in_flight:
            ready = self.decoded[self.submitted]
            if ready > self.now + 1e-9:
                self._at(ready, self._submit)
                return
            job = self.submitted
            self.submitted += 1
            self.queue.append(job)
            self._give()
            self._at(self.now + self.rules.scale_delay, lambda job=job: self._overdue(job))  # type: ignore[misc]

    def _overdue(self, job: int) -> None:
        """The scaler: a job that still waits wants a worker, unless one that is starting will take it."""
        if job not in self.queue:
            return
        starting = sum(not each.up and not each.stopped for each in self.workers)
        alive = sum(not each.stopped for each in self.workers)
        if starting <= self.queue.index(job) and alive < self.rules.most:
            worker = Worker(billed_from=self.now)
            self.workers.append(worker)
            time = self.start_times[(len(self.workers) - 1) % len(self.start_times)]
            self._at(self.now + time, lambda: self._up(worker))

    def _up(self, worker: Worker) -> None:
        worker.up = True
        worker.free_again = worker.last_end = self.now
        self._give()
        self._idle_later(worker)

    def _give(self) -> None:
        """Hand out the queue: to idle workers first, then to those that prefetch."""
        for room in (1, 2) if self.rules.prefetch else (1,):
            for worker in self.workers:
                if not self.queue:
                    return
                held = len(worker.held) + worker.running
                ready = worker.up and not worker.stopped
                if ready and held < room and (self.rules.prefetch or worker.free_again <= self.now + 1e-9):
                    worker.held.append(self.queue.popleft())
                    self._begin(worker)

    def _begin(self, worker: Worker) -> None:
        if worker.running or not worker.held:
            return
        job = worker.held.popleft()
        worker.running = True
        if worker.billed_from is None:
            worker.billed_from = self.now
        self._at(self.now + self.work[job], lambda: self._end(worker))

    def _end(self, worker: Worker) -> None:
        worker.running = False
        worker.last_end = self.now
        self.done += 1
        worker.free_again = self.now + self.rules.gap
        self._begin(worker)
        self._at(self.now + self.rules.reaction, self._submit)
        if self.rules.gap:
            self._at(worker.free_again, self._give)
        self._give()
        self._idle_later(worker)

    def _idle_later(self, worker: Worker) -> None:
        since = worker.last_end

        def check() -> None:
            if not worker.running and not worker.held and worker.last_end == since and not worker.stopped:
                self._bill(worker)
                worker.stopped = True

        self._at(self.now + max(self.rules.idle, self.rules.gap + 1e-6), check)

    def _bill(self, worker: Worker) -> None:
        if worker.stopped or worker.billed_from is None:
            return
        end = max(worker.last_end, worker.billed_from) if worker.up else self.now
        self.paid += math.ceil(end - worker.billed_from + self.rules.idle - 1e-9)


def rules_of(capacity: Capacity, jitter: float = 0.0) -> Rules:
    """The same world as the planner's capacity describes."""
    return Rules(
        rtf=capacity.rtf,
        overhead=capacity.overhead_s,
        start=capacity.start_s + capacity.load_s,
        scale_delay=capacity.scale_delay_s,
        warm=capacity.workers_warm,
        most=capacity.workers_max,
        idle=capacity.idle_timeout_s,
        gap=0.0 if capacity.prefetch else 1.0,
        prefetch=capacity.prefetch,
        supply=capacity.supply_s,
        jitter=jitter,
    )


def simulate(
    rules: Rules, owned: Sequence[float], overlap: float, in_flight: int, runs: int
) -> tuple[float, float]:
    """Mean makespan and paid seconds over `runs` draws (one where there is no jitter)."""
    last = len(owned) - 1
    audio = [size + overlap * ((i > 0) + (i < last)) for i, size in enumerate(owned)]
    results = [Simulation(rules, audio, in_flight, seed).run() for seed in range(runs if rules.jitter else 1)]
    return sum(a for a, _ in results) / len(results), sum(b for _, b in results) / len(results)


def counts(work: Work) -> Iterator[int]:
    """Every chunk count that the bounds allow; beyond 60 in steps of 3 %."""
    bounds = work.bounds
    count = 1
    if work.duration_s > bounds.longest_s:
        count = max(2, math.ceil(work.duration_s / (bounds.longest_s - 2 * bounds.overlap_s) - 1e-9))
    most = max(count, int(work.duration_s / bounds.shortest_s))
    while count <= most:
        yield count
        count += max(1, count // 33)


def widths(most: int) -> list[int]:
    return sorted({*(each for each in (1, 2, 3, 4, 6, 8, 12, 16) if each < most), most})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The planner's choice beside the best that was found by force. The figure is seconds or paid seconds."""

    work: Work
    optimize: Optimize
    chosen: Division
    figure: float
    best: float
    best_count: int
    best_in_flight: int

    @property
    def ratio(self) -> float:
        """1 where the planner's choice is as good; below 1 where it is better than any equal division."""
        return self.figure / self.best if self.best else 1.0


def judge(work: Work, optimize: Optimize, *, jitter: float = 0.0, runs: int = 5) -> Verdict:
    """Compare the planner's division with every equal one."""
    rules = rules_of(work.capacity, jitter)
    which = 0 if optimize is Optimize.LATENCY else 1
    chosen = divide(work, optimize)
    overlap = work.bounds.overlap_s
    figure = simulate(rules, chosen.sizes_s, overlap, chosen.in_flight, runs)[which]
    most = work.capacity.workers_max
    tried = [most] if which == 0 else widths(most)
    if rules.prefetch:
        tried.append(2 * most)
    best = min(
        (
            simulate(rules, [work.duration_s / count] * count, overlap, in_flight, runs)[which],
            count,
            in_flight,
        )
        for count in counts(work)
        for in_flight in tried
    )
    return Verdict(work, optimize, chosen, figure, *best)


def grid(
    lengths: Sequence[float], workers: Sequence[int], loads: Sequence[float], warm_shares: Sequence[float]
) -> Iterator[Work]:
    """Whisper on a mid-size GPU, on endpoints of every size and state; every other point with prefetch."""
    points = itertools.product(lengths, workers, loads, warm_shares)
    for number, (length, most, load, share) in enumerate(points):
        capacity = Capacity(
            rtf=0.05,
            overhead_s=0.3,
            load_s=load,
            start_s=3.0,
            scale_delay_s=4.0,
            workers_max=most,
            workers_warm=round(share * most),
            idle_timeout_s=5.0,
            prefetch=number % 2 == 1,
            supply_s=0.002,
        )
        yield Work(length, capacity, Bounds(longest_s=310.0))


BENCHMARK = Capacity(rtf=0.4, overhead_s=0.2, workers_max=20, workers_warm=20, idle_timeout_s=5.0)
"""The fixed facts of the fan-out benchmark, warm: the transcribe side. Diarization has a quarter of its RTF."""


def benchmark(cold_s: float) -> tuple[float, dict[str, Division]]:
    """One hour on 20 workers in all: simulated makespan over (total work / 20, plus one start where cold)."""
    warm = 0 if cold_s else 20
    transcribe = replace(BENCHMARK, start_s=cold_s, workers_warm=warm)
    diarize = replace(transcribe, rtf=0.1)
    works = {
        "transcribe": Work(3600.0, transcribe, Bounds(longest_s=310.0)),
        "diarize": Work(3600.0, diarize, Bounds(longest_s=7200.0, shortest_s=600.0, overlap_s=15.0)),
    }
    found = divide_together(works, workers=20)
    makespans = []
    for name, division in found.items():
        capacity = works[name].capacity
        rules = replace(rules_of(capacity), most=division.width, warm=min(warm, division.width))
        makespans.append(
            simulate(rules, division.sizes_s, works[name].bounds.overlap_s, division.in_flight, 1)[0]
        )
    bound = (0.4 + 0.1) * 3600 / 20 + cold_s
    return max(makespans) / bound, found


def chunk_counts(folder: Path) -> list[Row]:
    """The planner's choice against the best by force over the grid, and the simulation against three real runs."""
    rows = []
    for optimize, what in ((Optimize.LATENCY, "makespan"), (Optimize.COST, "price")):
        ratios = [judge(work, optimize).ratio for work in grid(*GRID)]
        above = sum(ratio > TOLERANCE for ratio in ratios)
        rows.append(
            Row(
                f"planner's chunks: {what} / best over the grid, worst point",
                max(ratios),
                TOLERANCE,
                f"{len(ratios)} points, {above} above {TOLERANCE}, mean {sum(ratios) / len(ratios):.3f}",
            )
        )
    found = [real_over_simulated(folder, workers, cold=cold) for workers, cold in REAL_RUNS]
    rows.append(
        Row(
            "simulation against real runs: largest deviation",
            max(abs(ratio - 1) for ratio in found),
            0.1,
            "real / simulated makespan: " + ", ".join(f"{ratio:.3f}" for ratio in found),
        )
    )
    return rows


def real_over_simulated(folder: Path, workers: int, *, cold: bool) -> float:
    """The makespan of a real run on simulated workers over what the simulation says for its chunks."""
    _, file = coded(900.0, folder)
    with bench(workers={WORDS: workers, SPEAKERS: 1}, cold=cold) as (on, _):
        transcript, took_s = asyncio.run(on.run(file))
    sizes = [task.end - task.start for task in transcript.tasks]
    rules = Rules(
        rtf=RTF[WORDS],
        overhead=OVERHEAD_S,
        start=START_S,
        scale_delay=0.0,
        warm=0 if cold else workers,
        most=workers,
        idle=5.0,
        gap=0.0,
        prefetch=False,
        supply=SUPPLY_S,
    )
    makespan, _ = simulate(rules, sizes, 0.0, workers, 1)
    return took_s / makespan


def main() -> int:
    """Print the whole grid; the exit status says whether every point is within the tolerance."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--jitter", type=float, default=0.0, help="each time is off by up to this share")
    jitter = arguments.parse_args().jitter
    worst = 0
    for optimize in (Optimize.LATENCY, Optimize.COST):
        ratios = []
        for work in grid(*GRID):
            verdict = judge(work, optimize, jitter=jitter, runs=3)
            ratios.append(verdict.ratio)
            if verdict.ratio > TOLERANCE:
                capacity = work.capacity
                print(
                    f"{optimize}: {work.duration_s:6.0f} s, {capacity.workers_max} workers, "
                    f"{capacity.workers_warm} warm, load {capacity.load_s:.0f} s, prefetch {capacity.prefetch}: "
                    f"{len(verdict.chosen.sizes_s)} chunks give {verdict.figure:.1f}, "
                    f"{verdict.best_count} with {verdict.best_in_flight} in flight give {verdict.best:.1f}"
                )
        above = sum(ratio > TOLERANCE for ratio in ratios)
        worst += above
        print(
            f"{optimize}: {len(ratios)} points, {above} above {TOLERANCE}; chosen / best: "
            f"mean {sum(ratios) / len(ratios):.3f}, worst {max(ratios):.3f}"
        )
    for cold_s in (0.0, 8.0):
        ratio, found = benchmark(cold_s)
        shares = ", ".join(f"{name} {len(each.sizes_s)} on {each.width}" for name, each in found.items())
        print(f"one hour, {'cold' if cold_s else 'warm'}: makespan / bound {ratio:.3f} ({shares})")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
