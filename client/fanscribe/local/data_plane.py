"""What clients call: submit, wait, look, cancel."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.access import endpoint_of, platform_of
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.platform import Platform
from fanscribe.local.wire import (
    RUN_LIMIT_BYTES,
    RUNSYNC_LIMIT_BYTES,
    encode,
    job_body,
    parse,
    read_body,
    refusal,
    reply,
)

DAY_S = 86_400.0
DEFAULT_WAIT_MS = 90_000
WAIT_RANGE_MS = (1_000, 300_000)


async def run(request: Request) -> Response:
    """Queue a job and answer its id."""
    platform = platform_of(request)
    endpoint = endpoint_of(request, platform)
    job = submit(endpoint, parse(await read_body(request, RUN_LIMIT_BYTES)), sync=False)
    return reply({"id": job.id, "status": Status.IN_QUEUE.value})


async def runsync(request: Request) -> Response:
    """Queue a job and hold the request until it has ended or `?wait` milliseconds are over."""
    platform = platform_of(request)
    endpoint = endpoint_of(request, platform)
    wait_s = wait_of(request)
    job = submit(endpoint, parse(await read_body(request, RUNSYNC_LIMIT_BYTES)), sync=True)
    await platform.job_end(job, wait_s)
    return _job_reply(job)


async def status(request: Request) -> Response:
    """Where a job stands."""
    platform = platform_of(request)
    return _job_reply(job_of(request, endpoint_of(request, platform)))


async def status_sync(request: Request) -> Response:
    """Where a job stands, once it has ended or `?wait` milliseconds are over."""
    platform = platform_of(request)
    job = job_of(request, endpoint_of(request, platform))
    await platform.job_end(job, wait_of(request))
    return _job_reply(job)


async def cancel(request: Request) -> Response:
    """Cancel a job that waits or runs; one that has ended keeps its status."""
    platform = platform_of(request)
    endpoint = endpoint_of(request, platform)
    job = job_of(request, endpoint)
    endpoint.cancel(job)
    return reply({"id": job.id, "status": job.status.value})


async def health(request: Request) -> Response:
    """Counters of jobs and workers."""
    platform = platform_of(request)
    return reply(health_body(endpoint_of(request, platform)))


def health_body(endpoint: Endpoint) -> dict[str, dict[str, int]]:
    """The body of /health. As on the platform, `ready` counts idle and running workers."""
    totals, states = endpoint.queue.totals, [worker.state for worker in endpoint.workers.values()]
    idle, running = states.count("idle"), states.count("running")
    return {
        "jobs": {
            "completed": totals["COMPLETED"],
            "failed": totals["FAILED"] + totals["TIMED_OUT"],
            "inProgress": len(endpoint.queue.running),
            "inQueue": len(endpoint.queue.waiting),
            "retried": totals["retried"],
        },
        "workers": {
            "idle": idle,
            "initializing": states.count("initializing"),
            "ready": idle + running,
            "running": running,
            "throttled": int(endpoint.throttled),
            "unhealthy": int(endpoint.fault is not None),
        },
    }


def submit(endpoint: Endpoint, body: Any, *, sync: bool) -> Job:
    """Check a request body and queue its job; 400 names the field that is wrong."""
    if not isinstance(body, dict) or "input" not in body:
        raise refusal(400, 'the body must be a JSON object with an "input"')
    webhook = body.get("webhook")
    if webhook is not None and not (isinstance(webhook, str) and webhook.startswith(("http://", "https://"))):
        raise refusal(400, "webhook must be an http or https URL")
    policy = policy_of(body.get("policy"), endpoint)
    passed_on = {name: body[name] for name in ("policy", "s3Config") if body.get(name) is not None}
    job_id = f"{'sync-' if sync else ''}{uuid4()}-u1"
    input_json = encode(body["input"])
    return endpoint.queue.submit(job_id, input_json, policy, sync=sync, webhook=webhook, passed_on=passed_on)


def policy_of(value: Any, endpoint: Endpoint) -> Policy:
    """The limits of a job: what its request says within the platform's ranges, else the endpoint's."""
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise refusal(400, "policy must be a JSON object")
    spec = endpoint.spec
    execution = _limit(value, "executionTimeout", 5.0, 7 * DAY_S, spec.execution_timeout_s)
    ttl = _limit(value, "ttl", 10.0, 7 * DAY_S, spec.ttl_s)
    return Policy(execution, ttl, bool(value.get("lowPriority", False)))


def wait_of(request: Request) -> float:
    """`?wait` in seconds, within the platform's range; its default is 90."""
    given = request.query_params.get("wait")
    if given is None:
        return DEFAULT_WAIT_MS / 1000
    if not given.isdigit():
        raise refusal(400, "wait must be a whole number of milliseconds")
    return min(max(int(given), WAIT_RANGE_MS[0]), WAIT_RANGE_MS[1]) / 1000


def job_of(request: Request, endpoint: Endpoint) -> Job:
    """The job named in the path; 404 when it does not exist or has expired."""
    job = endpoint.queue.jobs.get(request.path_params["job"])
    if job is None:
        raise refusal(404, "job does not exist or has expired")
    return job


def _limit(value: Mapping[str, Any], name: str, low_s: float, high_s: float, default_s: float) -> float:
    given = value.get(name)
    if given is None:
        return default_s
    if isinstance(given, bool) or not isinstance(given, int | float) or not low_s <= given / 1000 <= high_s:
        raise refusal(400, f"policy.{name} must be {low_s * 1000:.0f} to {high_s * 1000:.0f} milliseconds")
    return given / 1000


def _job_reply(job: Job) -> Response:
    return Response(job_body(job), media_type="application/json")


def routes() -> list[Route]:
    """The routes of this plane."""
    both = ["GET", "POST"]
    return [
        Route("/v2/{endpoint}/run", run, methods=["POST"]),
        Route("/v2/{endpoint}/runsync", runsync, methods=["POST"]),
        Route("/v2/{endpoint}/status/{job}", status, methods=both),
        Route("/v2/{endpoint}/status-sync/{job}", status_sync, methods=both),
        Route("/v2/{endpoint}/cancel/{job}", cancel, methods=["POST"]),
        Route("/v2/{endpoint}/health", health, methods=both),
    ]


__all__ = ["Platform", "health_body", "routes", "submit"]
