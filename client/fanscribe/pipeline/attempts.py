"""One task, brought to its answer: found among what is kept, attached to, or run as a job, as often as it takes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanscribe.contracts.errors import (
    AnswerError,
    ErrorCode,
    FanscribeError,
    JobCancelledError,
    JobError,
    NotFoundError,
    PayloadTooLargeError,
    TaskFailedError,
    TransportError,
    UnconfirmedError,
)
from fanscribe.contracts.job import JobState, JobStatus, error_of
from fanscribe.contracts.task import Provenance, Stage, TaskInput, to_wire
from fanscribe.logs import about
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.pipeline.events import STATE_OF_PHASE, Event, Listener, State
from fanscribe.pipeline.job import Calls, Rhythm, Watched, ended, read_answer, stop, submit, watch
from fanscribe.pipeline.kept import Identity, Kept
from fanscribe.pipeline.observed import job_facts
from fanscribe.pipeline.route import Route
from fanscribe.pipeline.spans import Cargo, Span
from fanscribe.trace.facts import JobFacts, Role
from fanscribe.trace.recorder import Recorder

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""Jobs submitted for one task, one after the other, before it counts as failed."""

HEDGES = 2
"""Jobs submitted beside a straggler, at most."""

POSTING = 4
"""Submissions whose bodies are in memory at once: up to 10 MB each, three times over."""

_PAUSES_S = (0.2, 1.0, 3.0)
_OUTAGE_PAUSES_S = (1.0, 5.0, 20.0)  # a platform in trouble; each submission to it may be paid for in vain


@dataclass(frozen=True, slots=True)
class Task:
    """One stage on one span. `input` lacks the fields that say where the audio is."""

    id: str
    stage: Stage
    span: Span
    make_input: Callable[[dict[str, Any]], TaskInput]
    """From the fields of the audio to what the worker gets."""
    _identities: dict[str, Identity] = field(default_factory=dict)

    def identity(self, route: Route) -> Identity:
        """What makes this task on that endpoint the same as an earlier one: not where its audio lies."""
        if route.endpoint.name not in self._identities:
            nowhere = self.make_input({"audio": "data:,"})
            self._identities[route.endpoint.name] = Identity(
                self.span.digest, self.stage, route.endpoint, nowhere
            )
        return self._identities[route.endpoint.name]


@dataclass(slots=True)
class Tally:
    """What a task cost besides its answer. `made` are the jobs that have ended, for the trace."""

    attempts: int = 0
    hedges: int = 0
    unconfirmed: int = 0
    reused: bool = False
    made: list[JobFacts] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task's last job gave. `transfer_s` is what sending took, `total_s` the time from then to the answer."""

    output: Provenance
    route: Route
    state: JobState | None = None
    transfer_s: float = 0.0
    total_s: float = 0.0


@dataclass(slots=True)
class Means:
    """What tasks of one run are done with."""

    kept: Kept
    listener: Listener
    policy: Callable[[float], dict[str, Any]]
    """The platform's own limits of a job, by its expected seconds."""
    attentive: bool = True
    calls: Calls = field(default_factory=Calls)
    posting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(POSTING))
    recorder: Recorder = field(default_factory=Recorder)


async def perform(task: Task, cargo: Cargo, routes: Sequence[Route], tally: Tally, means: Means) -> Answer:
    """The answer to a task, by jobs. `routes` are the endpoints that may do it, the preferred one first.

    The caller holds a slot of the preferred one.

    When this is cancelled, its jobs are cancelled on the platform too. Raises the FanscribeError of the last
    attempt; a refusal (wrong key, unknown endpoint, a task the worker will not do) at once.
    """
    failures: dict[str, int] = {}
    cancelled = False
    while True:
        # What failed twice in one place may be that place's fault, though it does well with other tasks.
        fresh_first = sorted(routes, key=lambda each: failures.get(each.endpoint.name, 0) // 2)
        route = await _admitted(fresh_first, means.calls)
        tally.attempts += 1
        try:
            answer = await _raced(task, cargo, route, tally, means, held=route is routes[0])
        except JobCancelledError:
            route.breaker.succeeded()
            if cancelled or not means.kept.active:
                raise  # somebody wants it to end
            # Another run that found our job among what is kept may have left, or have got the answer elsewhere.
            cancelled = True
            if (found := await kept_answer(task, [route], Tally(), means.kept)) is not None:
                return found
        except (JobError, AnswerError, TransportError) as error:
            if not error.retryable:
                route.breaker.succeeded()  # it works; it is this task that it will not do
                raise
            route.breaker.failed()
            failures[route.endpoint.name] = failures.get(route.endpoint.name, 0) + 1
            if tally.attempts >= ATTEMPTS:
                raise
            log.warning("%s: attempt %d failed, trying again: %s", task.id, tally.attempts, error)
            means.listener(Event(task.id, task.stage, State.QUEUED, message=f"trying again: {error}"))
            pauses_s = _OUTAGE_PAUSES_S if isinstance(error, UnconfirmedError) else _PAUSES_S
            await means.calls.sleep(pauses_s[min(tally.attempts, len(pauses_s)) - 1])
        except BaseException:
            route.breaker.released()
            raise
        else:
            route.breaker.succeeded()
            return answer


async def kept_answer(task: Task, routes: Sequence[Route], tally: Tally, kept: Kept) -> Answer | None:
    """The answer that one of the endpoints gave to the same task before."""
    for route in routes:
        output = await kept.answer(task.identity(route))
        if output is not None:
            jobs = await kept.jobs(task.identity(route))
            tally.unconfirmed += sum(not each.job_id for each in jobs)
            return Answer(output, route)
    return None


def too_much(error: FanscribeError) -> bool:
    """Whether the span was too much, for the worker or for the way there: half of it may not be."""
    if isinstance(error, TaskFailedError):
        return error.error.code in (ErrorCode.OUT_OF_MEMORY, ErrorCode.RESULT_TOO_LARGE)
    return isinstance(error, PayloadTooLargeError)


async def _admitted(routes: Sequence[Route], calls: Calls) -> Route:
    """The first endpoint that may be tried now, after a rest where all of them are being left alone."""
    while True:
        for route in routes:
            if route.breaker.admit():
                return route
        if all(route.breaker.given_up for route in routes):
            names = ", ".join(route.endpoint.name for route in routes)
            raise TransportError(f"{names}: failed again and again: nothing more is sent there")
        await calls.sleep(max(min(route.breaker.rest_s for route in routes), 0.1))


async def attached(
    task: Task, cargo: Cargo, routes: Sequence[Route], tally: Tally, means: Means
) -> Answer | None:
    """The answer of a job that an earlier run sent and did not wait for, if there is one that comes to an end.

    As for `perform`, the caller holds a slot of the first route, and leaving cancels the job.
    """
    for route in routes:
        sent = [
            each for each in await means.kept.jobs(task.identity(route)) if each.endpoint == route.endpoint.id
        ]
        tally.unconfirmed += sum(not each.job_id for each in sent)
        states = [await _still_there(route, each.job_id) for each in reversed(sent) if each.job_id]
        # What has an answer already costs no further second; of the others the newest is the best hope.
        left = sorted((each for each in states if each is not None), key=lambda each: not each.status.final)
        try:
            while left:
                tally.attempts += 1
                with contextlib.suppress(JobError, AnswerError):
                    return await _raced(
                        task, cargo, route, tally, means, held=route is routes[0], earlier=left.pop(0)
                    )
        finally:  # jobs beside a straggler, which nobody waits for any more
            for each in left:
                if not each.status.final:
                    await stop(route.api, each.id)
    return None


async def _still_there(route: Route, job_id: str) -> JobState | None:
    """The state of a job that has an answer or may still get one."""
    try:
        state = await route.api.status(job_id)
    except NotFoundError:
        return None
    except TransportError:  # whoever watches it waits for the platform to come back
        return JobState(id=job_id, status=JobStatus.IN_QUEUE)
    return state if error_of(state, route.endpoint.id) is None else None


async def _raced(
    task: Task,
    cargo: Cargo,
    route: Route,
    tally: Tally,
    means: Means,
    *,
    held: bool,
    earlier: JobState | None = None,
) -> Answer:
    """One attempt, with further jobs beside it where it straggles: the first answer wins, the rest is cancelled.

    `held`: the caller has a slot of this endpoint already. `earlier` is a job that was sent before.
    """
    async with contextlib.nullcontext() if held else route.slot(beside=True):
        latest, hedges = Watched(means.calls.clock(), earlier, earlier is not None), 0
        role = Role.ATTACHED if earlier else Role.RETRY if tally.attempts > 1 else Role.FIRST
        running = {asyncio.ensure_future(_job(task, cargo, route, latest, tally, means, role))}
        look_s = _first_look_s(task, route)
        try:
            while True:
                look = asyncio.ensure_future(means.calls.sleep(look_s))
                try:
                    await asyncio.wait([*running, look], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    looked = look.done()
                    look.cancel()
                for each in [each for each in running if each.done()]:
                    running.discard(each)
                    if each.exception() is None or not running:
                        return each.result()  # of the last one also its error
                look_s = _look_s(task, route)
                if looked and hedges < HEDGES and route.straggles(latest, task.span.heard_s):
                    hedges, tally.hedges = hedges + 1, tally.hedges + 1
                    log.info("%s: it straggles, another job is sent beside it", task.id)
                    latest = Watched(means.calls.clock())
                    hedge = _job(task, cargo, route, latest, tally, means, Role.HEDGE)
                    running.add(asyncio.ensure_future(hedge))
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _first_look_s(task: Task, route: Route) -> float:
    """Nothing shows so early that it straggles: its progress is looked at when 0.4 of its time are over."""
    return max(0.25, 0.4 * route.capacity.task_s(task.span.heard_s))


def _look_s(task: Task, route: Route) -> float:
    """How often a task is asked whether it straggles: half of its time later than at once is soon enough."""
    return min(max(0.25, 0.5 * route.capacity.task_s(task.span.heard_s)), 10.0)


async def _job(
    task: Task, cargo: Cargo, route: Route, watched: Watched, tally: Tally, means: Means, role: Role
) -> Answer:
    """Send one job, where it was not sent before, and wait for its answer."""
    route.out(watched, task.span.heard_s)
    answered, began = False, means.calls.clock()

    def note(result: Provenance | BaseException) -> None:
        endpoint, variant = route.endpoint.name, route.endpoint.variant.id
        tally.made.append(job_facts(endpoint, variant, role, watched, began, means.calls.clock(), result))

    try:
        transfer_s = 0.0 if watched.state else await _sent(task, cargo, route, watched, tally, means)
        assert watched.state is not None
        with about(task_job=watched.state.id):
            answer = await _follow(task, route, watched, transfer_s, means)
        answered = True
    except BaseException as error:
        note(error)
        raise
    else:
        note(answer.output)
        return answer
    finally:
        route.back(watched, answered=answered)


async def _sent(
    task: Task, cargo: Cargo, route: Route, watched: Watched, tally: Tally, means: Means
) -> float:
    """Send a job; the seconds it took. Its body, up to 10 MB, is let go of before anything is waited for.

    Between the job's id and the return nothing is awaited: whoever called cancels the job when we leave.
    """
    means.listener(Event(task.id, task.stage, State.SENDING, message=route.endpoint.variant.id))
    policy = means.policy(route.expected_s(task.span.heard_s))
    work = task.identity(route)
    async with route.pool.posting if route.pool is not None else means.posting:
        began = means.calls.clock()
        body = to_wire(task.make_input(await cargo.fields()))
        await means.kept.intend(work)
        try:
            await submit(route.api, body, policy, watched, means.calls)
        except UnconfirmedError:
            tally.unconfirmed += 1
            raise
        except BaseException as error:
            if isinstance(error, FanscribeError):
                await means.kept.withdrawn(work)
            elif watched.state is not None:  # we leave, and it was stopped
                await to_its_end(means.kept.submitted(work, watched.state.id))
            raise
        watched.sent_at = means.calls.clock()
    return watched.sent_at - began


async def _follow(task: Task, route: Route, watched: Watched, transfer_s: float, means: Means) -> Answer:
    """Wait for a submitted job, and cancel it on the platform when we leave before its end."""
    assert watched.state is not None
    job_id = watched.state.id
    work = task.identity(route)
    said: Event | None = None

    def tell() -> None:
        nonlocal said
        event = _event(task, watched)
        if event != said:
            means.listener(event)
            said = event

    rhythm = Rhythm(route.expected_s(task.span.heard_s), means.attentive)
    try:
        await means.kept.submitted(work, job_id)
        tell()
        state = await watch(route.api, watched, rhythm, means.calls, tell)
        output = read_answer(task.stage, route.endpoint.id, state)
        total_s = means.calls.clock() - watched.sent_at
    except BaseException as error:
        if not ended(error) and not isinstance(error, AnswerError):
            await stop(route.api, job_id)
        raise
    await means.kept.keep(work, output)
    return Answer(output, route, state, transfer_s, total_s)


def _event(task: Task, watched: Watched) -> Event:
    if watched.taken_at is None:
        return Event(task.id, task.stage, State.STARTING if watched.starting else State.QUEUED)
    if watched.progress is None:  # just taken; the first thing a worker does is to read its audio
        unknown = watched.state is None or watched.state.output is None
        return Event(task.id, task.stage, State.FETCHING if unknown else State.RUNNING)
    progress = watched.progress
    return Event(task.id, task.stage, STATE_OF_PHASE[progress.phase], progress.share, progress.message)
