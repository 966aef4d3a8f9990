"""One job of the platform: submitted, watched, cancelled when we leave."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fanscribe.contracts.errors import (
    AnswerError,
    FanscribeError,
    JobError,
    JobLostError,
    NotFoundError,
    RateLimitedError,
    TransportError,
    UnconfirmedError,
)
from fanscribe.contracts.job import JobState, JobStatus, error_of
from fanscribe.contracts.task import OUTPUTS, Progress, Provenance, Stage
from fanscribe.contracts.version import CONTRACT_VERSION, major
from fanscribe.endpoint import Endpoint
from fanscribe.pipeline.cleanup import to_its_end

log = logging.getLogger(__name__)

OUTAGE_S = 120.0
"""How long a platform may be out of reach, or ask to slow down, before a job is given up."""

HEALTH_INTERVAL_S = 0.5
"""How often the endpoint's workers are looked at while the job is queued and somebody watches."""

_FIRST_LOOK_S = 0.5
"""By then a free worker has taken the job."""

_EARLY_LOOKS = (0.3, 0.6)
"""Shares of the expected time at which a long job is looked at, to find out in time that it straggles."""

_ON_ITS_WAY_S = 0.1
"""What an answer needs from the worker to the platform."""

_LONG_S = 20.0
"""A job that is expected to take so long is worth early looks."""


@dataclass(slots=True)
class Rhythm:
    """When a job is looked at. `expected_s`: from its submission to its answer, as predicted.

    `attentive`: somebody watches its progress, so it is looked at every second at least.
    """

    expected_s: float = 0.0
    attentive: bool = True

    def wait_s(self, elapsed_s: float) -> float:
        """Seconds until the next look, by the seconds since the job was submitted.

        Before the expected end few looks are worth their cost. From then on looking late costs half an interval
        on average; 1 % of the time gone keeps that near half a percent, and a job that is late already is looked
        at less and less often.
        """
        if self.attentive:
            return min(max(0.05, 0.025 * elapsed_s), 1.0)
        soon = min(max(0.2, 0.01 * elapsed_s), 1.0)
        looks = [1.004 * self.expected_s + _ON_ITS_WAY_S]
        if self.expected_s >= _LONG_S:
            looks = [_FIRST_LOOK_S, *(share * self.expected_s for share in _EARLY_LOOKS), *looks]
        for at in looks:
            if at > elapsed_s:
                return max(soon, at - elapsed_s)
        return max(soon, min(0.2 * (elapsed_s - self.expected_s), 5.0))


@dataclass(slots=True)
class Watched:
    """What is known of a job while it is under way. Times are the clock's, in seconds.

    `resumed`: an earlier run sent it, so that nobody here knows how long it has been at work.
    """

    sent_at: float
    state: JobState | None = None
    resumed: bool = False
    taken_at: float | None = None
    looked_at: float = 0.0
    progress: Progress | None = None
    starting: bool = False


@dataclass(frozen=True, slots=True)
class Calls:
    """How jobs are waited for: the sleep and the clock, which tests replace."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())


async def submit(
    endpoint: Endpoint, body: dict[str, Any], policy: dict[str, Any], watched: Watched, calls: Calls
) -> None:
    """Queue a job; its first state goes to `watched`. A platform that cannot be reached, or that asks to slow
    down, is given OUTAGE_S.

    A submission is never cut off half-way: when this is cancelled, it is waited for and its job is cancelled.
    Raises UnconfirmedError when the job may have been taken.
    """
    began = calls.clock()
    while True:
        submission = asyncio.ensure_future(endpoint.submit(body, policy))
        try:
            watched.state = await asyncio.shield(submission)
            return
        except asyncio.CancelledError:
            await _stop_when_submitted(endpoint, submission, watched)
            raise
        except UnconfirmedError:
            raise
        except TransportError as error:
            if calls.clock() - began > OUTAGE_S:
                raise
            await calls.sleep(_pause_s(error))


async def watch(
    endpoint: Endpoint,
    watched: Watched,
    rhythm: Rhythm,
    calls: Calls,
    changed: Callable[[], None] = lambda: None,
) -> JobState:
    """Wait for the end of a submitted job, and tell of each change in `watched`.

    Raises the JobError that its end stands for, TransportError when the platform stays out of reach.
    """
    looked_at = float("-inf")
    unreachable_since: float | None = None
    state = watched.state
    assert state is not None, "a job is watched once it is submitted"
    while not state.status.final:
        look = calls.clock() - looked_at >= HEALTH_INTERVAL_S
        if look and rhythm.attentive and state.status is JobStatus.IN_QUEUE:
            looked_at = calls.clock()
            watched.starting = watched.starting or await _worker_starting(endpoint)
            changed()
        await calls.sleep(rhythm.wait_s(calls.clock() - watched.sent_at))
        try:
            state = await endpoint.status(state.id)
        except NotFoundError as error:
            raise JobLostError(
                f"the platform lost job {state.id} on {endpoint.id}", endpoint.id, state.id
            ) from error
        except TransportError as error:
            if unreachable_since is None:
                unreachable_since = calls.clock()
            if calls.clock() - unreachable_since > OUTAGE_S:
                raise
            await calls.sleep(_pause_s(error))
            continue
        unreachable_since = None
        _note(watched, state, calls.clock())
        changed()
    failure = error_of(state, endpoint.id)
    if failure is not None:
        raise failure
    return state


async def stop(endpoint: Endpoint, job_id: str) -> None:
    """Cancel a job on the platform, also while we are being cancelled ourselves; never raises."""

    async def cancel() -> None:
        await endpoint.cancel(job_id)

    try:
        await to_its_end(cancel())
    except NotFoundError:
        return
    except (FanscribeError, TimeoutError) as error:
        log.warning("job %s on %s could not be cancelled: %s", job_id, endpoint.id, error)


def ended(error: BaseException) -> bool:
    """Whether the platform itself says that the job has ended, so that there is nothing to cancel."""
    return isinstance(error, JobError)


def read_answer(stage: Stage, endpoint: str, state: JobState) -> Provenance:
    """The output of a completed job. Raises AnswerError where it does not fit the contract."""
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


def _note(watched: Watched, state: JobState, now: float) -> None:
    before, watched.state, watched.looked_at = watched.looked_at or watched.sent_at, state, now
    if state.status is not JobStatus.IN_QUEUE and watched.taken_at is None:
        watched.taken_at = (before + now) / 2  # it was taken some time between two looks
    if state.status is JobStatus.IN_PROGRESS:
        try:
            watched.progress = Progress.model_validate(state.output)
        except ValidationError:
            watched.progress = None


def _pause_s(error: TransportError) -> float:
    asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
    return 1.0 if asked is None else asked


async def _worker_starting(endpoint: Endpoint) -> bool:
    try:
        return (await endpoint.health()).workers.initializing > 0
    except FanscribeError:
        return False  # it is only shown; the job's own status decides


async def _stop_when_submitted(
    endpoint: Endpoint, submission: "asyncio.Future[JobState]", watched: Watched
) -> None:
    async def both() -> None:
        watched.state = await submission
        await stop(endpoint, watched.state.id)

    with contextlib.suppress(FanscribeError, TimeoutError):
        await to_its_end(both())
