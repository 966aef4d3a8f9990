"""The orchestrator is killed at every boundary of its work and at random moments: nothing is lost or paid twice.

The platform wipes the scratch folder of each dead worker, queues its job again, and gives it up after three deaths;
then its caller sends the same request once more, as a caller would.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.dying_orchestrator import BOUNDARIES
from tests.orchestrated import ORCHESTRATOR, SPEAKERS, WORDS, Caller, Orchestrated, orchestrated
from tests.simulated import simulated_variant

from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.simulated.recording import CodedRecording
from fanscribe_handlers.simulated.workers import SimulatedWorker

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4
SECONDS_OF_AUDIO = 100.0

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def words(rtf: float = 0.02) -> Variant:
    """A recogniser of short chunks, so that there is something left to do after each death."""
    variant = simulated_variant(rtf=rtf)
    short = variant.capabilities.model_copy(update={"max_audio_s": 25.0})
    return variant.model_copy(update={"capabilities": short})


def planned(dice: random.Random, at_random: int) -> list[str]:
    """The names of the deaths, in no order: at each boundary twice, and so many at random moments."""
    deaths = [f"{where} {times}" for where in BOUNDARIES for times in (1, _later(where))]
    deaths += [f"random {dice.uniform(0.0, 2.5):.3f}" for _ in range(at_random)]
    dice.shuffle(deaths)
    return deaths


def _later(where: str) -> int:
    """A further time at which a boundary is passed within one request; those that are passed once are tried twice."""
    return 3 if where in ("intended", "sent", "noted", "answered", "kept") else 1


@dataclass(slots=True)
class Asked:
    """One request, and what came of it."""

    number: int
    recording: CodedRecording
    body: dict[str, Any]
    submissions: int = 0
    output: OrchestratorOutput | None = None


@dataclass(slots=True)
class Scene:
    """An orchestrator that dies, and the workers behind it. `taken` counts the jobs of each child task."""

    platform: Orchestrated
    deaths: Path
    folder: Path
    taken: Counter[str]
    copies: int = 1
    asked: list[Asked] = field(default_factory=list)

    @property
    def died(self) -> list[str]:
        """The deaths that have come."""
        died = self.deaths / "died"
        return sorted(each.name for each in died.iterdir()) if died.exists() else []

    @property
    def to_come(self) -> int:
        """Deaths that no worker has claimed yet."""
        return sum(each.is_file() for each in self.deaths.iterdir())

    def caller(self, number: int) -> Caller:
        """Calls to one of the orchestrators: the platform starts a worker later and later, the more often those of
        its endpoint die one after the other.
        """
        place = number % self.copies
        name = f"{ORCHESTRATOR}-{place}" if place else ORCHESTRATOR
        return Caller(self.platform.http, self.platform.running, name)

    async def ask(self, number: int) -> Asked:
        """Send the request of this number until it has an answer. Raises when it is refused for what it is."""
        words_in_all = CodedRecording.lasting(SECONDS_OF_AUDIO).words
        recording = CodedRecording(words_in_all, first_word=1000 * number)
        file = self.folder / f"{number}.flac"
        with file.open("wb") as target:
            recording.write_flac(target)
        caller = self.caller(number)
        body: dict[str, Any] = {"audio": await caller.put(file), "model": "simulated-transcribe"}
        wishes: list[dict[str, Any]] = [{}, {"diarize": True}, {"language": "en"}]
        body |= wishes[number % 3]
        if number % 2:
            body["idempotency_key"] = f"request-{number}"
        asked = Asked(number, recording, body)
        self.asked.append(asked)
        while asked.output is None:
            asked.submissions += 1
            assert asked.submissions < 20, "it comes to no end"
            asked.output = self._read(await caller.done(await caller.run(**body), 0.1))
        return asked

    def _read(self, state: JobState) -> OrchestratorOutput | None:
        """The answer; None where the platform gave the job up because too many workers had died."""
        if state.status is JobStatus.FAILED:
            assert "the job was tried" in str(state.error), state.error
            return None
        assert state.status is JobStatus.COMPLETED, state
        return OrchestratorOutput.model_validate(state.output)

    def children(self) -> int:
        """Child jobs that wait or run."""
        endpoints = self.platform.running.status()["endpoints"]
        return sum(
            each["queued"] + each["running"] for each in endpoints if each["name"] in (WORDS, SPEAKERS)
        )

    def audit(self) -> tuple[int, int]:
        """How many child jobs were made for tasks that had one, and how many the answers say may have been."""
        twice = sum(count - 1 for count in self.taken.values())
        outputs = [each.output for each in self.asked if each.output is not None]
        return twice, sum(each.unconfirmed for each in outputs)


@asynccontextmanager
async def dying(
    folder: Path, deaths: list[str], env: Mapping[str, str], *, held: int = 1, variant: Variant | None = None
) -> AsyncIterator[Scene]:
    """A platform whose orchestrator workers, one an endpoint and `held` requests on each, die these deaths."""
    plan = folder / "deaths"
    plan.mkdir()
    for number, name in enumerate(deaths):
        (plan / f"{number:03d} {name}").touch()
    taken: Counter[str] = Counter()
    copies = -(-AT_ONCE // held)
    output = SimulatedWorker._output

    async def counted(self: SimulatedWorker, job: dict[str, Any], begun: float) -> dict[str, Any]:
        taken[f"{self._duties.endpoint} {json.dumps(job['input'], sort_keys=True)}"] += 1
        return await output(self, job, begun)

    spec = {
        "command": (sys.executable, "-m", "tests.dying_orchestrator"),
        "cwd": str(ROOT),
        "ram_bytes": 200 << 20,
        "crash_limit": 0,
    }
    settings = {"FANSCRIBE_TEST_DEATHS": str(plan), "FANSCRIBE_CONCURRENCY": str(held), **env}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedWorker, "_output", counted)
        async with orchestrated(
            words=variant or words(),
            workers=(4, 2),
            env=settings,
            spec=spec,
            copies=copies,
            data_dir=folder / "platform",
        ) as platform:
            yield Scene(platform, plan, folder, taken, copies)


async def until_all_have_come(scene: Scene) -> None:
    """Ask, several requests at a time, until every death has been claimed."""

    async def one_after_the_other(number: int) -> None:
        while scene.to_come:
            await scene.ask(number)
            number += AT_ONCE

    async with asyncio.TaskGroup() as together:
        for first in range(AT_ONCE):
            together.create_task(one_after_the_other(first))


async def check(scene: Scene, begun: float) -> None:
    """Every answer is right, whatever was paid twice is counted, and nothing goes on."""
    orphans = scene.children()
    for each in scene.asked:
        assert each.output is not None
        transcript = each.output.transcript()
        assert [word.text for word in transcript.words] == [word.text for word in each.recording.spoken()]
        assert not transcript.partial
        assert each.output.durable
        if each.body.get("diarize"):
            assert len(transcript.speakers) == 3
            assert all(word.speaker for word in transcript.words)
    twice, unconfirmed = scene.audit()
    lives = sum(1 for _ in (scene.deaths / "lives").iterdir())
    again = sum(each.submissions - 1 for each in scene.asked)
    print(
        f"{len(scene.died)} kills in {lives} lives, {len(scene.asked)} requests ({again} sent again), "
        f"{len(scene.taken)} child tasks, {twice} of them twice, {unconfirmed} unconfirmed, {orphans} left running, "
        f"{time.monotonic() - begun:.0f} s"
    )
    assert twice <= unconfirmed
    # Only a job whose id nobody ever learned can be out still, and it ends by itself.
    assert orphans <= unconfirmed
    async with asyncio.timeout(10):
        while scene.children():
            await asyncio.sleep(0.1)


async def test_no_death_loses_a_word_or_pays_twice(tmp_path: Path) -> None:
    dice, begun = random.Random(23), time.monotonic()
    deaths = planned(dice, at_random=18)
    async with dying(tmp_path, deaths, {"FANSCRIBE_RESULTS": str(tmp_path / "results")}) as scene:
        await until_all_have_come(scene)
        await check(scene, begun)
        assert len(scene.died) >= 50
        assert {name.split(" ")[1] for name in scene.died} == {*BOUNDARIES, "random"}


async def test_a_worker_that_dies_with_several_requests_in_hand(tmp_path: Path) -> None:
    dice, begun = random.Random(29), time.monotonic()
    deaths = [f"random {dice.uniform(0.3, 3.0):.3f}" for _ in range(4)]
    async with dying(tmp_path, deaths, {"FANSCRIBE_RESULTS": str(tmp_path / "results")}, held=2) as scene:
        await until_all_have_come(scene)
        await check(scene, begun)
        assert len(scene.died) >= 3


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A bucket, and the environment that names it."""
    environ = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="results")
    return environ | {"FANSCRIBE_RESULTS": "s3://results/team"}


async def test_a_bucket_will_do_as_well(tmp_path: Path, bucket: dict[str, str]) -> None:
    dice, begun = random.Random(31), time.monotonic()
    deaths = [f"{where} 1" for where in ("divided", "sent", "noted", "kept", "merged")]
    deaths += [f"random {dice.uniform(0.0, 3.0):.3f}" for _ in range(2)]
    async with dying(tmp_path, deaths, bucket) as scene:
        await until_all_have_come(scene)
        await check(scene, begun)
        assert len(scene.died) >= 6


async def test_a_request_that_is_cancelled_after_a_death_leaves_nothing_running(tmp_path: Path) -> None:
    """The second worker cancels what the first one sent."""
    results = {"FANSCRIBE_RESULTS": str(tmp_path / "results")}
    async with dying(tmp_path, ["noted 3"], results, variant=words(rtf=2.0)) as scene:
        caller = scene.platform.orchestrator
        file = tmp_path / "talk.flac"
        with file.open("wb") as target:
            CodedRecording.lasting(SECONDS_OF_AUDIO).write_flac(target)
        job_id = await caller.run(audio=await caller.put(file), model="simulated-transcribe", language="en")
        async with asyncio.timeout(60):
            while len(list((scene.deaths / "lives").glob("*"))) < 2 or not scene.died:
                await asyncio.sleep(0.1)
            sent = len(scene.taken)
            while (await caller.status(job_id)).status is not JobStatus.IN_PROGRESS:
                await asyncio.sleep(0.1)
            await asyncio.sleep(2.0)
            await caller.cancel(job_id)
            while scene.children():
                await asyncio.sleep(0.1)
        assert sent >= 3
        assert all(count == 1 for count in scene.taken.values())
