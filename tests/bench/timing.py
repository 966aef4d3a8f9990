"""Timing competitors fairly: in turn, in one run, medians."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: a ratio or another figure against its target; `target` is the largest allowed."""

    name: str
    value: float
    target: float
    detail: str
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value <= self.target


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(competitors: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median seconds of each, the competitors taking turns and a different one going first each time."""
    names = list(competitors)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for run in range(runs):
        for name in names[run % len(names) :] + names[: run % len(names)]:
            taken[name].append(seconds(competitors[name]))
    return {name: statistics.median(each) for name, each in taken.items()}
