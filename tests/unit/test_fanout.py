"""The fan-out on a scripted platform: the language of the whole, halves, and that no span is without an end."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.scripted import Reply, Scene, ScriptedJob, Timeline, deployed, done, failed, forever, span_of

from fanscribe import endpoint as endpoint_module
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import AudioError, AuthenticationError, ErrorCode, TaskFailedError
from fanscribe.contracts.task import TranscribeOutput
from fanscribe.pipeline.coverage import tiles
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.fanout import FanOut
from fanscribe.pipeline.language import LanguageVote
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, StagePlan, make_plan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import Supplied
from fanscribe.results import ResultStore
from fanscribe.results.folder import FolderResults

CHUNKS = 6
HEARD_S = 100.0


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats of one HTTP call follow at once."""
    monkeypatch.setattr(endpoint_module, "_backoff", lambda state: 0.0)


class Run:
    """One fan-out of a plan with a single stage, whose spans are all there at once."""

    def __init__(
        self,
        script: Callable[[ScriptedJob], Timeline],
        *,
        workers: int = 2,
        store: ResultStore | None = None,
        on_run: Callable[[int], Reply] = lambda number: None,
        vote: LanguageVote | None = None,
        **options: Any,
    ) -> None:
        self.scene = Scene(script, store=store, on_run=on_run)
        endpoint = deployed(workers=workers)
        catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
        request = make_request(model=endpoint.variant.id, **options)
        self.plan: Plan = make_plan(request, catalogue, Situation(duration_s=CHUNKS * HEARD_S))
        self.stage: StagePlan = self.plan.stages[0]
        self.decided: list[str] = []
        self.vote = vote or LanguageVote(request.language)
        platform = Platform(self.scene.http, "http://p/v2", "k", "local", results=store)
        self.fan_out = FanOut(
            self.plan, platform, self.scene.means, {None: self.vote}, "talk", Path(), self._decide
        )

    async def _decide(self, stage: StagePlan, language: str) -> None:
        assert self.vote.decided is None or stage is self.stage
        self.decided.append(language)

    async def supplying(self, spans: Sequence[Span] | None = None) -> Supplied:
        for each in spans or [span_of(index) for index in range(CHUNKS)]:
            self.fan_out.given([self.stage], each)
        return Supplied(CHUNKS * HEARD_S, ())

    async def outcomes(self) -> list[Outcome]:
        await self.scene.time.run(self.fan_out.run(self.supplying()))
        return sorted(self.fan_out.outcomes, key=lambda each: each.span.chunk.start)

    def asked(self) -> list[str | None]:
        """The languages of the jobs, in their order."""
        return [each.input.get("language") for each in self.scene.platform.jobs]


def index_of(job: ScriptedJob) -> int:
    return round(float(job.input["clip"]["start"]) / HEARD_S)


def heard(*languages: str, speech_s: float = 12.0) -> Callable[[ScriptedJob], Timeline]:
    """Workers that hear these languages in the chunks, and write in the one that they are told."""

    def script(job: ScriptedJob) -> Timeline:
        index = index_of(job)
        language = job.input.get("language") or languages[index]
        return done(language=language, text=f"{language}{index}", speech_s=speech_s)

    return script


async def test_the_language_is_decided_once_and_passed_on() -> None:
    run = Run(heard(*["de"] * CHUNKS))
    outcomes = await run.outcomes()
    assert run.decided == ["de"]
    # Three may be out at once; two answers with twelve seconds of speech each decide.
    assert run.asked()[:3] == [None] * 3
    assert run.asked()[4:] == ["de"] * (CHUNKS - 4)
    assert len(run.scene.platform.jobs) == CHUNKS
    assert {each.answer.output.language for each in outcomes if each.answer} == {"de"}  # type: ignore[attr-defined]


async def test_a_chunk_in_another_language_is_done_again() -> None:
    run = Run(heard("fr", *["de"] * (CHUNKS - 1)))
    outcomes = await run.outcomes()
    texts = [each.answer.output.text for each in outcomes if each.answer]  # type: ignore[attr-defined]
    assert texts == [f"de{index}" for index in range(CHUNKS)]
    assert len(run.scene.platform.jobs) == CHUNKS + 1
    again = run.scene.platform.jobs[-1]
    assert (index_of(again), again.input["language"]) == (0, "de")
    assert outcomes[0].tally.attempts == 2, "both jobs are told of"


async def test_what_cannot_be_done_again_stays_as_it_was() -> None:
    first = heard("fr", *["de"] * (CHUNKS - 1))

    def script(job: ScriptedJob) -> Timeline:
        refused = index_of(job) == 0 and job.input.get("language")
        return failed(ErrorCode.MODEL_ERROR, retryable=False) if refused else first(job)

    outcomes = await Run(script).outcomes()
    assert [each.error for each in outcomes] == [None] * CHUNKS
    answer = outcomes[0].answer
    assert answer is not None
    assert isinstance(answer.output, TranscribeOutput)
    assert answer.output.text == "fr0"


async def test_silence_is_not_done_again() -> None:
    speech = heard(*["de"] * CHUNKS)

    def script(job: ScriptedJob) -> Timeline:
        return done(language="ru", text="") if index_of(job) == 1 else speech(job)

    run = Run(script)
    await run.outcomes()
    assert len(run.scene.platform.jobs) == CHUNKS


async def test_a_language_that_is_named_is_not_questioned() -> None:
    run = Run(heard(*["fr"] * CHUNKS), language="de")
    await run.outcomes()
    assert run.asked() == ["de"] * CHUNKS
    assert run.decided == []


async def test_little_speech_decides_at_the_end() -> None:
    run = Run(heard("de", "de", "fr", "de", "de", "de", speech_s=2.0))
    await run.outcomes()
    assert run.decided == ["de"]
    assert run.asked() == [None] * CHUNKS + ["de"]


async def test_a_later_run_pays_nothing_whatever_was_asked_in_which_language(tmp_path: Path) -> None:
    store = FolderResults(tmp_path)
    script = heard("fr", *["de"] * (CHUNKS - 1))
    before = await Run(script, store=store).outcomes()
    again = Run(script, store=store, vote=LanguageVote("de"))  # what the first run decided, and kept
    after = await again.outcomes()
    assert again.scene.platform.jobs == []
    assert all(each.tally.reused for each in after)
    answers = [[each.answer.output for each in run if each.answer] for run in (before, after)]
    assert answers[0] == answers[1]


async def test_a_refused_key_ends_everything_at_once() -> None:
    run = Run(heard(*["de"] * CHUNKS), on_run=lambda number: httpx2.Response(401))
    with pytest.raises(AuthenticationError):
        await run.outcomes()
    assert run.scene.platform.submissions <= 3


async def test_a_fault_of_all_tasks_ends_those_under_way() -> None:
    def script(job: ScriptedJob) -> Timeline:
        refused = failed(ErrorCode.MODEL_MISSING, retryable=False)
        return refused if index_of(job) == 0 else forever()

    run = Run(script)
    with pytest.raises(TaskFailedError, match="MODEL_MISSING"):
        await run.outcomes()
    assert run.scene.platform.left == []


async def test_a_fault_of_one_task_is_its_own() -> None:
    good = heard(*["de"] * CHUNKS)

    def script(job: ScriptedJob) -> Timeline:
        broken = failed(ErrorCode.AUDIO_UNREADABLE, retryable=False)
        return broken if index_of(job) == 1 else good(job)

    outcomes = await Run(script).outcomes()
    assert [each.error is not None for each in outcomes] == [False, True, False, False, False, False]


@pytest.mark.parametrize("workers", [1, 2])
async def test_halves_need_no_second_slot(workers: int) -> None:
    """With room for one job at a time, too: a task lets go of its slot before its halves ask for one."""

    def script(job: ScriptedJob) -> Timeline:
        clip = job.input["clip"]
        too_long = clip["end"] - clip["start"] > 60.0
        return failed(ErrorCode.OUT_OF_MEMORY, retryable=False) if too_long else done(speech_s=30.0)

    run = Run(script, workers=workers)
    outcomes = await run.outcomes()
    assert [each.id[-1] for each in outcomes] == ["a", "b"] * CHUNKS
    assert tiles([each.span.chunk for each in outcomes], CHUNKS * HEARD_S)


async def test_halving_has_an_end() -> None:
    run = Run(lambda job: failed(ErrorCode.OUT_OF_MEMORY, retryable=False))
    outcomes = await run.outcomes()
    assert tiles([each.span.chunk for each in outcomes], CHUNKS * HEARD_S)
    lengths = [each.span.chunk.end - each.span.chunk.start for each in outcomes]
    assert 5.0 <= min(lengths) <= max(lengths) < 10.0
    assert all(isinstance(each.error, TaskFailedError) for each in outcomes)


async def test_when_the_supply_breaks_everything_stops() -> None:
    run = Run(lambda job: forever())

    async def breaking() -> Supplied:
        await run.supplying([span_of(0), span_of(1)])
        await run.scene.time.sleep(5.0)
        raise AudioError("talk: cannot be read beyond 200 s")

    with pytest.raises(AudioError, match="cannot be read"):
        await run.scene.time.run(run.fan_out.run(breaking()))
    assert len(run.scene.platform.jobs) == 2
    assert run.scene.platform.left == []


async def test_a_span_too_few_or_too_many_is_noticed() -> None:
    for spans in ([0, 1, 2, 4, 5], [0, 1, 2, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]):
        run = Run(heard(*["de"] * CHUNKS))
        with pytest.raises(AssertionError, match="a span has no outcome, or more than one"):
            await run.scene.time.run(run.fan_out.run(run.supplying([span_of(each) for each in spans])))


async def test_never_more_jobs_are_out_than_the_limit_says() -> None:
    out: list[int] = []

    def script(job: ScriptedJob) -> Timeline:
        out.append(len(run.scene.platform.left))
        return done(language="de")

    run = Run(script, workers=2)
    await run.outcomes()
    assert max(out) < 3


def test_what_tiles() -> None:
    ones = [Chunk(0, 0.0, 1.0, 0.0, 1.5), Chunk(1, 1.0, 2.5, 0.5, 2.5)]
    assert tiles(ones[::-1], 2.5)
    assert not tiles(ones, 2.6)
    assert not tiles(ones[:1], 2.5)
    assert not tiles([], 0.0)


async def test_leaving_waits_for_the_jobs_to_be_stopped() -> None:
    run = Run(lambda job: forever())

    async def leave() -> None:
        running = asyncio.ensure_future(run.fan_out.run(run.supplying()))
        await run.scene.time.sleep(4.0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    await run.scene.time.run(leave())
    assert len(run.scene.platform.jobs) == 3
    assert run.scene.platform.left == []
