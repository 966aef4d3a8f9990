"""A queue's jobs as JSON and back, so that a platform that goes away and returns has lost none of them."""

from collections.abc import Callable
from typing import Any

from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.queue import JobQueue


def dump(queue: JobQueue, wall_offset_s: float) -> list[dict[str, Any]]:
    """Every job that is known, oldest first; the waiting ones in the order of the queue.

    `wall_offset_s` turns the platform's clock into Unix time: clocks differ from one process to the next.
    """
    # Jobs in progress come first in line when they are read back: their workers will be gone.
    waiting = list(queue.waiting.values())
    rest = [job for job in queue.jobs.values() if job.final]
    return [_job_to_json(job, wall_offset_s) for job in (*rest, *queue.running.values(), *waiting)]


def load(queue: JobQueue, jobs: list[dict[str, Any]], wall_offset_s: float) -> None:
    """Put the jobs back; those that were in progress wait again, and timers go on from where they were."""
    for value in jobs:
        queue.restore(_job_from_json(value, wall_offset_s))


def wall_offset(clock: Callable[[], float], wall: Callable[[], float]) -> float:
    """Seconds to add to the platform's clock to get Unix time."""
    return wall() - clock()


def _job_to_json(job: Job, offset: float) -> dict[str, Any]:
    return {
        "id": job.id,
        "input": job.input_json.decode(),
        "policy": [job.policy.execution_timeout_s, job.policy.ttl_s, job.policy.low_priority],
        "submitted_at": job.submitted_at + offset,
        "queued_at": job.queued_at + offset,
        "taken_at": None if job.taken_at is None else job.taken_at + offset,
        "ended_at": None if job.ended_at is None else job.ended_at + offset,
        "sync": job.sync,
        "webhook": job.webhook,
        "passed_on": dict(job.passed_on),
        "status": job.status.value,
        "worker_id": job.worker_id,
        "output": None if job.output_json is None else job.output_json.decode(),
        "error": job.error,
        "retries": job.retries,
        "chunks": [chunk.decode() for chunk in job.chunks],
    }


def _job_from_json(value: dict[str, Any], offset: float) -> Job:
    execution_timeout_s, ttl_s, low_priority = value["policy"]
    job = Job(
        value["id"],
        value["input"].encode(),
        Policy(execution_timeout_s, ttl_s, low_priority),
        value["submitted_at"] - offset,
        value["sync"],
        value["webhook"],
        value["passed_on"],
        Status(value["status"]),
        value["queued_at"] - offset,
    )
    job.chunks.extend(chunk.encode() for chunk in value["chunks"])
    job.error, job.retries, job.worker_id = value["error"], value["retries"], value["worker_id"]
    job.output_json = None if value["output"] is None else value["output"].encode()
    for name in ("taken_at", "ended_at"):
        if value[name] is not None:
            setattr(job, name, value[name] - offset)
    if job.status is Status.IN_PROGRESS:
        job.move(Status.IN_QUEUE)
        job.taken_at = job.worker_id = job.output_json = None
    return job
