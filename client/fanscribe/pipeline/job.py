"""One task as a job of the platform: submitted, watched, tried again by cause, cancelled when we leave."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fanscribe.contracts.errors import (
    AnswerError,
    FanscribeError,
    JobError,
    JobLostError,
    NotFoundError,
)
from fanscribe.contracts.job import JobState, JobStatus, error_of
from fanscribe.contracts.task import OUTPUTS, Progress, Provenance, Stage
from fanscribe.contracts.version import CONTRACT_VERSION, major
from fanscribe.endpoint import Endpoint
from fanscribe.pipeline import cleanup
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.pipeline.events import Event, Listener, State

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Jobs submitted for one task before it counts as failed, the first included."""

HEALTH_INTERVAL_S = 0.5
"""How often the endpoint's workers are looked at while the job is queued."""


_STATES = {
    "fetching": State.FETCHING,
    "downloading": State.LOADING,
    "loading": State.LOADING,
    "running": State.RUNNING,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task's last job gave, and how it went."""

    output: Provenance
    state: JobState
    attempts: int


def poll_interval(elapsed_s: float) -> float:
    """Seconds until the next look at a job, by the seconds since it was submitted.

    Looking late costs half an interval on average; 2.5 % of the time gone keeps that near 1 %.
    """
    return min(max(0.05, 0.025 * elapsed_s), 1.0)


async def perform(
    task_id: str,
    stage: Stage,
    endpoint: Endpoint,
    body: dict[str, Any],
    listener: Listener,
    *,
    policy: dict[str, Any] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] | None = None,
) -> Answer:
    """Run a task to its end. When this is cancelled, its job is cancelled on the platform too.

    Raises the FanscribeError of the last attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            state = await _run_job(task_id, stage, endpoint, body, listener, policy, sleep, clock)
            return Answer(_read(stage, endpoint.id, state), state, attempt)
        except (JobError, AnswerError) as error:
            if not error.retryable or attempt == ATTEMPTS:
                raise
            log.warning("%s: attempt %d failed, trying again: %s", task_id, attempt, error)
            listener(Event(task_id, stage, State.QUEUED, message=f"trying again: {error}"))
            await sleep(0.2 * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _run_job(
    task_id: str,
    stage: Stage,
    endpoint: Endpoint,
    body: dict[str, Any],
    listener: Listener,
    policy: dict[str, Any] | None,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float] | None,
) -> JobState:
    # A submission is never cut off half-way: the id is what makes the job stoppable.
    submission = asyncio.ensure_future(endpoint.submit(body, policy))
    try:
        state = await asyncio.shield(submission)
    except asyncio.CancelledError:
        await _stop_when_submitted(endpoint, submission)
        raise
    try:
        return await _watch(task_id, stage, endpoint, state, listener, sleep, clock)
    except BaseException as error:
        if not isinstance(error, JobError):
            await _stop(endpoint, state.id)
        raise


async def _watch(
    task_id: str,
    stage: Stage,
    endpoint: Endpoint,
    state: JobState,
    listener: Listener,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float] | None,
) -> JobState:
    now = clock or asyncio.get_running_loop().time
    began = now()
    looked = float("-inf")
    last: Event | None = None
    while not state.status.final:
        starting = False
        if state.status is JobStatus.IN_QUEUE and now() - looked >= HEALTH_INTERVAL_S:
            looked = now()
            starting = await _worker_starting(endpoint)
        event = _event(task_id, stage, state, starting, last)
        if event != last:
            listener(event)
            last = event
        await sleep(poll_interval(now() - began))
        try:
            state = await endpoint.status(state.id)
        except NotFoundError as error:
            raise JobLostError(
                f"the platform lost job {state.id} on {endpoint.id}", endpoint.id, state.id
            ) from error
    failure = error_of(state, endpoint.id)
    if failure is not None:
        raise failure
    return state


async def _worker_starting(endpoint: Endpoint) -> bool:
    try:
        return (await endpoint.health()).workers.initializing > 0
    except FanscribeError:
        return False  # it is only shown; the job's own status decides


def _event(task_id: str, stage: Stage, state: JobState, starting: bool, last: Event | None) -> Event:
    if state.status is JobStatus.IN_QUEUE:
        was_starting = last is not None and last.state is State.STARTING
        return Event(task_id, stage, State.STARTING if starting or was_starting else State.QUEUED)
    if state.output is None:  # just taken; the first thing a worker does is to read its audio
        return Event(task_id, stage, State.FETCHING)
    try:
        progress = Progress.model_validate(state.output)
    except ValidationError:
        return Event(task_id, stage, State.RUNNING)
    return Event(task_id, stage, _STATES[progress.phase], progress.share, progress.message)


def _read(stage: Stage, endpoint: str, state: JobState) -> Provenance:
    try:
        output = OUTPUTS[stage].model_validate(state.output)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        raise AnswerError(
            f"job {state.id} on {endpoint} gave an answer that does not fit the contract ({where or 'output'})"
        ) from error
    if output.contract_version and major(output.contract_version) != major(CONTRACT_VERSION):
        raise AnswerError(
            f"{endpoint} speaks contract {output.contract_version}, this client {CONTRACT_VERSION}: "
            "deploy the same version on both sides"
        )
    return output


async def _stop_when_submitted(endpoint: Endpoint, submission: "asyncio.Future[JobState]") -> None:
    try:
        async with asyncio.timeout(cleanup.TIMEOUT_S):
            state = await submission
    except (FanscribeError, TimeoutError, asyncio.CancelledError):
        return
    await _stop(endpoint, state.id)


async def _stop(endpoint: Endpoint, job_id: str) -> None:
    """Cancel a job on the platform, also while we are being cancelled ourselves; never raises."""

    async def cancel() -> None:
        await endpoint.cancel(job_id)

    try:
        await to_its_end(cancel())
    except NotFoundError:
        return
    except (FanscribeError, TimeoutError) as error:
        log.warning("job %s on %s could not be cancelled: %s", job_id, endpoint.id, error)
