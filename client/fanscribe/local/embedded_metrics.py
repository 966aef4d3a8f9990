"""Queue and workers of each endpoint as CloudWatch's embedded metric format: log lines that become metrics.

The format needs no agent beside the platform: where its standard output is a CloudWatch log, these lines are metrics.
"""

from collections.abc import Iterator, Mapping
from typing import Any

INTERVAL_S = 10.0
"""Seconds between two samples: the shortest period of an alarm on a high-resolution metric."""

QUEUED, JOBS, WORKERS = "JobsQueued", "Jobs", "Workers"
"""Jobs that wait, jobs that wait or run, workers that take jobs."""

DIMENSION = "Endpoint"

_HIGH_RESOLUTION_S = 1


def embedded_metrics(state: Mapping[str, Any], namespace: str, wall_ms: int) -> Iterator[dict[str, Any]]:
    """One JSON object for each endpoint of a status snapshot. `wall_ms`: milliseconds since 1970."""
    metrics = [
        {"Name": name, "Unit": "Count", "StorageResolution": _HIGH_RESOLUTION_S}
        for name in (QUEUED, JOBS, WORKERS)
    ]
    for each in state["endpoints"]:
        yield {
            "_aws": {
                "Timestamp": wall_ms,
                "CloudWatchMetrics": [
                    {"Namespace": namespace, "Dimensions": [[DIMENSION]], "Metrics": metrics}
                ],
            },
            DIMENSION: each["name"],
            QUEUED: each["queued"],
            JOBS: each["queued"] + each["running"],
            WORKERS: sum(worker["state"] != "draining" for worker in each["workers"]),
        }
