"""Requests that come again, and results that are too large, through the whole handler: child jobs are counted."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulated import Stage as Scene
from tests.simulated import simulated_stage, simulated_variant, spoken

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe.large_results import read_result
from fanscribe.results import LearnedFactors
from fanscribe.results.folder import FolderResults
from fanscribe_handlers.simulated.recording import CodedRecording
from fanscribe_orchestrator import oversize
from fanscribe_orchestrator.handler import Orchestrator
from fanscribe_orchestrator.places import Place
from fanscribe_orchestrator.settings import Settings

pytestmark = pytest.mark.timeout(120)

MODEL = "simulated-transcribe"


@dataclass(slots=True)
class Desk:
    """Orchestrator workers before simulated children; each call of `worker` is another one."""

    scene: Scene
    place: Place

    def worker(self) -> Orchestrator:
        """A worker that has just been started."""
        settings = Settings(
            base_url=self.scene.platform.base_url,
            api_key="test",
            catalogue=self.scene.catalogue,
            allowed_origins=(self.scene.running.url,),
        )
        platform = replace(self.scene.platform, results=self.place.store, learned=self.place.learned)
        return Orchestrator(settings, platform, place=self.place)

    @property
    def paid(self) -> int:
        """Child jobs so far."""
        return len(self.scene.fleet.paid)


@asynccontextmanager
async def desk(folder: Path, **options: Any) -> AsyncIterator[Desk]:
    place = Place(FolderResults(folder / "results"), True, LearnedFactors(folder / "learned.json"))
    async with simulated_stage(**options) as scene:
        yield Desk(scene, place)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[CodedRecording, str]:
    """A minute of coded words, as a data URI."""
    recording, file = spoken(60.0, tmp_path_factory.mktemp("coded"))
    return recording, "data:audio/flac;base64," + base64.b64encode(file.read_bytes()).decode()


async def asked(orchestrator: Orchestrator, audio: str, job_id: str = "job", **fields: Any) -> dict[str, Any]:
    return await orchestrator.handle({"id": job_id, "input": {"audio": audio, "model": MODEL, **fields}})


def told(output: dict[str, Any]) -> list[str]:
    return [word.text for word in OrchestratorOutput.model_validate(output).transcript().words]


def refused(output: dict[str, Any]) -> TaskError:
    return TaskError.model_validate_json(output["error"])


async def test_a_repeat_makes_no_child_job(talk: tuple[CodedRecording, str], tmp_path: Path) -> None:
    recording, audio = talk
    async with desk(tmp_path) as desk_:
        first = await asked(desk_.worker(), audio, idempotency_key="a")
        made = desk_.paid
        again = await asked(desk_.worker(), audio, idempotency_key="a")
        by_content = await asked(desk_.worker(), audio)
        subtitles = await asked(desk_.worker(), audio, response_format="srt")
        assert desk_.paid == made > 0
        assert told(first) == [each.text for each in recording.spoken()]
        assert (first["durable"], first["replayed"]) == (True, False)
        for each in (again, by_content):
            assert each == first | {"replayed": True}
        assert subtitles["text"].startswith("1\n00:00:00")
        assert (subtitles["durable"], subtitles["replayed"]) == (True, True)
        other = await asked(desk_.worker(), audio, idempotency_key="a", language="en")
        assert refused(other).code is ErrorCode.INVALID_INPUT
        assert "idempotency_key" in refused(other).message
        assert desk_.paid == made
        anew = await asked(desk_.worker(), audio, cache=False)
        assert desk_.paid == 2 * made
        assert (told(anew), anew["durable"], anew["replayed"]) == (told(first), False, False)


async def test_two_at_once_share_the_work(talk: tuple[CodedRecording, str], tmp_path: Path) -> None:
    _, audio = talk
    async with desk(tmp_path, words=simulated_variant(rtf=0.02)) as desk_:
        alone = await asked(desk_.worker(), audio, cache=False)
        made, worker = desk_.paid, desk_.worker()
        outputs = await asyncio.gather(
            *(asked(worker, audio, f"job-{n}", idempotency_key="a") for n in range(4))
        )
        assert desk_.paid == 2 * made
        assert sorted(each["replayed"] for each in outputs) == [False, True, True, True]
        assert all(told(each) == told(alone) for each in outputs)


async def test_a_further_wish_pays_for_the_rest_only(
    talk: tuple[CodedRecording, str], tmp_path: Path
) -> None:
    _, audio = talk
    async with desk(tmp_path) as desk_:
        await asked(desk_.worker(), audio)
        made = desk_.paid
        spoken_by = await asked(desk_.worker(), audio, diarize=True)
        assert desk_.paid == made + 1
        assert len(spoken_by["speakers"]) == 3
        assert [each["reused"] for each in spoken_by["tasks"] if each["stage"] == "transcribe"] == [
            True
        ] * made


async def test_the_same_part_of_the_same_file_is_the_same(
    talk: tuple[CodedRecording, str], tmp_path: Path
) -> None:
    recording, audio = talk
    clip = {"start": 0.0, "end": 30.0}
    async with desk(tmp_path) as desk_:
        first = await asked(desk_.worker(), audio, clip=clip)
        made = desk_.paid
        again = await asked(desk_.worker(), audio, clip=clip)
        assert again == first | {"replayed": True}
        assert desk_.paid == made
        assert (
            told(first) == [each.text for each in recording.spoken() if each.end <= 30.0][: len(told(first))]
        )


async def test_without_a_place_the_answer_says_so(talk: tuple[CodedRecording, str], tmp_path: Path) -> None:
    _, audio = talk
    async with desk(tmp_path) as desk_:
        desk_.place = Place()
        output = await asked(desk_.worker(), audio, idempotency_key="a")
        assert output["durable"] is False
        assert any("keeps no results" in each for each in output["warnings"])


async def test_a_large_result_is_made_to_fit(
    talk: tuple[CodedRecording, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, audio = talk
    async with desk(tmp_path) as desk_:
        whole = await asked(desk_.worker(), audio)
        size = len(json.dumps(whole))
        monkeypatch.setattr(oversize, "RUN_LIMIT_BYTES", size // 2)
        small = await asked(desk_.worker(), audio)
        assert len(json.dumps({"output": small})) < size // 2
        assert "text" not in small
        assert "more than the" in small["warnings"][-1]
        assert told(read_result(small)) == told(whole) == [each.text for each in recording.spoken()]


async def test_what_is_certain_to_be_too_large_is_refused_before_any_job(
    talk: tuple[CodedRecording, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, audio = talk
    async with desk(tmp_path) as desk_:
        monkeypatch.setattr(oversize, "RUN_LIMIT_BYTES", 1_000)
        error = refused(await asked(desk_.worker(), audio))
        assert error.code is ErrorCode.RESULT_TOO_LARGE
        assert not error.retryable
        assert "FANSCRIBE_OUTPUTS" in error.message
        assert desk_.paid == 0
