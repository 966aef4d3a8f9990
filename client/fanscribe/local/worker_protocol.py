"""What workers call: take jobs, report progress and results, ask what to stop, ping."""

import asyncio
import contextlib
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.access import Handler, check_open, route
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.faults import DUPLICATE_RESULT, LATE_RESULT, LOST_RESULT, SLOW_WORKER, WORKER
from fanscribe.local.platform import Platform
from fanscribe.local.polls import HOLD_S, Poll
from fanscribe.local.wire import (
    RUN_LIMIT_BYTES,
    RUNSYNC_LIMIT_BYTES,
    BodyLost,
    encode,
    parse,
    read_body,
    refusal,
    reply,
    take_body,
    whole_number,
)
from fanscribe.local.worker import Worker

NOTHING = 204
# A worker that is on its way out and asks again must not spin.
_ENDING_HOLD_S = 0.25


async def job_take(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Hold the worker's request until there is a job for it."""
    return await _take(request, platform, endpoint, 1, batch=False)


async def job_take_batch(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """The same for several jobs at once."""
    return await _take(request, platform, endpoint, _batch_size(request), batch=True)


async def _take(
    request: Request, platform: Platform, endpoint: Endpoint, count: int, *, batch: bool
) -> Response:
    worker = platform.worker(endpoint, request.path_params["worker"], may_join=True)
    if worker is not None:
        said = request.query_params.get("job_in_progress")
        endpoint.polled(worker, in_progress=None if said is None else said == "1")
    if worker is None or not worker.serving or platform.closing.is_set():
        await _wait_gone(request, _ENDING_HOLD_S)
        return Response(status_code=NOTHING)
    poll = platform.polls.open(endpoint, worker, count)
    platform.hand_out(endpoint)
    gone = asyncio.ensure_future(_disconnected(request))
    awaited: set[asyncio.Future[Any]] = {poll.answer, gone}
    try:
        await asyncio.wait(awaited, timeout=HOLD_S, return_when=asyncio.FIRST_COMPLETED)
        return _hand_over(endpoint, poll, lost=gone.done(), batch=batch)
    except BaseException:
        _hand_over(endpoint, poll, lost=True, batch=batch)
        raise
    finally:
        gone.cancel()
        platform.polls.close(endpoint, poll)


def _hand_over(endpoint: Endpoint, poll: Poll, *, lost: bool, batch: bool) -> Response:
    jobs = poll.answer.result() if poll.answer.done() and not poll.answer.cancelled() else []
    if lost:
        endpoint.give_back(poll.worker, jobs)
        jobs = []
    # A job can end between the hand-out and here.
    bodies = [take_body(job) for job in jobs if job.id in poll.worker.jobs]
    if not bodies:
        return Response(status_code=NOTHING)
    content = b"[" + b",".join(bodies) + b"]" if batch else bodies[0]
    return Response(content, media_type="application/json")


async def job_stop(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Hold the request until there is a job to stop."""
    worker = platform.worker(endpoint, request.path_params["worker"])
    if worker is None:
        return Response(status_code=NOTHING)
    worker.seen(platform.now)
    # One that is on its way out cannot end before its request is answered.
    hold_s = HOLD_S if worker.serving else _ENDING_HOLD_S
    wait = asyncio.ensure_future(platform.polls.stop_orders(worker, hold_s))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({wait, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wait.done():
            return Response(status_code=NOTHING)
        orders = wait.result()
        if gone.done():
            worker.stop_orders[:0] = orders
            orders = []
        return reply({"jobsToStop": orders}) if orders else Response(status_code=NOTHING)
    finally:
        gone.cancel()
        if not wait.done():
            wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await wait


async def job_stream(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Take a part of a streamed output."""
    worker = platform.worker(endpoint, request.path_params["worker"])
    body = _object(parse(await read_body(request, RUN_LIMIT_BYTES, over_status=400)))
    check_open(platform, endpoint)
    job = None if worker is None else endpoint.held_by(worker, request.path_params["job"])
    if job is not None:
        endpoint.queue.add_chunk(job, encode(body))
        platform.job_streamed(job)
    return reply({})


async def job_done(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """Take a result, or progress when the body's status is IN_PROGRESS."""
    worker = platform.worker(endpoint, request.path_params["worker"])
    if worker is None:
        return reply({})
    worker.seen(platform.now)
    job_id = request.path_params["job"]
    job = endpoint.held_by(worker, job_id)
    limit = RUNSYNC_LIMIT_BYTES if job is not None and job.sync else RUN_LIMIT_BYTES
    try:
        body = _object(parse(await read_body(request, limit, over_status=400)))
    except BodyLost:
        # Not the result's fault: the worker sends it again, or loses the job with all else it holds.
        raise
    except HTTPException as error:
        # The SDK does not send a refused result again: without an end here the job would run into its limit.
        endpoint.complete(worker, job_id, None, f"the worker's result was refused: {error.detail}")
        raise
    check_open(platform, endpoint)
    if body.get("status") == "IN_PROGRESS":
        if job is not None and endpoint.held_by(worker, job_id) is job:
            endpoint.queue.progress(job, encode(body.get("output")))
        return reply({})
    await _keep_result(platform, endpoint, worker, job_id, body)
    return reply({})


async def _keep_result(
    platform: Platform, endpoint: Endpoint, worker: Worker, job_id: str, body: dict[str, Any]
) -> None:
    output = encode(body["output"]) if "output" in body else None
    error = None if body.get("error") in (None, "") else _text(body["error"])

    def keep() -> None:
        endpoint.complete(worker, job_id, output, error)

    name, faults = endpoint.spec.name, platform.faults
    if body.get("stopPod") and not worker.external:
        endpoint.end_worker(worker, "it asked to be replaced")
    if faults.strike(LOST_RESULT, name):
        return
    if (rule := faults.strike(LATE_RESULT, name)) is not None:
        asyncio.get_running_loop().call_later(rule.seconds, keep)
        return
    if (rule := faults.strike(SLOW_WORKER, name)) is not None:
        await asyncio.sleep(rule.seconds)
    keep()
    if faults.strike(DUPLICATE_RESULT, name):
        keep()


async def ping(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """A sign of life that names the worker's jobs, or the fitness check that it failed."""
    worker = platform.worker(endpoint, request.path_params["worker"])
    query = request.query_params
    if worker is not None and query.get("status") == "unhealthy":
        endpoint.unhealthy(worker, query.get("check", "unknown"), query.get("reason", "no reason given"))
    elif worker is not None:
        named = query.get("job_id", "")
        endpoint.pinged(worker, frozenset(part for part in named.split(",") if part))
    return reply({})


async def job_leave(request: Request, platform: Platform, endpoint: Endpoint) -> Response:
    """A worker that somebody else started is going: it gets no more jobs, and what it holds open is answered.

    Not part of Runpod's protocol, where the platform is the one that ends workers.
    """
    worker = platform.worker(endpoint, request.path_params["worker"])
    if worker is not None and worker.external:
        endpoint.end_worker(worker, "it has taken leave")
        platform.polls.end(worker)
    return reply({})


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise refusal(400, "what a worker sends is a JSON object")
    return body


def _batch_size(request: Request) -> int:
    size = whole_number(request.query_params.get("batch_size", "1"))
    if not size:
        raise refusal(400, "batch_size must be a whole number of 1 or more")
    return size


def _text(error: Any) -> str:
    return error if isinstance(error, str) else encode(error).decode()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _wait_gone(request: Request, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_disconnected(request), at_most_s)


def routes() -> list[Route]:
    """The routes of this protocol."""
    table: list[tuple[str, Handler, str]] = [
        ("job-take/{worker}", job_take, "GET"),
        ("job-take-batch/{worker}", job_take_batch, "GET"),
        ("job-stop/{worker}", job_stop, "GET"),
        ("job-stream/{worker}/{job}", job_stream, "POST"),
        ("job-done/{worker}/{job}", job_done, "POST"),
        ("ping/{worker}", ping, "GET"),
        ("job-leave/{worker}", job_leave, "POST"),
    ]
    return [
        route(f"/v2/{{endpoint}}/{path}", handler, calls=WORKER, methods=[method])
        for path, handler, method in table
    ]
