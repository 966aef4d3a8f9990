"""What one run leaves for the next: answers, the engine that gave them, jobs under way, divisions."""

import asyncio
from pathlib import Path

import pytest
from tests.scripted import deployed, output

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.contracts.task import DiarizeResult, Stage, TaskInput, TranscribeInput, TranscribeOutput
from fanscribe.pipeline.cuts import Cut
from fanscribe.pipeline.kept import JOB_LIFE_S, SETTLING_S, Identity, Kept, KnownDivision
from fanscribe.results import cuts_key
from fanscribe.results.folder import FolderResults

ABOUT = {"stage": "transcribe"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def at_once(seconds: float) -> None:
    """A sleep that is over already."""


@pytest.fixture
def store(tmp_path: Path) -> FolderResults:
    return FolderResults(tmp_path)


def identity(
    digest: str = "a" * 64, endpoint: DeployedEndpoint | None = None, **parameters: object
) -> Identity:
    task: TaskInput = TranscribeInput.model_validate({"audio": "data:,", **parameters})
    return Identity(digest, Stage.TRANSCRIBE, endpoint or deployed(), task)


def answer(**about: object) -> TranscribeOutput:
    return TranscribeOutput.model_validate(output(**about))  # type: ignore[arg-type]


async def test_an_answer_comes_back_as_it_was(store: FolderResults) -> None:
    await Kept(store).keep(identity(), answer(text="hello"))
    assert await Kept(store).answer(identity()) == answer(text="hello")


@pytest.mark.parametrize(
    "other",
    [
        identity("b" * 64),
        identity(language="de"),
        identity(prompt="names"),
        identity(endpoint=deployed("other")),
    ],
    ids=["sound", "language", "prompt", "an endpoint whose engine is not known"],
)
async def test_another_task_has_another_answer(store: FolderResults, other: Identity) -> None:
    await Kept(store).keep(identity(), answer())
    assert await Kept(store).answer(other) is None


async def test_an_answer_without_the_speakers_that_were_asked_for_is_not_kept(store: FolderResults) -> None:
    asked = identity(diarize=True)
    await Kept(store).keep(asked, answer(text="hello"))
    assert await Kept(store).answer(asked) is None, "the diarizer may do better next time"
    found = DiarizeResult(segments=[], exclusive_segments=[], num_speakers=0, duration=1.0)
    await Kept(store).keep(asked, answer(text="hello", diarization=found))
    assert await Kept(store).answer(asked) == answer(text="hello", diarization=found)


async def test_where_the_audio_lies_makes_no_difference(store: FolderResults) -> None:
    await Kept(store).keep(identity(), answer())
    elsewhere = identity(audio="https://example.org/a.flac", clip={"start": 5.0, "end": 9.0}, channel=1)
    assert await Kept(store).answer(elsewhere) is not None


async def test_an_engine_of_another_version_is_asked_anew(store: FolderResults) -> None:
    kept = Kept(store)
    await kept.keep(identity(), answer(engine="whisper 1"))
    await kept.keep(identity("b" * 64), answer(engine="whisper 2"))
    assert await kept.answer(identity()) is None
    assert await Kept(store).answer(identity()) is None
    assert await Kept(store).answer(identity("b" * 64)) is not None


async def test_what_was_damaged_is_as_if_it_were_not(store: FolderResults) -> None:
    await Kept(store).keep(identity(), answer())
    key = identity().answer_key("scripted 1")
    for broken in ({}, {"output": {"text": 1}}, {"output": None}):
        store.put(key, broken)
        assert await Kept(store).answer(identity()) is None
    store.put(identity().job_key, {"jobs": [{"no": "job"}]})
    assert await Kept(store).jobs(identity()) == []
    for wrong in ({}, {"cuts": 7}, {"cuts": [{"at_s": 5.0}, {"at_s": 2.0}]}):
        store.put(cuts_key("d", ABOUT), wrong)
        assert (await Kept(store).division("d", ABOUT) or KnownDivision()) == KnownDivision()


async def test_with_no_store_nothing_is_kept() -> None:
    kept = Kept(None)
    await kept.keep(identity(), answer())
    await kept.intend(identity())
    await kept.submitted(identity(), "j1")
    await kept.withdrawn(identity())
    await kept.keep_division("d", ABOUT, KnownDivision([]))
    assert not kept.active
    assert await kept.answer(identity()) is None
    assert await kept.division("d", ABOUT) is None
    assert list(await kept.jobs(identity())) == []


class TestJobs:
    """The journal of the jobs of a task."""

    async def ids(self, store: FolderResults, clock: Clock | None = None) -> list[str]:
        return [each.job_id for each in await Kept(store, clock or Clock(), at_once).jobs(identity())]

    async def test_an_intention_gets_its_id(self, store: FolderResults) -> None:
        kept = Kept(store, Clock(), at_once)
        await kept.intend(identity())
        assert await self.ids(store) == [""]
        await kept.submitted(identity(), "j1")
        await kept.submitted(identity(), "j1")
        assert await self.ids(store) == ["j1"]

    async def test_an_id_that_is_about_to_come_is_waited_for(self, store: FolderResults) -> None:
        other = Kept(store, Clock(), at_once)
        await other.intend(identity())
        waits = []

        async def meanwhile(seconds: float) -> None:
            waits.append(seconds)
            await other.submitted(identity(), "j1")

        ours = Kept(store, Clock(), meanwhile)
        assert [each.job_id for each in await ours.jobs(identity())] == ["j1"]
        assert waits == [SETTLING_S]

    async def test_what_was_not_taken_is_no_job(self, store: FolderResults) -> None:
        kept = Kept(store, Clock(), at_once)
        await kept.intend(identity())
        await kept.submitted(identity(), "j1")
        await kept.intend(identity())
        await kept.withdrawn(identity())
        await kept.withdrawn(identity())
        assert await self.ids(store) == ["j1"]

    async def test_two_beside_each_other_leave_no_open_fate(self, store: FolderResults) -> None:
        kept = Kept(store, Clock(), at_once)
        await asyncio.gather(kept.intend(identity()), kept.intend(identity()))
        await asyncio.gather(kept.submitted(identity(), "j1"), kept.submitted(identity(), "j2"))
        assert sorted(await self.ids(store)) == ["j1", "j2"]

    async def test_a_third_run_knows_of_the_first_ones(self, store: FolderResults) -> None:
        first = Kept(store, Clock(), at_once)
        await first.intend(identity())
        second = Kept(store, Clock(), at_once)
        assert [each.job_id for each in await second.jobs(identity())] == [""]
        await second.intend(identity())
        await second.submitted(identity(), "j2")
        assert await self.ids(store) == ["", "j2"]

    async def test_an_equal_task_of_the_same_run_shares_the_job_and_worries_not(
        self, store: FolderResults
    ) -> None:
        kept = Kept(store, Clock(), at_once)
        await kept.jobs(identity())
        await kept.intend(identity())
        assert list(await kept.jobs(identity())) == []
        await kept.submitted(identity(), "j1")
        assert [each.job_id for each in await kept.jobs(identity())] == ["j1"]

    async def test_old_ones_are_forgotten(self, store: FolderResults) -> None:
        clock = Clock()
        kept = Kept(store, clock, at_once)
        await kept.intend(identity())
        clock.now += JOB_LIFE_S + 1
        assert await self.ids(store, clock) == []

    async def test_jobs_of_another_language_are_others(self, store: FolderResults) -> None:
        kept = Kept(store, Clock(), at_once)
        await kept.intend(identity(language="de"))
        assert await self.ids(store) == []


async def test_a_division_comes_back(store: FolderResults) -> None:
    division = KnownDivision([Cut(10.5), Cut(30.0, 1.5)], "de", (10.0, 20.0, 5.0))
    await Kept(store).keep_division("d", ABOUT, division)
    assert await Kept(store).division("d", ABOUT) == division
    assert await Kept(store).division("e", ABOUT) is None
    assert await Kept(store).division("d", {"stage": "diarize"}) is None
