"""Progress reports and streamed segments of one request."""

import asyncio
from typing import Any

import pytest
from tests.scripted import Scene, deployed, done, span_of

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.orchestration import StreamedSegments
from fanscribe.contracts.task import Stage, TranscribeOutput
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn, Word
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe_orchestrator.clipping import moved, of_the_file
from fanscribe_orchestrator.outlet import Outlet, Repeating
from fanscribe_orchestrator.progress import TEXT_SHOWN, Account, interval_s
from fanscribe_orchestrator.streaming import Stream, batches
from fanscribe_orchestrator.telling import STREAM_CUT, Telling

HEARD_S = 100.0


def plan() -> Plan:
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    return make_plan(make_request(model=endpoint.variant.id), catalogue, Situation(duration_s=2 * HEARD_S))


def outcome(about: Plan, index: int) -> Outcome:
    """A chunk in which one word was said, five seconds from its start; its worker read it by address."""
    start = index * HEARD_S + 5.0
    word = Word(f"word{index}", start, start + 1.0)
    output = TranscribeOutput(
        text=word.text,
        language="en",
        duration=HEARD_S,
        segments=[Segment(start, start + 1.0, word.text, words=[word])],
    )
    answer = Answer(output, Scene(lambda job: done()).route())
    return Outcome(f"transcribe-{index}", about.stages[0], span_of(index), answer, None, Tally(1))


class Ears:
    """Hears what a request says."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.chunks: list[dict[str, Any]] = []
        self.outlet = Outlet(self._progress, self._chunk)

    async def _progress(self, job: dict[str, Any], said: dict[str, Any]) -> None:
        self.reports.append(said)

    async def _chunk(self, job: dict[str, Any], said: dict[str, Any]) -> None:
        self.chunks.append(said)


async def settle() -> None:
    await asyncio.sleep(0.05)


def test_the_share_never_goes_back() -> None:
    account, about = Account(), plan()
    shares = []
    steps = [
        Event("transcribe-0", Stage.TRANSCRIBE, State.RUNNING, 0.5),
        Event("prepare", Stage.PREPARE, State.PREPARING, 0.9),
        Event("transcribe-0", Stage.TRANSCRIBE, State.QUEUED, message="trying again"),
        Event("transcribe-0", Stage.TRANSCRIBE, State.RUNNING, 0.1),
        Event("transcribe-1", Stage.TRANSCRIBE, State.FAILED),
        Event("transcribe-0", Stage.TRANSCRIBE, State.DONE, 1.0),
    ]
    account.fetched(0.5)
    shares.append(account.report("").share)
    account.planned(about)
    shares.append(account.report("").share)
    for step in steps:
        account.event(step)
        shares.append(account.report("").share)
    account.merging()
    shares.append(account.report("").share)
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] < 1


def test_what_it_is_about() -> None:
    account = Account()
    assert (account.report("").phase, account.report("").stage) == ("fetching", "prepare")
    account.event(Event("diarize-0", Stage.DIARIZE, State.STARTING, message="a worker starts"))
    said = account.report("so far")
    assert (said.phase, said.stage, said.message, said.text) == (
        "loading",
        "diarize",
        "a worker starts",
        "so far",
    )
    account.event(Event("transcribe-0", Stage.TRANSCRIBE, State.RUNNING, 0.5))
    assert account.report("").phase == "running"
    account.merging()
    assert account.report("").stage == "merge"
    assert account.report("x" * 20_000 + "end").text == "x" * (TEXT_SHOWN - 3) + "end"


def test_many_requests_report_less_often_each() -> None:
    assert interval_s(1) == interval_s(10) == 0.5
    assert interval_s(200) == 4.0


async def test_reports_carry_the_text_and_stop_with_the_block() -> None:
    ears, about = Ears(), plan()
    telling = Telling({"id": "j"}, ears.outlet, lambda: 0.0)
    async with telling.begun():
        telling.planned(about)
        await settle()
        telling.settled(outcome(about, 0))
        await settle()
        telling.settled(outcome(about, 1))
        await settle()
    assert [each["text"] for each in ears.reports] == ["", "word0", "word0 word1"]
    count = len(ears.reports)
    telling.event(Event("transcribe-0", Stage.TRANSCRIBE, State.DONE, 1.0))
    await settle()
    assert len(ears.reports) == count
    assert ears.chunks == []


async def test_reports_wait_for_each_other() -> None:
    ears = Ears()
    telling = Telling({"id": "j"}, ears.outlet, lambda: 3600.0)
    async with telling.begun():
        for share in range(1, 100):
            telling.fetched(share / 100)
            await asyncio.sleep(0)
        await settle()
        assert len(ears.reports) == 1


async def test_segments_go_out_in_order_and_once() -> None:
    ears, about = Ears(), plan()
    telling = Telling({"id": "j"}, ears.outlet, lambda: 0.0, streams=True)
    transcript = Transcript(duration=200.0, segments=[])
    async with telling.begun():
        telling.planned(about)
        telling.settled(outcome(about, 1))
        await settle()
        assert ears.chunks == []
        telling.settled(outcome(about, 0))
        await settle()
        sent = [StreamedSegments.model_validate(each) for each in ears.chunks]
        transcript.segments = [segment for each in sent for segment in each.segments]
        assert [each.text for each in transcript.segments] == ["word0", "word1"]
        await telling.finish(transcript)
    last = StreamedSegments.model_validate(ears.chunks[-1])
    assert (last.segments, last.until_s) == ([], 200.0)
    assert len(ears.chunks) == len(sent) + 1


async def test_a_result_that_was_there_already_is_streamed_at_the_end() -> None:
    ears = Ears()
    stream = Stream(lambda chunk: ears.outlet.chunk({}, chunk))
    segments = [Segment(float(number), number + 1.0, f"s{number}") for number in range(3)]
    await stream.finish(Transcript(duration=3.0, segments=segments))
    (chunk,) = ears.chunks
    assert StreamedSegments.model_validate(chunk) == StreamedSegments(segments=segments, until_s=3.0)


async def test_what_contradicts_the_transcript_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    ears, about = Ears(), plan()
    telling = Telling({"id": "j"}, ears.outlet, lambda: 0.0, streams=True)
    async with telling.begun():
        telling.planned(about)
        telling.settled(outcome(about, 0))
        await settle()
        await telling.finish(Transcript(duration=200.0, segments=[Segment(0.0, 1.0, "something else")]))
    assert "segments were streamed that differ" in caplog.text
    assert "word0" not in caplog.text


def test_chunks_fit_the_platform() -> None:
    segments = [Segment(float(number), number + 1.0, "x" * 300) for number in range(50)]
    parts = list(batches(segments, limit_bytes=2000))
    assert [segment for part in parts for segment in part] == segments
    assert all(1 < len(part) <= 5 for part in parts[:-1])
    assert list(batches([Segment(0.0, 1.0, "x" * 5000)], limit_bytes=2000)) == [
        [Segment(0.0, 1.0, "x" * 5000)]
    ]
    assert list(batches([])) == []


def test_times_of_a_clip_count_from_the_start_of_the_file() -> None:
    words = [Word("hi", 0.1, 0.2)]
    transcript = Transcript(
        duration=5.0,
        segments=[Segment(0.1, 0.2, "hi", words=words)],
        turns=[Turn(0.0, 1.0, "SPEAKER_00")],
        gaps=[Gap(2.0, 3.0, "transcribe", "lost")],
        tasks=[TaskRecord("transcribe-0", "transcribe", "v", 0.0, 5.0)],
    )
    found = of_the_file(transcript, 10.0)
    assert (found.segments[0].words[0].start, found.segments[0].end) == (10.1, 10.2)
    assert (found.turns[0].end, found.gaps[0].start, found.tasks[0].end, found.duration) == (
        11.0,
        12.0,
        15.0,
        5.0,
    )
    assert words[0].start == 0.1
    assert of_the_file(transcript, 0.0) is transcript
    assert moved(transcript.segments, 10.0) == found.segments


async def test_a_turn_under_way_is_not_cut_off_by_rest() -> None:
    begun, ended = asyncio.Event(), []

    async def work() -> float:
        begun.set()
        await asyncio.sleep(0.02)
        ended.append(1)
        return 0.0

    async with Repeating(work) as repeating:
        repeating.stir()
        await begun.wait()
        repeating.stir()
        await repeating.rest()
        assert ended == [1]
        await settle()
    assert ended == [1]


async def test_what_fails_in_a_turn_fails_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []

    async def work() -> float:
        turns.append(1)
        if len(turns) == 1:
            raise RuntimeError("broken")
        return 0.0

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    async with Repeating(work, at_once) as repeating:
        for _ in range(2):
            repeating.stir()
            await settle()
    assert len(turns) == 2
    assert "could not be made" in caplog.text


@pytest.mark.parametrize(("streams", "said"), [(True, STREAM_CUT), (False, None)])
async def test_a_platform_that_takes_nothing_is_not_waited_for_beyond_the_deadline(
    streams: bool, said: str | None
) -> None:
    async def silent(job: dict[str, Any], report: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    telling = Telling({"id": "j"}, Outlet(silent, silent), lambda: 0.0, streams=streams)
    async with asyncio.timeout(5), telling.begun():
        telling.planned(plan())
        await settle()
        assert await telling.finish(Transcript(duration=1.0, segments=[]), within_s=0.01) == said


async def test_a_cancellation_while_the_last_report_ends_is_not_lost() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> float:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
        return 0.0

    async def request() -> str:
        async with Repeating(work) as repeating:
            repeating.stir()
            await begun.wait()
        return "as if nothing had been"

    task = asyncio.create_task(request())
    await begun.wait()
    await settle()
    task.cancel()
    await settle()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
