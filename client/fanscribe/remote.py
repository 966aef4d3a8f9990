"""A request as one job of an orchestrator endpoint: sent, watched, cancelled when we leave, read into a transcript."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from fanscribe.background import in_thread
from fanscribe.contracts.errors import (
    AnswerError,
    AudioError,
    AudioRefusedError,
    AudioUnreachableError,
    DeadlineError,
    ErrorCode,
    FanscribeError,
    JobLostError,
    TaskFailedError,
    UnconfirmedError,
    UsageError,
)
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.orchestration import (
    OrchestratorInput,
    OrchestratorOutput,
    OrchestratorProgress,
    to_wire,
)
from fanscribe.contracts.task import Stage
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.version import CONTRACT_VERSION, major
from fanscribe.endpoint import Endpoint
from fanscribe.large_results import read_result
from fanscribe.pipeline.events import STATE_OF_PHASE, Event, Listener, State
from fanscribe.pipeline.job import Calls, Rhythm, Watched, ended, stop, submit, watch
from fanscribe.pipeline.observed import job_facts
from fanscribe.pipeline.request import Request, Sending
from fanscribe.remote_audio import Store, reference
from fanscribe.source import Audio, name_of
from fanscribe.trace.facts import JobFacts, Role, TaskFacts, error_name, status_of
from fanscribe.trace.recorder import Recorder

TASK = "orchestrator"
"""What events call the job; the upload before it is called "upload"."""

ATTEMPTS = 3
"""Jobs sent for one request, one after the other. They carry one idempotency key, so that a later one goes on where the
one before was lost."""

_PAUSES_S = (1.0, 5.0)
_TTL_S = 86_400.0  # of a job without a deadline; the platform's own default
_SHORTEST_TTL_S = 10.0
_LAST_LOOK_S = 2.0  # jobs are looked at every second
_FIELD_AUDIO = "field audio: "
_ANYTHING = "s3://any/thing"  # stands for the audio while the other fields are checked


@dataclass(frozen=True, slots=True)
class Remote:
    """An orchestrator endpoint, where large files go on their way to it, and how its jobs are waited for."""

    endpoint: Endpoint
    store: Store | None = None
    calls: Calls = field(default_factory=Calls)
    make_key: Callable[[], str] = lambda: uuid4().hex


async def transcribe_remotely(
    remote: Remote,
    audio: Audio,
    request: Request,
    listener: Listener,
    until: float | None = None,
    recorder: Recorder | None = None,
) -> Transcript:
    """The transcript of a recording, made by an orchestrator in one job.

    A URL goes as it is; a file inside the request where it fits, else by way of `remote.store`, from which it is taken
    away afterwards. When this is cancelled, the job is cancelled on the platform. The caller keeps the deadline, which
    is `until` by the clock of `remote.calls`; the orchestrator is told of it, so that it gives what it has by then.
    `recorder` takes down the jobs, for a trace.

    Raises UsageError for what the orchestrator or we refuse, AudioUnreachableError, DeadlineError, and else the error
    of the job or the platform.
    """
    if request.send is not Sending.AUTO:
        raise UsageError(f"send={request.send}: an orchestrator sends audio its own way; leave it out")
    name = name_of(audio)
    fields: dict[str, Any] = request.model_dump(mode="json", exclude_defaults=True)
    fields["idempotency_key"] = remote.make_key()
    _body(fields | {"audio": _ANYTHING})  # what it would refuse is refused before anything is sent
    recorder = recorder or Recorder()
    fields["traceparent"] = recorder.ids.traceparent
    async with recorder.entered("send", reference(remote.store, audio, name, fields, listener)) as address:

        def body() -> dict[str, Any]:
            left = {} if until is None else {"deadline_s": _allowed_s(until - remote.calls.clock())}
            return _body(fields | {"audio": address} | left)

        try:
            state, repeats = await _done(remote, body, request, listener, recorder)
        except FanscribeError as error:
            raise _as_ours(error, name, name_of(address), request) from error
    with recorder.step("read"):
        transcript = await _read(remote, state)
    if repeats:
        transcript.warnings.append(
            f"{name}: {repeats} of the orchestrator's jobs were lost on the way; where it keeps no results, their work "
            "was paid for in vain"
        )
    listener(Event(TASK, Stage.MERGE, State.DONE, 1.0))
    return transcript


def _allowed_s(left_s: float) -> float:
    """What the orchestrator may take of the seconds that are left: its answer has to be seen in time, too."""
    return max(left_s - min(_LAST_LOOK_S, 0.1 * left_s), 0.1)


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        return to_wire(OrchestratorInput.model_validate(fields))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        said = [
            f"{'.'.join(str(part) for part in each['loc']) or 'request'}: {each['msg']}" for each in faults
        ]
        raise UsageError("; ".join(said)) from error


async def _done(
    remote: Remote,
    body: Callable[[], dict[str, Any]],
    request: Request,
    listener: Listener,
    recorder: Recorder,
) -> tuple[JobState, int]:
    """The completed job, and how many were lost before it. Each has the deadline that is left when it is sent."""
    began, jobs = remote.calls.clock(), list[JobFacts]()

    def note(failure: BaseException | None) -> None:
        facts = (began, remote.calls.clock(), status_of(failure), tuple(jobs))
        recorder.task(TaskFacts(TASK, TASK, TASK, 0.0, 0.0, *facts, error=error_name(failure)))

    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                done = await _job(remote, body(), request, listener, jobs)
                break
            except FanscribeError as error:
                if attempt == ATTEMPTS or not _lost(error):
                    raise
                listener(Event(TASK, Stage.PREPARE, State.QUEUED, message=f"trying again: {error}"))
                await remote.calls.sleep(_PAUSES_S[attempt - 1])
    except BaseException as error:
        note(error)
        raise
    note(None)
    return done, len(jobs) - 1


async def _job(
    remote: Remote, body: dict[str, Any], request: Request, listener: Listener, jobs: list[JobFacts]
) -> JobState:
    """One job, to its end, which is added to `jobs`; cancelled on the platform when we leave before."""
    began = remote.calls.clock()
    watched, failure = Watched(began), None
    try:
        return await _followed(remote, body, request, listener, watched)
    except BaseException as error:
        failure = error
        raise
    finally:
        role, name = Role.RETRY if jobs else Role.FIRST, remote.endpoint.id
        facts = job_facts(name, TASK, role, watched, began, remote.calls.clock(), failure)
        # What its children do meanwhile is in the orchestrator's own trace.
        jobs.append(replace(facts, doing="", starting=watched.starting))


async def _followed(
    remote: Remote, body: dict[str, Any], request: Request, listener: Listener, watched: Watched
) -> JobState:
    said: Event | None = None

    def tell() -> None:
        nonlocal said
        if watched.state is None or watched.state.status.final:
            return
        event = _event(watched)
        if event != said:
            listener(event)
            said = event

    ttl_s = _TTL_S if request.deadline_s is None else min(max(request.deadline_s, _SHORTEST_TTL_S), _TTL_S)
    listener(Event(TASK, Stage.PREPARE, State.SENDING))
    await submit(remote.endpoint, body, {"ttl": int(ttl_s * 1000)}, watched, remote.calls)
    assert watched.state is not None, "a job that was submitted has a state"
    job_id = watched.state.id
    try:
        watched.sent_at = remote.calls.clock()
        tell()
        return await watch(remote.endpoint, watched, Rhythm(), remote.calls, tell)
    except BaseException as error:
        if not ended(error):
            await stop(remote.endpoint, job_id)
        raise


def _event(watched: Watched) -> Event:
    """Where the job stands. The share is that of the whole request; the message of a running one is its text so far."""
    if watched.taken_at is None:
        return Event(TASK, Stage.PREPARE, State.STARTING if watched.starting else State.QUEUED)
    progress = _progress(watched.state)
    if progress is None:
        return Event(TASK, Stage.PREPARE, State.FETCHING)
    try:
        stage = Stage(progress.stage)
    except ValueError:
        stage = Stage.TRANSCRIBE
    return Event(
        TASK, stage, STATE_OF_PHASE[progress.phase], progress.share, progress.text or progress.message
    )


def _progress(state: JobState | None) -> OrchestratorProgress | None:
    if state is None or state.status is not JobStatus.IN_PROGRESS:
        return None
    try:
        return OrchestratorProgress.model_validate(state.output)
    except ValidationError:
        return None


async def _read(remote: Remote, state: JobState) -> Transcript:
    """The transcript in a completed job's output, or where that says it lies."""
    where = f"job {state.id} on {remote.endpoint.id}"
    if not isinstance(state.output, dict):
        raise AnswerError(f"{where} gave no transcript; is it an orchestrator?")
    whole = await in_thread(lambda stopped: read_result(state.output, stopped=stopped))
    try:
        output = OrchestratorOutput.model_validate(whole)
    except ValidationError as error:
        path = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        raise AnswerError(
            f"{where} gave an answer that does not fit the contract ({path or 'output'})"
        ) from error
    if major(output.contract_version or CONTRACT_VERSION) != major(CONTRACT_VERSION):
        raise AnswerError(
            f"{where} speaks contract {output.contract_version}, this client {CONTRACT_VERSION}: deploy the same "
            "version on both sides"
        )
    transcript = output.transcript()
    # The key is ours and for this call alone, so what is said of its later use concerns nobody.
    transcript.warnings = [each for each in transcript.warnings if not each.startswith("idempotency_key: ")]
    return transcript


def _lost(error: FanscribeError) -> bool:
    """Whether the job was lost rather than refused, so that another one may do better."""
    if isinstance(error, TaskFailedError):
        return error.retryable and error.error.code is ErrorCode.MODEL_ERROR
    return isinstance(error, JobLostError | UnconfirmedError)


def _as_ours(error: FanscribeError, name: str, there: str, request: Request) -> FanscribeError:
    """What the orchestrator refused, as the error that the client's own run would have raised.

    `there` is what the orchestrator calls the audio that is called `name` here.
    """
    if not isinstance(error, TaskFailedError):
        return error
    code, message = error.error.code, error.error.message
    of_audio = message.startswith(_FIELD_AUDIO)
    said = f"{name}: {message.removeprefix(_FIELD_AUDIO).removeprefix(f'{there}: ')}"
    match code:
        case ErrorCode.INVALID_INPUT if of_audio:
            return AudioRefusedError(said)
        case ErrorCode.AUDIO_UNREADABLE:
            return AudioError(said)
        case ErrorCode.AUDIO_UNREACHABLE:
            return AudioUnreachableError(said, retryable=error.retryable)
        case ErrorCode.INVALID_INPUT | ErrorCode.MODEL_MISSING | ErrorCode.RESULT_TOO_LARGE:
            return UsageError(said)
        case ErrorCode.TIMEOUT if request.deadline_s is not None:
            return DeadlineError(said)
        case _:
            return error
