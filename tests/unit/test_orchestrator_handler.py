"""One job from its input to its output, on endpoints that answer at once."""

import asyncio
import base64
import json
import logging
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.scripted import deployed, output

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.sharing import Sharing
from fanscribe.results.folder import FolderResults
from fanscribe_handlers.simulated.recording import CodedRecording
from fanscribe_orchestrator.durable import NOT_KEPT
from fanscribe_orchestrator.handler import Orchestrator
from fanscribe_orchestrator.places import Place
from fanscribe_orchestrator.settings import Settings

KEY = "rpa_s3cret"
MODEL = "simulated-transcribe"


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten seconds of sound inside of the request."""
    file: Path = tmp_path_factory.mktemp("coded") / "words.flac"
    with file.open("wb") as target:
        CodedRecording.lasting(10.0).write_flac(target)
    return "data:audio/flac;base64," + base64.b64encode(file.read_bytes()).decode()


class Endpoints:
    """The data plane of a platform whose one endpoint does every job at once, or never."""

    def __init__(self, status: dict[str, Any] | None = None) -> None:
        self.status = status or {"status": "COMPLETED", "output": output("Hello there."), "executionTime": 10}
        self.submitted: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.refuses = False

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        operation, *job = request.url.path.split("/")[3:]
        if self.refuses and operation == "run":
            return httpx2.Response(401, text=f"the key {KEY} is none of ours")
        match operation:
            case "run":
                self.submitted.append(json.loads(request.content)["input"])
                return httpx2.Response(200, json={"id": f"j{len(self.submitted)}", "status": "IN_QUEUE"})
            case "status":
                return httpx2.Response(200, json={"id": job[0], **self.status})
            case "cancel":
                self.cancelled.append(job[0])
                return httpx2.Response(200, json={"id": job[0], "status": "CANCELLED"})
            case _:
                return httpx2.Response(200, json={"jobs": {}, "workers": {"ready": 1}})


def orchestrator(endpoints: Endpoints, place: Place | None = None, **settings: Any) -> Orchestrator:
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(endpoints))
    store = place.store if place is not None else None
    platform = Platform(http, "https://p/v2", KEY, "local", results=store, sharing=Sharing(2))
    return Orchestrator(Settings("https://p/v2", KEY, catalogue, **settings), platform, place=place)


def job(audio: str, **fields: Any) -> dict[str, Any]:
    return {"id": "job-1", "input": {"audio": audio, "model": MODEL} | fields}


def error_of(answer: dict[str, Any]) -> TaskError:
    assert list(answer) == ["error"]
    return TaskError.model_validate_json(answer["error"])


async def test_the_native_answer(audio: str) -> None:
    endpoints = Endpoints()
    answer = OrchestratorOutput.model_validate(await orchestrator(endpoints).handle(job(audio)))
    assert (answer.text, answer.language, answer.partial, answer.durable) == (
        "Hello there.",
        "en",
        False,
        False,
    )
    assert (answer.variant, answer.contract_version) == (MODEL, CONTRACT_VERSION)
    assert answer.engine.startswith("fanscribe-orchestrator ")
    assert [each.stage for each in answer.tasks] == ["transcribe"]
    assert len(endpoints.submitted) == 1


async def test_a_text_format_comes_in_its_field(audio: str) -> None:
    answer = await orchestrator(Endpoints()).handle(job(audio, response_format="srt"))
    assert answer["text"].startswith("1\n00:00:00,000 --> ")
    assert answer["variant"] == MODEL


@pytest.mark.parametrize("wanted", list(ResponseFormat))
async def test_a_warning_is_in_every_format(audio: str, wanted: ResponseFormat) -> None:
    answer = await orchestrator(Endpoints()).handle(
        job(audio, response_format=wanted.value, idempotency_key="a")
    )
    assert answer["warnings"] == [NOT_KEPT]


async def test_a_refusal_makes_no_child_job(audio: str) -> None:
    endpoints = Endpoints()
    worker = orchestrator(endpoints)
    for body, code in (
        (job(audio, prompt=7), ErrorCode.INVALID_INPUT),
        (job(audio, model="nobody"), ErrorCode.INVALID_INPUT),
        (job("data:audio/wav;base64,AAAA"), ErrorCode.AUDIO_UNREADABLE),
        (job(audio, diarize=True), ErrorCode.MODEL_MISSING),
        ({"id": "j"}, ErrorCode.INVALID_INPUT),
    ):
        assert error_of(await worker.handle(body)).code is code
    assert endpoints.submitted == []


async def test_a_childs_refusal_is_passed_on(audio: str) -> None:
    said = TaskError(code=ErrorCode.MODEL_MISSING, message="no weights here")
    endpoints = Endpoints({"status": "FAILED", "error": said.model_dump_json()})
    assert error_of(await orchestrator(endpoints).handle(job(audio))) == said


async def test_the_key_is_in_no_answer(audio: str) -> None:
    endpoints = Endpoints()
    endpoints.refuses = True
    error = error_of(await orchestrator(endpoints).handle(job(audio)))
    assert error.code is ErrorCode.MODEL_ERROR
    assert KEY not in error.message
    assert "***" in error.message


async def test_what_nobody_expected_is_in_the_log_and_not_in_the_answer(
    audio: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("what somebody said")

    monkeypatch.setattr("fanscribe_orchestrator.handler.transcribe", broken)
    with caplog.at_level(logging.WARNING):
        error = error_of(await orchestrator(Endpoints()).handle(job(audio)))
    assert error.message == "the orchestrator failed with ZeroDivisionError: its worker's log has the trace"
    assert "Traceback" in caplog.text


async def test_cancelling_cancels_the_children_and_goes_on(audio: str) -> None:
    endpoints = Endpoints({"status": "IN_PROGRESS"})
    worker = orchestrator(endpoints)
    work = asyncio.create_task(worker.handle(job(audio)))
    while not endpoints.submitted:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert endpoints.cancelled == ["j1"]
    endpoints.status = Endpoints().status
    assert "text" in await worker.handle(job(audio))


async def test_nothing_recognised_by_the_deadline(audio: str) -> None:
    endpoints = Endpoints({"status": "IN_PROGRESS"})
    error = error_of(await orchestrator(endpoints).handle(job(audio, deadline_s=0.4)))
    assert (error.code, error.retryable) == (ErrorCode.TIMEOUT, True)
    assert endpoints.cancelled == ["j1"]


async def test_the_key_is_in_no_trace_of_the_log(
    audio: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        try:
            raise ValueError(f"Authorization: Bearer {KEY}")
        except ValueError as error:
            raise ZeroDivisionError from error

    monkeypatch.setattr("fanscribe_orchestrator.handler.transcribe", broken)
    with caplog.at_level(logging.WARNING):
        await orchestrator(Endpoints()).handle(job(audio))
    assert "Authorization: Bearer ***" in caplog.text
    logged = "".join(logging.Formatter().format(each) for each in caplog.records)
    assert KEY not in logged


async def test_a_place_that_never_takes_the_result_does_not_cost_the_words(
    audio: str, tmp_path: Path
) -> None:
    freed = threading.Event()

    class Stuck(FolderResults):
        def put(self, key: str, value: dict[str, Any]) -> None:
            if "ended" in value:
                freed.wait(20)
            super().put(key, value)

    place = Place(Stuck(tmp_path), True)
    worker = orchestrator(Endpoints(), place, execution_timeout_s=4.0)
    try:
        answer = OrchestratorOutput.model_validate(await worker.handle(job(audio)))
    finally:
        freed.set()
    assert (answer.text, answer.durable) == ("Hello there.", False)
