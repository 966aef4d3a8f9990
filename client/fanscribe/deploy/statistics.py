"""Run records -> figures by endpoint. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from fanscribe.run_records import RunRecord


@dataclass(frozen=True, slots=True)
class Figures:
    """One endpoint's. Rates are shares from 0 to 1, times in seconds, money in US dollars; None: nothing to tell from.

    `cold_start_rate`: tasks that waited for a worker to start. `error_rate`: jobs that ended without an answer, of all
    jobs; a hedge's loser is no error. `usd_per_audio_hour` counts what tasks cost, not idle workers.
    """

    endpoint: str
    variant: str
    tasks: int
    reused: int
    jobs: int
    cold_start_rate: float | None
    mean_queue_s: float | None
    mean_execution_s: float | None
    error_rate: float | None
    usd_per_request: float | None
    usd_per_audio_hour: float | None


def figures(records: Iterable[RunRecord]) -> list[Figures]:
    """The figures of each endpoint, by name."""
    by_endpoint: dict[tuple[str, str], list[RunRecord]] = {}
    for each in records:
        by_endpoint.setdefault((each.endpoint, each.variant), []).append(each)
    return [_figures(*names, found) for names, found in sorted(by_endpoint.items())]


def _figures(endpoint: str, variant: str, records: list[RunRecord]) -> Figures:
    run = [each for each in records if not each.reused]
    done = [each for each in run if not each.failed]
    jobs = sum(each.attempts + each.hedges for each in run)
    failed = sum(each.attempts - (not each.failed) for each in run)
    seconds = sum(each.audio_s for each in run)
    cost = sum(each.cost_usd for each in run)
    return Figures(
        endpoint=endpoint,
        variant=variant,
        tasks=len(run),
        reused=len(records) - len(run),
        jobs=jobs,
        cold_start_rate=_mean([float(each.cold_start) for each in done]),
        mean_queue_s=_mean([_sum(each, "queue", "start") for each in done]),
        mean_execution_s=_mean([_sum(each, "load", "inference") for each in done]),
        error_rate=failed / jobs if jobs else None,
        usd_per_request=cost / len(run) if run else None,
        usd_per_audio_hour=cost / seconds * 3600 if seconds else None,
    )


def _sum(record: RunRecord, *names: str) -> float:
    return sum(record.timings.get(name, 0.0) for name in names)


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None
