"""Into how many chunks a recording is divided, of which lengths, and for how many workers. Pure.

Candidates are judged by the forecast of the cost model: chunks of equal length, in numbers that fill the
workers, and chunks shaped so that warm and cold workers end together.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from fanscribe.pipeline.cost import Capacity, Forecast, Optimize, forecast

FLAC_BYTES_PER_S = 24_000
"""16 kHz mono FLAC for planning: speech takes 11 to 21 kB a second (measured on seven recordings)."""

SHORTEST_CHUNK_S = 30.0
"""Whisper pads everything to windows of 30 s, so shorter chunks cost as much, and know less of the context."""

_AS_GOOD = 1.02
"""Makespans and prices this near to the best count as equal; the other figure then decides."""

_LATER_WAVES = 6
_BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a chunk may be, in seconds. `longest_s` is for the heard span; `overlap_s` is heard on each side.

    `longest_s` wins where it is below `shortest_s`. A recording shorter than two shortest chunks stays whole.
    """

    longest_s: float
    shortest_s: float = SHORTEST_CHUNK_S
    overlap_s: float = 0.0

    def __post_init__(self) -> None:
        if self.longest_s <= 2 * self.overlap_s:
            raise ValueError(f"chunks of at most {self.longest_s:g} s hold only their overlap")

    @property
    def longest_owned_s(self) -> float:
        """The longest span that a chunk between two others may own."""
        return self.longest_s - 2 * self.overlap_s

    @property
    def shortest_useful_s(self) -> float:
        """`shortest_s`, or what the longest chunks leave room for."""
        return min(self.shortest_s, self.longest_owned_s / 2)


@dataclass(frozen=True, slots=True)
class Division:
    """The chunks of one stage: the seconds that each owns.

    `width`: workers that are to be busy at once. `in_flight`: jobs to have on the platform at once; more than
    `width` only where that many workers are all there can be, and each fetches its next job while it is busy.
    """

    sizes_s: tuple[float, ...]
    width: int
    in_flight: int
    forecast: Forecast

    def wanted_s(self, start_s: float = 0.0) -> tuple[float, ...]:
        """Where to cut, in seconds, when the recording (or the clip of it) begins at `start_s`."""
        return tuple(start_s + edge for edge in accumulate(self.sizes_s[:-1]))


@dataclass(frozen=True, slots=True)
class Work:
    """One stage of a request: so many seconds of audio on one endpoint."""

    duration_s: float
    capacity: Capacity
    bounds: Bounds


def inline_limit_s(limit_bytes: int, bytes_per_s: float = FLAC_BYTES_PER_S) -> float:
    """The longest chunk whose FLAC fits into so many bytes (before base64)."""
    return limit_bytes / bytes_per_s


def divide(
    work: Work,
    optimize: Optimize = Optimize.LATENCY,
    *,
    width: int | None = None,
    within_s: float = 0.0,
) -> Division:
    """The best division found. `width` bounds the workers; None: as many as the endpoint may have.

    For latency the cheapest division that ends within `within_s`, or within 2 % of the fastest; for cost the
    fastest within 2 % of the cheapest; balanced takes the least sum of both, each relative to its best.
    """
    most = max(1, min(work.capacity.workers_max, width or work.capacity.workers_max))
    options = [
        _Option(sizes, count, in_flight)
        for count in _widths(most, work.capacity.workers_warm)
        for in_flight in ((count, 2 * count) if work.capacity.prefetch and count == most else (count,))
        for sizes in dict.fromkeys(_candidates(work, count))
    ]
    last = options.pop().judged(work)
    if optimize is Optimize.LATENCY:  # most of the others cannot end in time, which shows without a forecast
        limit = max(_AS_GOOD * last.forecast.makespan_s, within_s)
        options = [each for each in options if each.least_s(work) <= limit]
    found = [*(each.judged(work) for each in options), last]
    fastest = min(each.forecast.makespan_s for each in found)
    cheapest = min(each.forecast.paid_s for each in found)
    if optimize is Optimize.LATENCY:
        limit = max(_AS_GOOD * fastest, within_s)
        good = [each for each in found if each.forecast.makespan_s <= limit]
        return min(good, key=lambda each: (each.forecast.paid_s, each.forecast.makespan_s))
    if optimize is Optimize.COST:
        good = [each for each in found if each.forecast.paid_s <= _AS_GOOD * cheapest]
        return min(good, key=lambda each: (each.forecast.makespan_s, each.forecast.paid_s))
    return min(found, key=lambda each: _weighed(each.forecast, fastest, cheapest))


def divide_together(
    works: Mapping[str, Work], optimize: Optimize = Optimize.LATENCY, *, workers: int | None = None
) -> dict[str, Division]:
    """A division for each stage, where the stages run beside each other and share `workers` in all.

    The stage that would end last is given the next worker, until there is none left or it can use no more.
    A stage that ends before the last one is made as cheap as that allows.
    """
    widths = {name: work.capacity.workers_max for name, work in works.items()}
    if workers is not None and sum(widths.values()) > workers:
        widths = _shared(works, max(workers, len(works)))
    found = {name: divide(work, optimize, width=widths[name]) for name, work in works.items()}
    if optimize is not Optimize.LATENCY or len(found) < 2:
        return found
    last_s = max(each.forecast.makespan_s for each in found.values())
    return {name: divide(work, optimize, width=widths[name], within_s=last_s) for name, work in works.items()}


def heard_s(sizes_s: tuple[float, ...], bounds: Bounds) -> list[float]:
    """The lengths that are sent: what a chunk owns and the overlap with each neighbour."""
    last = len(sizes_s) - 1
    return [size + bounds.overlap_s * ((index > 0) + (index < last)) for index, size in enumerate(sizes_s)]


class _Option(NamedTuple):
    """A division that nobody has judged yet."""

    sizes_s: tuple[float, ...]
    width: int
    in_flight: int

    def least_s(self, work: Work) -> float:
        """A time that it cannot end before: all the work, evenly on all workers from the start."""
        count = len(self.sizes_s)
        heard = work.duration_s + 2 * (count - 1) * work.bounds.overlap_s
        return count * work.capacity.task_s(heard / count) / self.width

    def judged(self, work: Work) -> Division:
        """With the cost model's forecast."""
        heard = heard_s(self.sizes_s, work.bounds)
        found = forecast(heard, work.capacity, self.width, in_flight=self.in_flight)
        return Division(self.sizes_s, self.width, self.in_flight, found)


def _weighed(each: Forecast, fastest: float, cheapest: float) -> float:
    return each.makespan_s / max(fastest, 1e-9) + each.paid_s / max(cheapest, 1e-9)


def _shared(works: Mapping[str, Work], workers: int) -> dict[str, int]:
    widths = dict.fromkeys(works, 1)
    ends = {name: _filled(work, 1)[0] for name, work in works.items()}
    for _ in range(workers - len(works)):
        slowest = max(works, key=lambda name: ends[name])
        if widths[slowest] >= works[slowest].capacity.workers_max:
            break
        widths[slowest] += 1
        ends[slowest] = _filled(works[slowest], widths[slowest])[0]
    return widths


def _widths(most: int, warm: int) -> list[int]:
    """Numbers of workers worth a look: all small ones, then steps of a quarter, the warm ones, and all."""
    widths = {most, min(max(warm, 1), most)}
    width = 1
    while width < most:
        widths.add(width)
        width += max(1, width // 4)
    return sorted(widths)


def _candidates(work: Work, width: int) -> Iterator[tuple[float, ...]]:
    duration, bounds = work.duration_s, work.bounds
    fewest = 1
    if duration > bounds.longest_s:
        fewest = max(2, math.ceil(duration / bounds.longest_owned_s - 1e-9))
    most = max(fewest, math.floor(duration / bounds.shortest_s))
    counts = {fewest, min(fewest + 1, most)}
    for waves in range(max(1, fewest // width), fewest // width + _LATER_WAVES):
        counts.update(waves * width + extra for extra in range(-2, 1))
    if most <= 4 * width:
        counts.add(most)
    if work.capacity.prefetch:  # without gaps small chunks cost little, and even out what was dealt unevenly
        counts.update(waves * width for waves in (7, 9, 12))
    counts.update({work.capacity.workers_warm, *range(2, min(width, 5))})
    for count in sorted(counts):
        if fewest <= count <= most:
            yield (duration / count,) * count
    if not work.capacity.prefetch:  # else it is chance which worker holds which chunk
        shaped = _filled(work, min(width, most))[1]
        if all(_fits(size, bounds) for size in shaped):
            yield shaped


def _fits(size: float, bounds: Bounds) -> bool:
    return bounds.shortest_useful_s - 1e-6 <= size <= bounds.longest_owned_s + 1e-6


def _filled(work: Work, workers: int) -> tuple[float, tuple[float, ...]]:
    """The earliest end by which so many workers could hear everything, and chunks that make them end then."""
    ready = work.capacity.ready_s(workers)

    def owned_s(end_s: float) -> float:
        return sum(each.chunks * each.size_s for each in _loads(work, ready, end_s))

    low, high = 0.0, work.capacity.cold_s + work.capacity.task_s(work.duration_s)
    high += work.capacity.supply_s * work.duration_s
    while owned_s(high) < work.duration_s:
        low, high = high, 2 * high + 1
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if owned_s(middle) >= work.duration_s else (middle, high)
    chunks = sorted(
        (each.begin_s + number * each.turn_s, each.worker, each.size_s)
        for each in _loads(work, ready, high)
        for number in range(each.chunks)
    )
    total = sum(size_s for _, _, size_s in chunks)
    return high, tuple(size_s * work.duration_s / total for _, _, size_s in chunks)


class _Load(NamedTuple):
    """What one worker does: so many chunks of a size, the first at `begin_s`, the next one `turn_s` later."""

    worker: int
    chunks: int
    size_s: float
    begin_s: float
    turn_s: float


def _loads(work: Work, ready: list[float], end_s: float) -> Iterator[_Load]:
    """The work that fills each worker up to `end_s`; none for a worker that is ready too late."""
    capacity, bounds = work.capacity, work.bounds
    rtf = max(capacity.factors.run * capacity.rtf, 1e-6)
    overhead = capacity.factors.run * capacity.overhead_s
    gap, supply = capacity.gap_s, capacity.supply_s
    longest_task = rtf * bounds.longest_s + overhead
    first_wave_s = 0.0
    for worker, ready_s in enumerate(ready):
        free_s = end_s - ready_s - supply * first_wave_s + gap
        count = max(1, math.ceil(free_s / (longest_task + gap) - 1e-9))
        # A chunk is sent when all up to its end is decoded, so its own length delays its start.
        own = free_s / count - gap - overhead - 2 * bounds.overlap_s * rtf
        size = own / (rtf + supply / count)
        if size < bounds.shortest_useful_s:
            continue
        task = rtf * (size + 2 * bounds.overlap_s) + overhead
        begin = ready_s + supply * (first_wave_s + size)
        first_wave_s += size
        yield _Load(worker, count, size, begin, task + gap)
