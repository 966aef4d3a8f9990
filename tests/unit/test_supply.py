"""From a recording to spans: decoded once, shared where it can be, cut again where it must be."""

import asyncio
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.scripted import deployed
from tests.simulated import spoken

from fanscribe import media
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import AudioError, FanscribeError
from fanscribe.contracts.task import Stage
from fanscribe.pipeline.coverage import tiles
from fanscribe.pipeline.cuts import Chunk, Cut
from fanscribe.pipeline.division import Bounds
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.plan import StagePlan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import Lane, Supplied, halved, lanes_of, recut, referenced, supply
from fanscribe_handlers.simulated.coded import listen
from fanscribe_handlers.simulated.recording import CodedRecording


def stage(
    *sizes_s: float, kind: Stage = Stage.TRANSCRIBE, channel: int | None = None, longest_s: float = 600.0
) -> StagePlan:
    """A stage that is divided like this."""
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    plan = make_plan(make_request(model=endpoint.variant.id), catalogue, Situation(duration_s=sum(sizes_s)))
    planned = plan.stages[0]
    return replace(
        planned,
        stage=kind,
        channel=channel,
        bounds=Bounds(longest_s, 5.0),
        division=replace(planned.division, sizes_s=sizes_s),
    )


class Given:
    """Takes the spans and notes whom they are for."""

    def __init__(self) -> None:
        self.spans: list[tuple[list[str], Span]] = []
        self.events: list[Event] = []

    def __call__(self, stages: Sequence[StagePlan], span: Span) -> None:
        self.spans.append(([each.id for each in stages], span))

    def of(self, stage: StagePlan) -> list[Span]:
        return [span for names, span in self.spans if stage.id in names]


async def supplied(file: Path, folder: Path, lanes: list[Lane]) -> tuple[Given, Supplied]:
    given = Given()
    return given, await supply(file, file.name, lanes, folder, given, given.events.append)


def words(span: Span) -> list[int]:
    """The numbers of the words that a span's file holds."""
    assert span.file is not None
    with media.opened(span.file, "span") as recording:
        samples = np.concatenate([block[0] for block in media.blocks(recording)])
    return [each.index for each in listen(samples) if each.recognised]


def test_stages_that_are_not_cut_share_a_lane() -> None:
    whole, speakers, parts = stage(60.0), stage(60.0, kind=Stage.DIARIZE), stage(30.0, 30.0)
    assert [each.stages for each in lanes_of([whole, speakers], {})] == [[whole, speakers]]
    assert [each.name for each in lanes_of([speakers, parts], {})] == ["diarize", "transcribe"]
    left, right = stage(60.0, channel=0), stage(60.0, channel=1)
    assert len(lanes_of([left, right], {})) == 2


def test_known_cuts_take_the_place_of_wanted_ones() -> None:
    parts, speakers = stage(30.0, 30.0), stage(60.0, kind=Stage.DIARIZE)
    lanes = lanes_of([speakers, parts], {"transcribe": [], "diarize": [Cut(30.0, 15.0)]})
    assert [(each.name, each.known) for each in lanes] == [("diarize", [Cut(30.0, 15.0)]), ("transcribe", [])]
    (shared,) = lanes_of([speakers, parts], {"transcribe": [], "diarize": []})
    assert shared.name == "diarize+transcribe"
    (unsure,) = lanes_of([replace(speakers, certain=False)], {})
    assert unsure.known is None


async def test_every_word_is_in_one_of_the_spans(tmp_path: Path) -> None:
    recording, file = spoken(90.0, tmp_path, pause_s=0.4)
    (lane,) = lanes_of([stage(30.0, 30.0, 30.0)], {})
    given, about = await supplied(file, tmp_path, [lane])
    spans = [span for _, span in given.spans]
    assert about == Supplied(recording.duration_s, ())
    assert tiles([each.chunk for each in spans], about.duration_s)
    assert len(lane.cuts) == len(spans) - 1 == 2
    heard = [word for each in spans for word in words(each)]
    assert sorted(set(heard)) == list(range(recording.words))
    if all(cut.overlap_s == 0 for cut in lane.cuts):
        assert len(heard) == recording.words
    assert given.events[-1].state is State.DONE
    shares = [each.share for each in given.events]
    assert shares == sorted(shares)


async def test_known_cuts_give_the_same_spans(tmp_path: Path) -> None:
    _, file = spoken(90.0, tmp_path)
    lanes = lanes_of([stage(20.0, 40.0, 30.0), stage(50.0, 40.0, kind=Stage.DIARIZE)], {})
    first, _ = await supplied(file, tmp_path, lanes)
    known = {each.stages[0].id: each.cuts for each in lanes}
    other = [stage(90.0), stage(30.0, 30.0, 30.0, kind=Stage.DIARIZE)]
    again, _ = await supplied(file, tmp_path, lanes_of(other, known))
    for kind in other:
        before, after = first.of(kind), again.of(kind)
        assert [(each.chunk, each.digest) for each in before] == [(each.chunk, each.digest) for each in after]


async def test_one_file_serves_both_stages(tmp_path: Path) -> None:
    _, file = spoken(20.0, tmp_path)
    both = [stage(20.0), stage(20.0, kind=Stage.DIARIZE)]
    given, _ = await supplied(file, tmp_path, lanes_of(both, {}))
    assert [names for names, _ in given.spans] == [["transcribe", "diarize"]]


async def test_each_channel_has_its_own_words(tmp_path: Path) -> None:
    left, right = CodedRecording(40), CodedRecording(40, first_word=1000)
    file = tmp_path / "two.wav"
    with wave.open(str(file), "wb") as target:
        target.setnchannels(2)
        target.setsampwidth(2)
        target.setframerate(16_000)
        pair = np.stack([left.pcm(0, left.samples), right.pcm(0, right.samples)], axis=1)
        target.writeframes(pair.astype("<i2").tobytes())
    lanes = lanes_of([stage(20.0, channel=0), stage(20.0, channel=1)], {})
    given, _ = await supplied(file, tmp_path, lanes)
    found = {span.channel: words(span) for _, span in given.spans}
    assert found == {0: list(range(40)), 1: list(range(1000, 1040))}
    with pytest.raises(AudioError, match="has 2 channels, fewer than"):
        await supplied(file, tmp_path, lanes_of([stage(20.0, channel=2)], {}))


async def test_a_full_disk_is_said(tmp_path: Path) -> None:
    _, file = spoken(20.0, tmp_path)
    with pytest.raises(FanscribeError, match="make room there, or set TMPDIR"):
        await supplied(file, tmp_path / "is" / "not", lanes_of([stage(20.0)], {}))


async def test_what_is_no_audio_is_said(tmp_path: Path) -> None:
    file = tmp_path / "talk.mp3"
    file.write_text("no audio at all")
    with pytest.raises(AudioError, match=r"talk\.mp3"):
        await supplied(file, tmp_path, lanes_of([stage(20.0)], {}))


async def test_leaving_stops_the_decoding(tmp_path: Path) -> None:
    _, file = spoken(600.0, tmp_path)
    given = Given()
    lanes = lanes_of([stage(*[10.0] * 60)], {})
    running = asyncio.ensure_future(supply(file, "talk", lanes, tmp_path, given, given.events.append))
    while not given.spans:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    count = len(list(tmp_path.glob("transcribe-*")))
    assert count < 60
    await asyncio.sleep(0.05)
    assert len(list(tmp_path.glob("transcribe-*"))) == count


class TestHalves:
    """A span that is too much for a worker."""

    async def test_they_keep_the_outer_borders_and_every_word(self, tmp_path: Path) -> None:
        _, file = spoken(90.0, tmp_path)
        given, _ = await supplied(file, tmp_path, lanes_of([stage(30.0, 30.0, 30.0)], {}))
        span = given.spans[1][1]
        halves = await recut(span, "talk", tmp_path, "half")
        assert [each.number for each in halves] == ["1a", "1b"]
        first, second = (each.chunk for each in halves)
        assert (first.start, second.end) == (span.chunk.start, span.chunk.end)
        assert (first.heard_start, second.heard_end) == (span.chunk.heard_start, span.chunk.heard_end)
        assert first.end == second.start
        assert sorted({word for each in halves for word in words(each)}) == words(span)
        assert span.file is not None
        assert span.file.exists()
        quarters = [part for each in halves for part in await recut(each, "talk", tmp_path, each.number)]
        assert [each.number for each in quarters] == ["1aa", "1ab", "1ba", "1bb"]
        assert sorted({word for each in quarters for word in words(each)}) == words(span)

    @pytest.mark.parametrize("owned", [(15.0, 25.0), (0.0, 10.0), (25.0, 35.0)])
    async def test_the_cut_lies_inside_of_what_is_owned(
        self, tmp_path: Path, owned: tuple[float, float]
    ) -> None:
        """A diarization chunk hears much more than it owns."""
        recording, file = spoken(35.0, tmp_path)
        chunk = Chunk(1, *owned, 0.0, recording.duration_s)
        halves = await recut(Span(chunk, None, "d", file, 1), "talk", tmp_path, "half")
        assert len(halves) == 2
        assert owned[0] + 1 < halves[0].chunk.end < owned[1] - 1

    async def test_two_stages_may_halve_one_span(self, tmp_path: Path) -> None:
        _, file = spoken(40.0, tmp_path)
        given, _ = await supplied(
            file, tmp_path, lanes_of([stage(40.0), stage(40.0, kind=Stage.DIARIZE)], {})
        )
        span = given.spans[0][1]
        ones = await recut(span, "talk", tmp_path, "transcribe-0-half")
        others = await recut(span, "talk", tmp_path, "diarize-0-half")
        assert not {each.file for each in ones} & {each.file for each in others}

    def test_those_of_an_address_overlap(self) -> None:
        span = Span(Chunk(2, 10.0, 20.0, 8.5, 21.5), 1, "d" * 64, address="https://example.org/a", whole=True)
        first, second = halved(span, 1.5)
        assert (first.chunk, second.chunk) == (
            Chunk(2, 10.0, 15.0, 8.5, 16.5),
            Chunk(2, 15.0, 20.0, 13.5, 21.5),
        )
        assert (first.number, second.number) == ("2a", "2b")
        assert len({span.digest, first.digest, second.digest}) == 3
        assert not first.whole


def test_spans_that_workers_read_themselves() -> None:
    parts = replace(stage(30.0, 30.0, 30.0), by_reference=True)
    spans = list(referenced(parts, "https://example.org/a", "digest", 90.0))
    assert tiles([each.chunk for each in spans], 90.0)
    assert [each.chunk.heard_end for each in spans] == [31.5, 61.5, 90.0]
    assert len({each.digest for each in spans}) == 3
    elsewhere = list(referenced(parts, "https://elsewhere.org/a", "digest", 90.0))
    assert [each.digest for each in elsewhere] == [each.digest for each in spans]
    (whole,) = referenced(stage(90.0), "https://example.org/a", "digest", 90.0)
    assert whole.whole
