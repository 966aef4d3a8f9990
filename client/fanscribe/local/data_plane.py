"""What clients call: submit, wait, look, stream, cancel, retry, purge."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.access import Handler, check_exists, check_open, route
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.faults import CLIENT, LOST_JOB, RESTART, STUCK_JOB
from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.platform import Platform
from fanscribe.local.wire import (
    RUN_LIMIT_BYTES,
    RUNSYNC_LIMIT_BYTES,
    encode,
    job_body,
    join,
    parse,
    read_body,
    refusal,
    reply,
    whole_number,
)

DAY_S = 86_400.0
DEFAULT_WAIT_MS = 90_000
# The SDK's client gives up on a stream request after 10 s.
STREAM_WAIT_MS = 5_000
EXPIRED = "job does not exist or has expired"
WAIT_RANGE_MS = (1_000, 300_000)


async def run(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Queue a job and answer its id."""
    body = parse(await read_body(request, RUN_LIMIT_BYTES))
    check_open(platform, endpoint)
    job = submit(endpoint, body, sync=False)
    if platform.faults.strike(STUCK_JOB, endpoint.spec.name):
        endpoint.queue.pass_over(job)
    elif platform.faults.strike(LOST_JOB, endpoint.spec.name):
        endpoint.queue.forget(job)
    _perhaps_restart(platform, endpoint)
    return reply({"id": job.id, "status": Status.IN_QUEUE.value})


async def runsync(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Queue a job and hold the request until it has ended or `?wait` milliseconds are over."""
    wait_s = wait_of(request, DEFAULT_WAIT_MS)
    body = parse(await read_body(request, RUNSYNC_LIMIT_BYTES))
    check_open(platform, endpoint)
    job = submit(endpoint, body, sync=True)
    _perhaps_restart(platform, endpoint)
    await platform.job_end(job, wait_s)
    return _job_reply(platform, endpoint, job)


async def status(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Where a job stands."""
    return _job_reply(platform, endpoint, job_of(request, endpoint))


async def status_sync(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Where a job stands, once it has ended or `?wait` milliseconds are over."""
    job = job_of(request, endpoint)
    await platform.job_end(job, wait_of(request, DEFAULT_WAIT_MS))
    return _job_reply(platform, endpoint, job)


async def stream(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """What the job has streamed since the last call; holds the request until there is something or the end."""
    job = job_of(request, endpoint)
    await platform.chunk(job, wait_of(request, STREAM_WAIT_MS))
    _check_kept(platform, endpoint, job)
    chunks = b",".join(endpoint.queue.drain(job))
    head = {"id": job.id, "status": job.status.value}
    return Response(join(head, {"stream": b"[" + chunks + b"]"}), media_type="application/json")


async def cancel(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Cancel a job that waits or runs; one that has ended keeps its status."""
    job = job_of(request, endpoint)
    endpoint.cancel(job)
    return reply({"id": job.id, "status": job.status.value})


async def retry(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Queue a job that FAILED or TIMED_OUT again, under the same id and with the same input."""
    job = job_of(request, endpoint)
    if not endpoint.queue.retry(job):
        raise refusal(
            400, f"only a job that FAILED or TIMED_OUT can be retried; this one is {job.status.value}"
        )
    return reply({"id": job.id, "status": job.status.value})


async def purge_queue(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Cancel the waiting jobs; running ones go on."""
    return reply({"removed": endpoint.queue.purge(), "status": "completed"})


async def health(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Counters of jobs and workers."""
    return reply(health_body(endpoint))


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
            "unhealthy": int(endpoint.trouble is not None),
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
        return endpoint.policy
    if not isinstance(value, Mapping):
        raise refusal(400, "policy must be a JSON object")
    spec = endpoint.spec
    execution = _limit(value, "executionTimeout", 5.0, 7 * DAY_S, spec.execution_timeout_s)
    ttl = _limit(value, "ttl", 10.0, 7 * DAY_S, spec.ttl_s)
    return Policy(execution, ttl, bool(value.get("lowPriority", False)))


def wait_of(request: Request, default_ms: int) -> float:
    """`?wait` in seconds, brought into the platform's range of 1 to 300 s."""
    given = whole_number(request.query_params.get("wait", str(default_ms)))
    if given is None:
        raise refusal(400, "wait must be a whole number of milliseconds, of up to nine digits")
    return min(max(given, WAIT_RANGE_MS[0]), WAIT_RANGE_MS[1]) / 1000


def job_of(request: Request, endpoint: Endpoint) -> Job:
    """The job named in the path; 404 when it does not exist or has expired."""
    job = endpoint.queue.jobs.get(request.path_params["job"])
    if job is None:
        raise refusal(404, EXPIRED)
    return job


def _limit(value: Mapping[str, Any], name: str, low_s: float, high_s: float, default_s: float) -> float:
    given = value.get(name)
    if given is None:
        return default_s
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not low_s * 1000 <= given <= high_s * 1000:
        raise refusal(400, f"policy.{name} must be {low_s * 1000:.0f} to {high_s * 1000:.0f} milliseconds")
    return float(given) / 1000


def _perhaps_restart(platform: Platform, endpoint: Endpoint) -> None:
    rule = platform.faults.strike(RESTART, endpoint.spec.name)
    if rule is not None:
        platform.restart(rule.seconds)


def _check_kept(platform: Platform, endpoint: Endpoint, job: Job) -> None:
    check_exists(endpoint)
    # While the platform merely stops, a job as it stands is still the truth.
    if platform.away or not platform.serves(endpoint):
        raise refusal(502, "the platform is restarting")
    if job.gone and not job.final:
        raise refusal(404, EXPIRED)


def _job_reply(platform: Platform, endpoint: Endpoint, job: Job) -> Response:
    _check_kept(platform, endpoint, job)
    return Response(job_body(job), media_type="application/json")


def routes() -> list[Route]:
    """The routes of this plane."""
    post, both = ["POST"], ["GET", "POST"]
    table: list[tuple[str, Handler, str, list[str]]] = [
        ("run", run, "run", post),
        ("runsync", runsync, "runsync", post),
        ("status/{job}", status, "status", both),
        ("status-sync/{job}", status_sync, "status", both),
        ("stream/{job}", stream, "stream", both),
        ("cancel/{job}", cancel, "cancel", post),
        ("retry/{job}", retry, "", post),
        ("purge-queue", purge_queue, "purge-queue", post),
        ("health", health, "", both),
    ]
    return [
        route(f"/v2/{{endpoint}}/{path}", handler, calls=CLIENT, methods=methods, operation=operation)
        for path, handler, operation, methods in table
    ]
