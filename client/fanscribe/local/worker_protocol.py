"""What workers call: take jobs, report progress and results, ask what to stop, ping."""

import asyncio
import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fanscribe.local.access import endpoint_of, platform_of
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.platform import HOLD_S, Platform, Poll
from fanscribe.local.wire import (
    RUN_LIMIT_BYTES,
    RUNSYNC_LIMIT_BYTES,
    encode,
    parse,
    read_body,
    refusal,
    reply,
    take_body,
)
from fanscribe.local.worker import Worker

NOTHING = 204
# A worker that is on its way out and asks again must not spin.
_ENDING_HOLD_S = 0.25


async def job_take(request: Request) -> Response:
    """Hold the worker's request until there is a job for it."""
    return await _take(request, batch=False)


async def job_take_batch(request: Request) -> Response:
    """The same for several jobs at once."""
    return await _take(request, batch=True)


async def _take(request: Request, *, batch: bool) -> Response:
    platform, endpoint, worker = _caller(request, may_join=True)
    count = _batch_size(request) if batch else 1
    if worker is None:
        await _wait_gone(request, _ENDING_HOLD_S)
        return Response(status_code=NOTHING)
    said = request.query_params.get("job_in_progress")
    endpoint.polled(worker, in_progress=None if said is None else said == "1")
    if not worker.serving or platform.closing.is_set():
        await _wait_gone(request, _ENDING_HOLD_S)
        return Response(status_code=NOTHING)
    poll = platform.open_poll(endpoint, worker, count)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        awaited: set[asyncio.Future[Any]] = {poll.answer, gone}
        await asyncio.wait(awaited, timeout=HOLD_S, return_when=asyncio.FIRST_COMPLETED)
        return _hand_over(platform, endpoint, poll, lost=gone.done(), batch=batch)
    except BaseException:
        _hand_over(platform, endpoint, poll, lost=True, batch=batch)
        raise
    finally:
        gone.cancel()
        platform.close_poll(endpoint, poll)


def _hand_over(platform: Platform, endpoint: Endpoint, poll: Poll, *, lost: bool, batch: bool) -> Response:
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


async def job_stop(request: Request) -> Response:
    """Hold the request until there is a job to stop."""
    platform, _, worker = _caller(request)
    if worker is None:
        return Response(status_code=NOTHING)
    worker.seen(platform.now)
    wait = asyncio.ensure_future(platform.stop_orders(worker, HOLD_S))
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


async def job_done(request: Request) -> Response:
    """Take a result, or progress when the body's status is IN_PROGRESS."""
    platform, endpoint, worker = _caller(request)
    if worker is None:
        return reply({})
    worker.seen(platform.now)
    job_id = request.path_params["job"]
    job = endpoint.held_by(worker, job_id)
    limit = RUNSYNC_LIMIT_BYTES if job is not None and job.sync else RUN_LIMIT_BYTES
    try:
        body = parse(await read_body(request, limit, over_status=400))
        if not isinstance(body, dict):
            raise refusal(400, "a result is a JSON object")
    except Exception as error:
        # The SDK does not send a refused result again: without an end here the job would run into its limit.
        detail = getattr(error, "detail", str(error))
        endpoint.complete(worker, job_id, None, f"the worker's result was refused: {detail}")
        raise
    if body.get("status") == "IN_PROGRESS":
        if job is not None:
            endpoint.queue.progress(job, encode(body.get("output")))
        return reply({})
    output = encode(body["output"]) if "output" in body else None
    error_text = None if body.get("error") in (None, "") else _text(body["error"])
    endpoint.complete(worker, job_id, output, error_text)
    if body.get("stopPod") and not worker.external:
        endpoint.end_worker(worker, "it asked to be replaced")
    return reply({})


async def ping(request: Request) -> Response:
    """A sign of life that names the worker's jobs."""
    _, endpoint, worker = _caller(request)
    named = request.query_params.get("job_id", "")
    if worker is not None:
        endpoint.pinged(worker, frozenset(part for part in named.split(",") if part))
    return reply({})


def _caller(request: Request, *, may_join: bool = False) -> tuple[Platform, Endpoint, Worker | None]:
    platform = platform_of(request)
    endpoint = endpoint_of(request, platform)
    return platform, endpoint, platform.worker(endpoint, request.path_params["worker"], may_join=may_join)


def _batch_size(request: Request) -> int:
    given = request.query_params.get("batch_size", "1")
    if not given.isdigit() or int(given) < 1:
        raise refusal(400, "batch_size must be a whole number of 1 or more")
    return int(given)


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
    return [
        Route("/v2/{endpoint}/job-take/{worker}", job_take, methods=["GET"]),
        Route("/v2/{endpoint}/job-take-batch/{worker}", job_take_batch, methods=["GET"]),
        Route("/v2/{endpoint}/job-stop/{worker}", job_stop, methods=["GET"]),
        Route("/v2/{endpoint}/job-done/{worker}/{job}", job_done, methods=["POST"]),
        Route("/v2/{endpoint}/ping/{worker}", ping, methods=["GET"]),
    ]
