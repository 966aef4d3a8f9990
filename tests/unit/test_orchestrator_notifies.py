"""A request's receiver hears of it through the whole handler: refused, failed, cancelled, done."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx2

from fanscribe.catalogue import Catalogue, DeployedEndpoint, load_catalogue
from fanscribe.contracts.errors import TaskError
from fanscribe.deploy.smoke import tone
from fanscribe.pipeline.platform import Platform
from fanscribe_orchestrator.handler import Orchestrator
from fanscribe_orchestrator.notify import Notifier
from fanscribe_orchestrator.settings import Settings

API_KEY = "rpa_the-key-of-the-account"
TONE = f"data:audio/wav;base64,{base64.b64encode(tone()).decode()}"
NOTIFY = {"url": "https://hooks.example.com/x", "events": ["started", "completed", "failed", "cancelled"]}

Answer = Callable[[httpx2.Request], httpx2.Response]


class Scene:
    """An orchestrator with one endpoint to call, of which `answer` speaks, and a receiver that takes everything."""

    def __init__(self, answer: Answer, secret: str | None = "a-secret-of-some-length") -> None:
        self.told: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self._answer = answer
        variants = load_catalogue().variants
        endpoint = DeployedEndpoint("asr", "id-asr", variants["whisper-base"])
        settings = Settings("https://data/v2", API_KEY, Catalogue(variants, (endpoint,)))
        platform = Platform(
            httpx2.AsyncClient(transport=httpx2.MockTransport(self._child)), settings.base_url, API_KEY
        )
        notifier = Notifier(
            secret,
            resolver=lambda host, port: ["93.184.215.14"],
            transport=httpx2.MockTransport(self._receive),
        )
        self.orchestrator = Orchestrator(settings, platform, notifier=notifier)

    @property
    def events(self) -> list[str]:
        return [each["event"] for each in self.told]

    async def handle(self, **asked: Any) -> dict[str, Any]:
        return await self.orchestrator.handle({"id": "job-1", "input": asked})

    def _child(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append(request.url.path.removeprefix("/v2/id-asr/").partition("/")[0])
        return self._answer(request)

    def _receive(self, request: httpx2.Request) -> httpx2.Response:
        self.told.append(json.loads(request.content))
        return httpx2.Response(204)


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not found():
            await asyncio.sleep(0.01)


def job(status: str, **more: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"id": "child-1", "status": status, **more})


def waits(request: httpx2.Request) -> httpx2.Response:
    return job("CANCELLED" if "/cancel/" in request.url.path else "IN_QUEUE")


def speaks(request: httpx2.Request) -> httpx2.Response:
    output = {"text": "hello", "language": "en", "duration": 2.0, "variant": "whisper-base"}
    output["segments"] = [{"start": 0.0, "end": 1.0, "text": "hello"}]
    return job("COMPLETED", output=output)


async def test_a_request_that_nobody_can_sign_for_is_refused_before_any_child_job() -> None:
    scene = Scene(waits, secret=None)
    answer = await scene.handle(audio=TONE, notify=NOTIFY)
    error = TaskError.parse(answer["error"])
    assert (error.code, error.retryable) == ("INVALID_INPUT", False)
    assert error.message.startswith("field notify: this orchestrator has no secret to sign with")
    assert (scene.calls, scene.told) == ([], [])


async def test_a_private_receiver_is_refused_before_any_child_job() -> None:
    scene = Scene(waits)
    answer = await scene.handle(audio=TONE, notify={"url": "https://[::ffff:169.254.169.254]/latest"})
    assert TaskError.parse(answer["error"]).message.startswith("field notify.url: leads to a private")
    assert (scene.calls, scene.told) == ([], [])


async def test_audio_that_cannot_be_read_is_told_of_as_a_failure() -> None:
    scene = Scene(waits)
    answer = await scene.handle(audio="data:audio/wav;base64,AAAA", notify=NOTIFY)
    await until(lambda: len(scene.told) == 2)
    failed = next(each for each in scene.told if each["event"] == "failed")
    assert failed["error"] == json.loads(answer["error"])
    assert failed["error"]["code"] == "AUDIO_UNREADABLE"
    assert scene.calls == []


async def test_a_cancellation_ends_the_child_job_and_is_told() -> None:
    scene = Scene(waits)
    task = asyncio.create_task(scene.handle(audio=TONE, notify=NOTIFY))
    await until(lambda: "run" in scene.calls)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert "cancel" in scene.calls
    await until(lambda: "cancelled" in scene.events)
    assert sorted(scene.events) == ["cancelled", "started"]


async def test_the_answer_is_told_as_it_is_given() -> None:
    scene = Scene(speaks)
    answer = await scene.handle(audio=TONE, notify=NOTIFY, response_format="text")
    assert answer["text"] == "hello\n"
    completed = next(each for each in scene.told if each["event"] == "completed")
    assert (completed["job_id"], completed["output"]) == ("job-1", answer)
    assert API_KEY not in json.dumps(scene.told)
