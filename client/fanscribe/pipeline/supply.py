"""From the recording to the spans that tasks are made of, while it is still being decoded.

The recording is decoded once. Stages that cut one channel in the same places share the files that come of it.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from fanscribe import media
from fanscribe.background import in_thread
from fanscribe.contracts.errors import AudioError
from fanscribe.contracts.task import Stage
from fanscribe.media.mixdown import MixDown
from fanscribe.pipeline.chunks import ChunkWriter, Piece
from fanscribe.pipeline.cuts import Chunk, Cut, CutFinder, Cutter, KnownCuts, chunks_of
from fanscribe.pipeline.events import Event, Listener, State
from fanscribe.pipeline.pauses import Samples
from fanscribe.pipeline.plan import StagePlan
from fanscribe.pipeline.spans import Span
from fanscribe.scratch import no_room


@dataclass(slots=True)
class Lane:
    """One way to cut one channel, for one stage or several. `known` are cuts that an earlier run made."""

    channel: int | None
    stages: list[StagePlan]
    known: Sequence[Cut] | None = None
    cuts: list[Cut] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What its files are called."""
        return "+".join(stage.id for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Supplied:
    """What decoding told: the length in seconds, and sentences for the user."""

    duration_s: float
    warnings: tuple[str, ...]


Given = Callable[[Sequence[StagePlan], Span], None]
"""Takes each span, with the stages that it is for, as soon as it is there; in the event loop."""


def lanes_of(stages: Sequence[StagePlan], known: Mapping[str, Sequence[Cut]]) -> list[Lane]:
    """The ways in which the stages cut. `known` goes by the id of the stage."""
    lanes: list[Lane] = []
    for stage in stages:
        cuts = known.get(stage.id)
        whole = cuts == [] or (cuts is None and stage.certain and len(stage.division.sizes_s) == 1)
        for lane in lanes:
            if whole and lane.known == [] and lane.channel == stage.channel:
                lane.stages.append(stage)
                break
        else:
            lanes.append(Lane(stage.channel, [stage], [] if whole else cuts))
    return lanes


def referenced(stage: StagePlan, address: str, source_digest: str, duration_s: float) -> Iterator[Span]:
    """The spans of a stage whose workers read the recording themselves."""
    overlap = stage.overlap_s
    cuts = [Cut(at, overlap) for at in stage.wanted_s() if at < duration_s]
    for chunk in chunks_of(cuts, 0.0, duration_s):
        about = f"{source_digest} {stage.channel} {chunk.heard_start!r} {chunk.heard_end!r}"
        yield Span(
            chunk,
            stage.channel,
            hashlib.sha256(about.encode()).hexdigest(),
            address=address,
            whole=not cuts,
        )


async def supply(
    source: Path,
    name: str,
    lanes: Sequence[Lane],
    folder: Path,
    given: Given,
    listener: Listener,
    longest_s: float | None = None,
) -> Supplied:
    """Decode `source` once; give every span of every lane to `given` as soon as it is written into `folder`.

    Runs in a thread and stops at the next block when it is cancelled. Raises AudioError, and FanscribeError when
    the folder has no room. Afterwards the lanes hold the cuts that were made. More than `longest_s` seconds are
    refused, whatever the header promised.
    """
    loop = asyncio.get_running_loop()

    def report(share: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have closed while the thread came to its end
            loop.call_soon_threadsafe(
                listener, Event("prepare", Stage.PREPARE, State.PREPARING, min(share, 1.0), name)
            )

    def pass_on(lane: Lane, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            span = Span(piece.chunk, lane.channel, piece.digest, piece.file, piece.size_bytes)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(given, lane.stages, span)

    supplied = await in_thread(
        lambda stopped: _cut(source, name, lanes, folder, pass_on, report, stopped, longest_s)
    )
    await asyncio.sleep(0)  # what the thread passed on last is given before this returns
    listener(Event("prepare", Stage.PREPARE, State.DONE, 1.0, name))
    return supplied


async def recut(span: Span, name: str, folder: Path, stem: str) -> list[Span]:
    """The halves of a span that has a file, cut at a quiet place near its middle.

    Their files are called after `stem`: two stages that share a span may both have to halve it.
    """
    file = span.file
    assert file is not None, "only a span with a file can be cut again"
    middle = (span.chunk.start + span.chunk.end) / 2
    # The cut stays inside of what the span owns, however much it hears beyond; the limit asks for no second one.
    finder = CutFinder(
        [middle],
        limit_s=2 * span.heard_s,
        start_s=span.chunk.heard_start,
        window_s=min(span.heard_s / 10, (span.chunk.end - span.chunk.start) / 4),
    )

    def halves(stopped: Callable[[], bool]) -> list[Piece]:
        writer = ChunkWriter(finder, folder, stem, start_s=span.chunk.heard_start)
        try:
            with media.opened(file, name) as recording:
                made: list[Piece] = []
                for block in media.blocks(recording, stopped=stopped):
                    made += writer.feed(block[0])
            return made + writer.finish()
        except OSError as error:
            raise no_room(name, folder, error) from error
        finally:
            writer.abandon()

    pieces = await in_thread(halves)
    chunks = [piece.chunk for piece in pieces]
    # The outer borders stay where they were: what is heard beyond them belongs to the neighbours.
    chunks[0] = replace(chunks[0], start=span.chunk.start)
    chunks[-1] = replace(chunks[-1], end=span.chunk.end)
    return [
        Span(
            replace(chunk, index=span.chunk.index),
            span.channel,
            piece.digest,
            piece.file,
            piece.size_bytes,
            half=span.half + letter,
        )
        for chunk, piece, letter in zip(chunks, pieces, "ab"[: len(pieces)], strict=True)
    ]


def halved(span: Span, overlap_s: float) -> list[Span]:
    """The halves of a span that workers read themselves: cut in its middle, with an overlap."""
    chunk = span.chunk
    middle = round((chunk.start + chunk.end) / 2 * media.SAMPLE_RATE) / media.SAMPLE_RATE
    left = Chunk(
        chunk.index, chunk.start, middle, chunk.heard_start, min(middle + overlap_s, chunk.heard_end)
    )
    right = Chunk(chunk.index, middle, chunk.end, max(middle - overlap_s, chunk.heard_start), chunk.heard_end)
    return [
        replace(span, chunk=half, whole=False, digest=_digest(span.digest, half), half=span.half + letter)
        for half, letter in ((left, "a"), (right, "b"))
    ]


def _digest(whole: str, part: Chunk) -> str:
    return hashlib.sha256(f"{whole} {part.heard_start!r} {part.heard_end!r}".encode()).hexdigest()


def _cutter(lane: Lane) -> Cutter:
    if lane.known is not None:
        return KnownCuts(lane.known)
    stage = lane.stages[0]
    return CutFinder(
        stage.wanted_s(),
        limit_s=stage.bounds.longest_s,
        window_s=stage.window_s,
        overlap_s=stage.overlap_s,
    )


def _cut(
    source: Path,
    name: str,
    lanes: Sequence[Lane],
    folder: Path,
    given: Callable[[Lane, Sequence[Piece]], None],
    report: Callable[[float], None],
    stopped: Callable[[], bool],
    longest_s: float | None,
) -> Supplied:
    cutters = [_cutter(lane) for lane in lanes]
    with ExitStack() as stack:
        recording = stack.enter_context(media.opened(source, name))
        channels = recording.facts.channels
        if any(lane.channel is not None and lane.channel >= channels for lane in lanes):
            raise AudioError(f"{name}: has {channels} channels, fewer than its header told before")
        try:
            writers = [
                ChunkWriter(cutter, folder, lane.name, limit_bytes=lane.stages[0].inline_limit_bytes)
                for lane, cutter in zip(lanes, cutters, strict=True)
            ]
            for writer in writers:
                stack.callback(writer.abandon)
            mixer = MixDown(media.SAMPLE_RATE)
            mixed = any(lane.channel is None for lane in lanes)
            declared_s = recording.facts.duration_s
            samples = 0
            for block in media.blocks(recording, max_duration_s=longest_s, stopped=stopped):
                samples += block.shape[1]
                mix = mixer.mix(block) if mixed else None
                for lane, writer in zip(lanes, writers, strict=True):
                    given(lane, writer.feed(_row(block, mix, lane.channel)))
                done_s = samples / media.SAMPLE_RATE
                file = recording.file
                report(done_s / declared_s if declared_s else file.tell() / max(file.size_bytes, 1))
            for lane, writer, cutter in zip(lanes, writers, cutters, strict=True):
                given(lane, writer.finish())
                lane.cuts = list(cutter.cuts)
        except OSError as error:
            raise no_room(name, folder, error) from error
        warning = mixer.warning(name) if mixed else None
        warnings = [*recording.warnings, *([warning] if warning else [])]
        return Supplied(samples / media.SAMPLE_RATE, tuple(warnings))


def _row(block: Samples, mix: Samples | None, channel: int | None) -> Samples:
    if channel is None:
        assert mix is not None
        return mix
    row: Samples = block[channel]
    return row
