"""A plan and the course of a run as plain data, for people and machines. Pure."""

from collections.abc import Sequence
from typing import Any

from fanscribe.contracts.task import Stage
from fanscribe.contracts.transcript import TaskRecord, Transcript
from fanscribe.pipeline.plan import Plan, StagePlan


def describe(plan: Plan) -> dict[str, Any]:
    """The DAG of a plan in plain JSON types: what runs where, after what, in how many chunks.

    Times are seconds, prices US dollars; a price of None is not known.
    """
    nodes: list[dict[str, Any]] = [{"id": "prepare", "stage": Stage.PREPARE, "after": []}]
    last = []
    for each in plan.stages:
        nodes.append(_node(each, plan))
        last.append(each.id)
        if each.aligners:
            nodes.append(
                {
                    "id": f"{each.id}-align",
                    "stage": Stage.ALIGN,
                    "after": [each.id],
                    "aligners": [aligner.name for aligner in each.aligners],
                }
            )
            last[-1] = f"{each.id}-align"
    nodes.append({"id": "merge", "stage": Stage.MERGE, "after": last})
    situation = plan.situation
    return {
        "duration_s": situation.duration_s,
        "duration_exact": situation.exact and situation.duration_s is not None,
        "channels": situation.channels,
        "optimize": plan.request.optimize,
        "stages": nodes,
        "predicted_s": round(plan.makespan_s, 2),
        "predicted_usd": None if plan.price_usd is None else round(plan.price_usd, 6),
    }


def _node(stage: StagePlan, plan: Plan) -> dict[str, Any]:
    division, capacity = stage.division, plan.situation.capacity(stage.endpoint)
    forecast = division.forecast
    return {
        "id": stage.id,
        "stage": stage.stage,
        "after": ["prepare"],
        "channel": stage.channel,
        "endpoint": stage.endpoint.name,
        "variant": stage.endpoint.variant.id,
        "fallbacks": [each.name for each in stage.endpoints[1:]],
        "names_speakers": stage.also_diarizes or stage.stage is Stage.DIARIZE,
        "audio": "by reference" if stage.by_reference else "sent",
        "chunks": len(division.sizes_s),
        "chunk_s": [round(min(division.sizes_s), 1), round(max(division.sizes_s), 1)],
        "workers": forecast.workers,
        "warm_workers": capacity.workers_warm,
        "in_flight": division.in_flight,
        "predicted_s": round(forecast.makespan_s, 2),
        "paid_s": forecast.paid_s,
        "predicted_usd": round(forecast.price_usd, 6) if capacity.price_per_s else None,
    }


def report(transcript: Transcript) -> dict[str, Any]:
    """What was predicted of a run's tasks beside what happened: sums over the tasks of each stage, in seconds."""
    stages = list(dict.fromkeys(task.stage for task in transcript.tasks))
    return {
        "duration_s": transcript.duration,
        "stages": [
            _summed(stage, [task for task in transcript.tasks if task.stage == stage]) for stage in stages
        ],
        "cost_usd": round(sum(task.cost_usd for task in transcript.tasks), 6),
        "gaps": len(transcript.gaps),
    }


TIMES = ("queue", "start", "transfer", "load", "inference", "total")
"""The times of a task, in the order in which they pass."""


def _summed(stage: str, tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    ran = [task for task in tasks if task.timings]
    return {
        "stage": stage,
        "variants": sorted({task.variant for task in tasks}),
        "tasks": len(tasks),
        "reused": sum(task.reused for task in tasks),
        "failed": sum(task.error is not None for task in tasks),
        "jobs": sum(task.attempts + task.hedges for task in tasks if not task.reused),
        "hedges": sum(task.hedges for task in tasks),
        "unconfirmed": sum(task.unconfirmed for task in tasks),
        "cold_starts": sum(task.cold_start for task in tasks),
        "actual": {name: round(sum(task.timings.get(name, 0.0) for task in ran), 3) for name in TIMES},
        "predicted": {name: round(sum(task.predicted.get(name, 0.0) for task in ran), 3) for name in TIMES},
        "cost_usd": round(sum(task.cost_usd for task in tasks), 6),
    }
