"""Facts of made-up requests, for tests of traces."""

import itertools
from typing import Any

from fanscribe.contracts.task import Timing
from fanscribe.trace.facts import JobFacts, RequestFacts, Role, Status, StepFacts, TaskFacts
from fanscribe.trace.traceparent import Ids

BEGAN = 1000.0
WALL_S = 1_700_000_000.0


def ids(trace: str | None = None, parent: str | None = None) -> Ids:
    """Ids that count."""
    numbers = itertools.count(1)
    return Ids(trace, parent, token=lambda size: f"{next(numbers):0{2 * size}x}")


def job(**changes: Any) -> JobFacts:
    """A job that a warm worker did: 0.1 s to send, 0.4 s queued, 2 s of work, 0.2 s back."""
    facts: dict[str, Any] = {
        "endpoint": "words",
        "variant": "whisper-base",
        "role": Role.FIRST,
        "began": BEGAN + 1.0,
        "submitted": BEGAN + 1.1,
        "taken": BEGAN + 1.6,
        "ended": BEGAN + 3.7,
        "status": Status.OK,
        "job_id": "j1",
        "worker_id": "w1",
        "delay_s": 0.4,
        "execution_s": 2.0,
        "timing": Timing(download_s=0.3, load_s=0.0, inference_s=1.7),
    }
    return JobFacts(**(facts | changes))


def cold_job(**changes: Any) -> JobFacts:
    """A job that a worker was started for: 3 s of start, 0.3 s of download, 1 s more of a load of 2.5 s."""
    facts: dict[str, Any] = {
        "ended": BEGAN + 7.2,
        "delay_s": 3.0,
        "execution_s": 3.0,
        "timing": Timing(download_s=0.3, load_s=2.5, inference_s=1.7, cold_start=True),
    }
    return job(**(facts | changes))


def task(*jobs: JobFacts, number: int = 0, stage: str = "transcribe", **changes: Any) -> TaskFacts:
    """A task with these jobs, from a tenth before the first one to the end of the last one."""
    facts: dict[str, Any] = {
        "id": f"{stage}-{number}",
        "stage_id": stage,
        "stage": stage,
        "start_s": 60.0 * number,
        "end_s": 60.0 * (number + 1),
        "began": min((each.began for each in jobs), default=BEGAN) - 0.1,
        "ended": max((each.ended for each in jobs), default=BEGAN),
        "status": Status.OK,
        "jobs": jobs,
    }
    return TaskFacts(**(facts | changes))


def request(*tasks: TaskFacts, **changes: Any) -> RequestFacts:
    """A request with these tasks, and a step before and after them."""
    ended = max((each.ended for each in tasks), default=BEGAN + 1) + 0.2
    facts: dict[str, Any] = {
        "wall_s": WALL_S,
        "began": BEGAN,
        "ended": ended,
        "about": {"model": "auto", "audio_s": 120.0},
        "steps": (StepFacts("plan", BEGAN, BEGAN + 0.2), StepFacts("merge", ended - 0.1, ended)),
        "tasks": tasks,
    }
    return RequestFacts(**(facts | changes))
