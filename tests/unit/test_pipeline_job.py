"""A task as a job: events, retries by cause, and that leaving stops the job on the platform."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fanscribe.contracts.errors import (
    AnswerError,
    ErrorCode,
    FanscribeError,
    JobCancelledError,
    JobLostError,
    TaskError,
    TaskFailedError,
)
from fanscribe.contracts.task import Stage, TranscribeOutput
from fanscribe.endpoint import Endpoint
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.job import ATTEMPTS, Answer, perform, poll_interval

OUTPUT = {"text": "hi", "duration": 1.0, "contract_version": "1.0"}
DONE = {"status": "COMPLETED", "output": OUTPUT}


class ScriptedPlatform:
    """Answers submissions with ids and each status call with the next state of the script."""

    def __init__(self, *states: dict[str, Any] | int) -> None:
        self._states: Iterator[dict[str, Any] | int] = iter(states)
        self.submitted = 0
        self.cancelled: list[str] = []
        self.initializing = 0
        self.submission_lasts = asyncio.Event()
        self.submission_lasts.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        operation, _, job = request.url.path.removeprefix("/v2/ep/").partition("/")
        if operation == "run":
            self.submitted += 1
            number = self.submitted
            await self.submission_lasts.wait()
            return httpx.Response(200, json={"id": f"j{number}", "status": "IN_QUEUE"})
        if operation == "cancel":
            self.cancelled.append(job)
            return httpx.Response(200, json={"id": job, "status": "CANCELLED"})
        if operation == "health":
            return httpx.Response(200, json={"jobs": {}, "workers": {"initializing": self.initializing}})
        state = next(self._states)
        if isinstance(state, int):
            return httpx.Response(state)
        return httpx.Response(200, json={"id": job, **state})


async def _perform(platform: ScriptedPlatform, events: list[Event] | None = None) -> Answer:
    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0)

    http = httpx.AsyncClient(transport=httpx.MockTransport(platform))
    listener = (events if events is not None else []).append
    endpoint = Endpoint(http, "http://p/v2", "ep", "k")
    return await perform("t", Stage.TRANSCRIBE, endpoint, {"audio": "data:,"}, listener, sleep=sleep)


def _failed(code: ErrorCode, retryable: bool) -> dict[str, Any]:
    error = TaskError(code=code, message="m", retryable=retryable)
    return {"status": "FAILED", "error": error.model_dump_json()}


async def test_the_answer_is_typed_and_the_events_tell_the_way() -> None:
    platform = ScriptedPlatform(
        {"status": "IN_QUEUE"},
        {"status": "IN_PROGRESS"},
        {"status": "IN_PROGRESS", "output": {"phase": "loading", "share": 0.5, "message": "weights"}},
        {"status": "IN_PROGRESS", "output": {"phase": "running", "share": 0.25}},
        {"status": "IN_PROGRESS", "output": {"phase": "running", "share": 0.25}},
        {"status": "IN_PROGRESS", "output": "not ours"},
        {**DONE, "delayTime": 1500},
    )
    platform.initializing = 1
    events: list[Event] = []
    answer = await _perform(platform, events)
    assert isinstance(answer.output, TranscribeOutput)
    assert (answer.output.text, answer.attempts, answer.state.delay_ms) == ("hi", 1, 1500)
    assert [(event.state, event.share) for event in events] == [
        (State.STARTING, 0.0),
        (State.FETCHING, 0.0),
        (State.LOADING, 0.5),
        (State.RUNNING, 0.25),
        (State.RUNNING, 0.0),
    ]


@pytest.mark.parametrize(
    "failure",
    [
        {"status": "TIMED_OUT"},
        _failed(ErrorCode.MODEL_ERROR, True),
        {"status": "FAILED", "error": "worker died"},
        {"status": "COMPLETED", "output": {"txt": 1}},
        404,
    ],
)
async def test_what_may_pass_is_tried_again(failure: dict[str, Any] | int) -> None:
    platform = ScriptedPlatform(failure, DONE)
    assert (await _perform(platform)).attempts == 2
    assert platform.submitted == 2


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (_failed(ErrorCode.INVALID_INPUT, False), TaskFailedError),
        ({"status": "CANCELLED"}, JobCancelledError),
    ],
)
async def test_what_cannot_pass_is_not(failure: dict[str, Any], kind: type[FanscribeError]) -> None:
    platform = ScriptedPlatform(failure)
    with pytest.raises(kind):
        await _perform(platform)
    assert platform.submitted == 1


async def test_trying_has_an_end() -> None:
    platform = ScriptedPlatform(*[404] * ATTEMPTS)
    with pytest.raises(JobLostError):
        await _perform(platform)
    assert platform.submitted == ATTEMPTS


async def test_another_major_contract_is_refused() -> None:
    other = {"status": "COMPLETED", "output": {**OUTPUT, "contract_version": "2.0"}}
    with pytest.raises(AnswerError, match="speaks contract 2"):
        await _perform(ScriptedPlatform(*[other] * ATTEMPTS))


async def test_leaving_cancels_the_job() -> None:
    platform = ScriptedPlatform(*[{"status": "IN_PROGRESS"}] * 1000)
    work = asyncio.create_task(_perform(platform))
    while not platform.submitted:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert platform.cancelled == ["j1"]


async def test_leaving_while_submitting_waits_for_the_id_and_cancels() -> None:
    platform = ScriptedPlatform()
    platform.submission_lasts.clear()
    work = asyncio.create_task(_perform(platform))
    while not platform.submitted:
        await asyncio.sleep(0)
    work.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not work.done()
    platform.submission_lasts.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert platform.cancelled == ["j1"]


def test_polling_slows_down_within_bounds() -> None:
    waits = [poll_interval(seconds) for seconds in (0, 1, 10, 30, 3600)]
    assert waits == sorted(waits)
    assert waits[0] == 0.05
    assert waits[-1] == 1.0
