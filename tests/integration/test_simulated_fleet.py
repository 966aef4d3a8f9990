"""Many simulated workers in one process, over the real local platform."""

import asyncio
import base64
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from tests.simulated import simulated_variant

from fanscribe.catalogue import DeployedEndpoint, Workers
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.local import spec_of
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.simulated.fleet import Serving, main, simulated_workers
from fanscribe_handlers.simulated.recording import CodedRecording, text_of


def variant(
    name: str = "simulated-transcribe", *, load_s: float = 0.5, rtf: float = 0.02, **options: Any
) -> Variant:
    return simulated_variant(name, load_s=load_s, rtf=rtf, overhead_s=0.1, **options)


def span(first_s: float, last_s: float) -> str:
    """A piece of the recording as it travels."""
    piece = io.BytesIO()
    words = CodedRecording(int((last_s - first_s) * 2), first_word=int(first_s * 2))
    words.write_flac(piece)
    return "data:audio/flac;base64," + base64.b64encode(piece.getvalue()).decode()


@pytest.fixture
def platform() -> Iterator[RunningPlatform]:
    specs = [EndpointSpec(name, max_workers=20) for name in ("words", "speakers")]
    with start(specs, key="test") as running:
        yield running


class Caller:
    """A client of the platform's data plane."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def submit(self, body: dict[str, Any], endpoint: str = "words") -> str:
        response = await self._http.post(f"/v2/{endpoint}/run", json={"input": body})
        return str(response.raise_for_status().json()["id"])

    async def status(self, job: str, endpoint: str = "words") -> dict[str, Any]:
        state: dict[str, Any] = (await self._http.get(f"/v2/{endpoint}/status/{job}")).json()
        return state

    async def ended(self, job: str, endpoint: str = "words") -> dict[str, Any]:
        while (state := await self.status(job, endpoint))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
            await asyncio.sleep(0.05)
        return state

    async def cancel(self, job: str) -> None:
        (await self._http.post(f"/v2/words/cancel/{job}")).raise_for_status()


@pytest.fixture
async def caller(platform: RunningPlatform) -> AsyncIterator[Caller]:
    headers = {"Authorization": platform.key}
    async with httpx2.AsyncClient(base_url=platform.url, headers=headers, timeout=30) as http:
        yield Caller(http)


def words_of(state: dict[str, Any]) -> list[str]:
    return str(state["output"]["text"]).split()


async def test_twenty_workers_do_sixty_tasks_at_once_and_rightly(
    platform: RunningPlatform, caller: Caller
) -> None:
    bodies = [{"audio": span(10.0 * number, 10.0 * number + 10.0)} for number in range(60)]
    servings = [
        Serving("words", variant(rtf=0.1), 19),
        Serving("speakers", variant("simulated-diarize", rtf=0.1), 1),
    ]
    async with simulated_workers(platform.url, platform.key, servings) as fleet:
        begun = time.monotonic()
        turns = await caller.submit(bodies[0], "speakers")
        jobs = await asyncio.gather(*(caller.submit(body) for body in bodies))
        states = await asyncio.gather(*(caller.ended(job) for job in jobs))
        took_s = time.monotonic() - begun
        spoken = await caller.ended(turns, "speakers")
    assert [word for state in states for word in words_of(state)] == [text_of(index) for index in range(1200)]
    assert len({state["workerId"] for state in states}) >= 15
    assert spoken["output"]["num_speakers"] >= 2
    assert states[0]["output"]["engine"] == "simulated 1"
    assert not states[0]["output"]["timing"]["cold_start"]
    # 60 tasks of 1.1 s are 66 s of work; 19 workers need four rounds at least.
    assert 4 * 1.1 <= took_s < 15
    assert sorted(each.end for each in fleet.paid) == ["done"] * 61
    assert min(each.seconds for each in fleet.paid) >= 1.1


async def test_cold_workers_start_when_there_is_work_and_say_so(
    platform: RunningPlatform, caller: Caller
) -> None:
    async with simulated_workers(
        platform.url, platform.key, [Serving("words", variant(), 4, cold=True)]
    ) as fleet:
        await asyncio.sleep(0.3)
        assert platform.status()["endpoints"]
        begun = time.monotonic()
        jobs = [await caller.submit({"audio": span(0.0, 5.0)}) for _ in range(2)]
        states = await asyncio.gather(*(caller.ended(job) for job in jobs))
        took_s = time.monotonic() - begun
    assert took_s >= 0.5 + 0.2
    assert [state["output"]["timing"]["cold_start"] for state in states] == [True, True]
    assert states[0]["output"]["timing"]["load_s"] == 0.5
    assert len({each.worker for each in fleet.paid}) == 2


async def test_a_cancelled_job_is_stopped_and_its_worker_takes_the_next(
    platform: RunningPlatform, caller: Caller
) -> None:
    async with simulated_workers(
        platform.url, platform.key, [Serving("words", variant(rtf=2.0), 1)]
    ) as fleet:
        long = await caller.submit({"audio": span(0.0, 10.0)})
        while (await caller.status(long))["status"] == "IN_QUEUE":
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.5)
        shown = await caller.status(long)
        await caller.cancel(long)
        short = await caller.ended(await caller.submit({"audio": span(0.0, 0.5)}))
    assert shown["output"]["phase"] == "running"
    assert 0 < shown["output"]["share"] < 0.1
    assert words_of(short) == ["w0"]
    assert [each.end for each in fleet.paid] == ["stopped", "done"]
    assert 1.4 < fleet.paid[0].seconds < 4


async def test_failures_and_stragglers_come_as_told(platform: RunningPlatform, caller: Caller) -> None:
    told = variant(rtf=0.01, fails_on_word=25, memory_s=15.0)
    async with simulated_workers(platform.url, platform.key, [Serving("words", told, 3)]) as fleet:
        bodies: list[dict[str, Any]] = [
            {"audio": span(0.0, 10.0)},
            {"audio": span(10.0, 20.0)},
            {"audio": span(0.0, 20.0)},
            {"audio": "data:audio/flac;base64,AAAA"},
            {"audio": span(0.0, 10.0), "languag": "en"},
        ]
        states = [await caller.ended(await caller.submit(body)) for body in bodies]
    assert [state["status"] for state in states] == ["COMPLETED", *["FAILED"] * 4]
    errors = [json.loads(state["error"]) for state in states[1:]]
    assert [error["code"] for error in errors] == [
        "MODEL_ERROR",
        "OUT_OF_MEMORY",
        "AUDIO_UNREADABLE",
        "INVALID_INPUT",
    ]
    assert [error["retryable"] for error in errors] == [True, False, False, False]
    assert [each.end for each in fleet.paid] == ["done", *["failed"] * 4]


async def test_a_clip_of_audio_by_reference_has_times_of_the_file(
    platform: RunningPlatform, caller: Caller
) -> None:
    file = io.BytesIO()
    CodedRecording(60).write_flac(file)
    async with httpx2.AsyncClient(headers={"Authorization": platform.key}) as http:
        stored = await http.put(f"{platform.url}/objects", content=file.getvalue())
    address = stored.raise_for_status().json()["url"]
    async with simulated_workers(platform.url, platform.key, [Serving("words", variant(), 1)]):
        state = await caller.ended(
            await caller.submit({"audio": address, "clip": {"start": 10.0, "end": 12.0}})
        )
    words = [word for segment in state["output"]["segments"] for word in segment["words"]]
    assert [(word["text"], word["start"]) for word in words] == [
        ("w20", 10.05),
        ("w21", 10.55),
        ("w22", 11.05),
        ("w23.", 11.55),
    ]


async def test_the_fleet_as_a_process_of_its_own(platform: RunningPlatform, caller: Caller) -> None:
    command = [sys.executable, "-m", "fanscribe_handlers.simulated.fleet", "--url", platform.url]
    command += ["--serve", "words=simulated-transcribe*3", "--option", "pace=0.1"]
    environment = {**os.environ, "FANSCRIBE_LOCAL_KEY": platform.key}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline()) == {"workers": 3}
    state = await caller.ended(await caller.submit({"audio": span(3.0, 4.0)}))
    process.send_signal(signal.SIGTERM)
    said = json.loads(await process.stdout.readline())
    assert await process.wait() == 0
    assert words_of(state) == ["w6", "w7."]
    assert [each["end"] for each in said["paid"]] == ["done"]


async def test_real_worker_processes_of_the_family_answer_the_same() -> None:
    told = DeployedEndpoint("words", "words", variant(pace=0.5), Workers(max=1))
    with start([spec_of(told)], key="test") as running:
        async with httpx2.AsyncClient(
            base_url=running.url, headers={"Authorization": running.key}, timeout=30
        ) as http:
            caller = Caller(http)
            state = await caller.ended(await caller.submit({"audio": span(3.0, 5.0)}))
    assert words_of(state) == ["w6", "w7.", "w8", "w9"]
    assert state["output"]["engine"] == "simulated 1"
    assert state["output"]["timing"]["cold_start"]
    assert state["output"]["timing"]["inference_s"] == pytest.approx(0.5 * 0.14, abs=0.1)


@pytest.mark.parametrize(
    ("serve", "option", "told"),
    [
        ("words", "jitter=0", "--serve takes"),
        ("words=simulated-transcribe*many", "jitter=0", "--serve takes"),
        ("words=whisper-base", "jitter=0", "simulated-transcribe"),
        ("words=simulated-transcribe", "jitter", "--option takes"),
        ("words=simulated-transcribe", "speed=2", "options.speed is unknown"),
    ],
)
def test_a_wrong_option_is_named(
    serve: str, option: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", "http://127.0.0.1:9", "--serve", serve, "--option", option]) == 2
    assert told in capsys.readouterr().err


def test_a_variant_of_another_family_is_refused() -> None:
    real = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")

    async def serve() -> None:
        async with simulated_workers("http://127.0.0.1:9", "test", [Serving("words", real, 1)]):
            raise AssertionError("it served")

    with pytest.raises(ValueError, match=r"options\.simulated must be true"):
        asyncio.run(serve())
