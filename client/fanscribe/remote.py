"""A request as one job of an orchestrator endpoint: sent, watched, cancelled when we leave, read into a transcript."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pydantic import ValidationError

from fanscribe import media
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
from fanscribe.endpoint import REQUEST_LIMIT_BYTES, Endpoint
from fanscribe.large_results import read_result
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.pipeline.events import Event, Listener, State
from fanscribe.pipeline.job import Calls, Rhythm, Watched, ended, stop, submit, watch
from fanscribe.pipeline.request import Request, Sending
from fanscribe.source import Audio, local_file, name_of, public_address

TASK = "orchestrator"
"""What events call the job; the upload before it is called "upload"."""

ATTEMPTS = 3
"""Jobs sent for one request, one after the other. They carry one idempotency key, so that a later one goes on where the
one before was lost."""

_PAUSES_S = (1.0, 5.0)
_TTL_S = 86_400.0  # of a job without a deadline; the platform's own default
_SHORTEST_TTL_S = 10.0
_LAST_LOOK_S = 2.0  # jobs are looked at every second
_ENVELOPE_BYTES = 2000  # of a request's body, beside its input: the policy, quotes, the data URI's own head
_FIELD_AUDIO = "field audio: "
_HEAD = "data:application/octet-stream;base64,"
_STATES = {
    "fetching": State.FETCHING,
    "downloading": State.LOADING,
    "loading": State.LOADING,
    "running": State.RUNNING,
}


class Store(Protocol):
    """A place for a file that does not fit into a request."""

    async def put(self, file: Path, report: Callable[[float], None]) -> str:
        """Store a file, and give the address under which the orchestrator can read it."""

    async def delete(self, address: str) -> None:
        """Remove what was stored."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An orchestrator endpoint, where large files go on their way to it, and how its jobs are waited for."""

    endpoint: Endpoint
    store: Store | None = None
    calls: Calls = field(default_factory=Calls)
    make_key: Callable[[], str] = lambda: uuid4().hex


async def transcribe_remotely(
    remote: Remote, audio: Audio, request: Request, listener: Listener, until: float | None = None
) -> Transcript:
    """The transcript of a recording, made by an orchestrator in one job.

    A URL goes as it is; a file inside the request where it fits, else by way of `remote.store`, from which it is taken
    away afterwards. When this is cancelled, the job is cancelled on the platform. The caller keeps the deadline, which
    is `until` by the clock of `remote.calls`; the orchestrator is told of it, so that it gives what it has by then.

    Raises UsageError for what the orchestrator or we refuse, AudioUnreachableError, DeadlineError, and else the error
    of the job or the platform.
    """
    if request.send is not Sending.AUTO:
        raise UsageError(f"send={request.send}: an orchestrator sends audio its own way; leave it out")
    name = name_of(audio)
    fields: dict[str, Any] = request.model_dump(mode="json", exclude_defaults=True)
    fields["idempotency_key"] = remote.make_key()
    async with _reference(remote, audio, name, fields, listener) as address:
        if until is not None:
            fields["deadline_s"] = _allowed_s(until - remote.calls.clock())
        body = _body(fields | {"audio": address})
        state, repeats = await _done(remote, body, request, name, listener)
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


@asynccontextmanager
async def _reference(
    remote: Remote, audio: Audio, name: str, fields: dict[str, Any], listener: Listener
) -> AsyncIterator[str]:
    """What the orchestrator reads the audio by. What was stored for it is removed afterwards."""
    public = public_address(audio)
    if public is not None:
        yield public
        return
    loop = asyncio.get_running_loop()

    def told(task: str, state: State) -> Callable[[float], None]:
        def report(share: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have closed while a thread came to its end
                loop.call_soon_threadsafe(listener, Event(task, Stage.PREPARE, state, share, name))

        return report

    async with contextlib.AsyncExitStack() as leaving:
        async with local_file(audio, told("prepare", State.PREPARING)) as file:
            await asyncio.to_thread(
                media.probe, file, name
            )  # what is no recording is refused before it is sent
            size = (await asyncio.to_thread(file.stat)).st_size
            room = (
                REQUEST_LIMIT_BYTES - _ENVELOPE_BYTES - len(json.dumps(fields, ensure_ascii=False).encode())
            )
            if len(_HEAD) + (size + 2) // 3 * 4 <= room:
                address = _HEAD + await asyncio.to_thread(_encoded, file)
            elif remote.store is None:
                raise UsageError(
                    f"{name}: has {size / 1e6:.1f} MB, and a request takes {room * 3 / 4 / 1e6:.1f} MB: set "
                    "FANSCRIBE_UPLOADS to a bucket of yours (s3://bucket/prefix), give a URL, or do without the "
                    "orchestrator"
                )
            else:
                address = await remote.store.put(file, told("upload", State.SENDING))
                leaving.push_async_callback(_removed, remote.store, address)
                await asyncio.sleep(0)  # what the upload told last is heard before this
                listener(Event("upload", Stage.PREPARE, State.DONE, 1.0, name))
        yield address


async def _removed(store: Store, address: str) -> None:
    with contextlib.suppress(FanscribeError, TimeoutError):  # the store's own rules are the net below
        await to_its_end(store.delete(address))


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")


async def _done(
    remote: Remote, body: dict[str, Any], request: Request, name: str, listener: Listener
) -> tuple[JobState, int]:
    """The completed job, and how many were lost before it."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _job(remote, body, request, listener), attempt - 1
        except FanscribeError as error:
            if attempt == ATTEMPTS or not _lost(error):
                raise _as_ours(error, name, name_of(body["audio"]), request) from error
            listener(Event(TASK, Stage.PREPARE, State.QUEUED, message=f"trying again: {error}"))
            await remote.calls.sleep(_PAUSES_S[attempt - 1])
    raise AssertionError("the last attempt returns or raises")


async def _job(remote: Remote, body: dict[str, Any], request: Request, listener: Listener) -> JobState:
    """One job, to its end; cancelled on the platform when we leave before."""
    watched = Watched(remote.calls.clock())
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
    return Event(TASK, stage, _STATES[progress.phase], progress.share, progress.text or progress.message)


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
    whole = await asyncio.to_thread(read_result, state.output)
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
