"""Which segments of a transcript are final while tasks are still under way. Pure.

What a recogniser heard is final once all before it is there, except for what is yet to come may still change: words
behind an overlapped cut go to the side that is decided when both sides are there; the words of a sentence get their
speakers together, when all diarization is there; and the channels of one recording are put in order of time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fanscribe.contracts.task import (
    DiarizeOutput,
    DiarizeResult,
    Provenance,
    Stage,
    Timestamps,
    TranscribeOutput,
)
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline import merge
from fanscribe.pipeline.join import diarization_of, names_speakers, parts_of, speaker_names
from fanscribe.pipeline.merge.naming import rename_turns, with_names
from fanscribe.pipeline.merge.speakers import parted
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan
from fanscribe.pipeline.request import SpeakerDetection
from fanscribe.spacing import join as joined

_END = float("inf")
_Turned = TypeVar("_Turned", bound=DiarizeResult)


@dataclass(frozen=True, slots=True)
class _Lane:
    """What is there of one channel without a hole, from the start on. `sure` segments will stay as they are in the
    stitched sequence; everything else of this channel begins at `sure_s` or later.
    """

    sure: list[Segment]
    sure_s: float


@dataclass(frozen=True, slots=True)
class _Turns:
    ordinary: list[Turn]
    exclusive: list[Turn]


class FinalSegments:
    """Collects the settled outcomes of a run. Answers are copied, since joining uses them up."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._outcomes: list[Outcome] = []
        self._duration_s: float | None = None
        self._turns: _Turns | None = None

    def decoded(self, duration_s: float) -> None:
        """The length of the recording is known, in seconds: no further span comes."""
        self._duration_s = duration_s

    def settled(self, outcome: Outcome) -> None:
        """An outcome that will not change any more; its times count from its span's start."""
        self._outcomes.append(_copied(outcome))

    def text(self) -> str:
        """What is recognised so far without a hole, from the start on; its last words may still change."""
        channels = {stage.channel for stage in self._plan.stages if stage.stage is Stage.TRANSCRIBE}
        found = [segment for each in channels for segment in merge.stitch(self._parts(each))]
        if len(channels) > 1:
            found.sort(key=lambda segment: segment.start)
        return joined(segment.text for segment in found)

    def segments(self) -> list[Segment]:
        """The first segments of the transcript, all that are final by now."""
        if self._plan.request.speaker_detection is SpeakerDetection.PER_CHANNEL:
            found = self._interleaved()
        else:
            found = self._named(self._lane(None).sure)
        if self._plan.request.timestamps is not Timestamps.WORD:
            found = [Segment(each.start, each.end, each.text, each.speaker) for each in found]
        return found

    def _interleaved(self) -> list[Segment]:
        stages = [each for each in self._plan.stages if each.stage is Stage.TRANSCRIBE]
        lanes = {each.channel: self._lane(each.channel) for each in stages if each.channel is not None}
        sure_s = min(each.sure_s for each in lanes.values())
        labelled = {merge.channel_label(channel): lanes[channel].sure for channel in sorted(lanes)}
        found: list[Segment] = []
        for segment in merge.interleave(labelled):
            ends = [segment.end, *(word.end for word in segment.words)]
            if segment.start >= sure_s or max(ends) > sure_s:
                break
            found.append(segment)
        return merge.rename_speakers(found, speaker_names(self._plan))

    def _named(self, segments: list[Segment]) -> list[Segment]:
        """With speakers, where they are asked for: then nothing is final before they are known."""
        if self._plan.request.speaker_detection is SpeakerDetection.NONE:
            return segments
        turns = self._known_turns()
        if turns is None:
            return []
        named = merge.assign_speakers(segments, turns.ordinary, turns.exclusive)
        words = [word for segment in segments for word in segment.words]
        closed = len(words)
        while closed and (closed == len(words) or not parted(words[closed - 1], words[closed])):
            closed -= 1
        whole, bare = _whole_segments(segments, closed)
        return _first(named, whole, bare)

    def _known_turns(self) -> _Turns | None:
        if self._turns is None and self._all_diarized():
            ordered = sorted(self._outcomes, key=lambda each: (each.stage.id, each.span.chunk.start))
            found = diarization_of(self._plan, ordered) or DiarizeResult()
            ordinary = found.segments or found.exclusive_segments
            labels = with_names(merge.speaker_labels(ordinary), speaker_names(self._plan))
            exclusive = rename_turns(found.exclusive_segments, labels)
            self._turns = _Turns(rename_turns(ordinary, labels), exclusive)
        return self._turns

    def _all_diarized(self) -> bool:
        told = [each for each in self._outcomes if names_speakers(each)]
        stages = {each.id for each in self._plan.stages if each.stage is Stage.DIARIZE or each.also_diarizes}
        return self._duration_s is not None and all(
            _reach_s([each for each in told if each.stage.id == stage]) >= self._duration_s
            for stage in stages
        )

    def _recognised(self, channel: int | None) -> list[Outcome]:
        """The outcomes of a channel without a hole, from the start on."""
        found = [
            each
            for each in self._outcomes
            if each.stage.stage is Stage.TRANSCRIBE and each.stage.channel == channel
        ]
        found.sort(key=lambda each: each.span.chunk.start)
        reach_s = _reach_s(found)
        return [each for each in found if each.span.chunk.end <= reach_s]

    def _parts(self, channel: int | None) -> list[merge.Part]:
        return [part for each in self._recognised(channel) for part in parts_of(each)]

    def _lane(self, channel: int | None) -> _Lane:
        outcomes = self._recognised(channel)
        if not outcomes:
            return _Lane([], 0.0)
        last = outcomes[-1].span.chunk
        # Its neighbour hears as far before the cut as it hears behind it.
        opening_s = last.end - (last.heard_end - last.end) if last.heard_end > last.end else _END
        sure: list[Segment] = []
        stitched = merge.stitch([part for each in outcomes for part in parts_of(each)])
        for segment in stitched:
            tokens: Sequence[Segment | Word] = segment.words or [segment]
            if any(token.end >= opening_s for token in tokens):
                break
            sure.append(segment)
        rest = stitched[len(sure) :]
        starts = [each.start for each in rest] + [word.start for each in rest for word in each.words]
        return _Lane(sure, min(last.end, opening_s, *starts))


def _reach_s(outcomes: Sequence[Outcome]) -> float:
    """How far they own the recording without a hole, from the start on."""
    reach_s = 0.0
    for each in sorted(outcomes, key=lambda each: each.span.chunk.start):
        if each.span.chunk.start > reach_s:
            break
        reach_s = max(reach_s, each.span.chunk.end)
    return reach_s


def _whole_segments(segments: Sequence[Segment], closed: int) -> tuple[int, int]:
    """Of the first segments that hold none but the first `closed` words: their words, and how many have none."""
    words = bare = 0
    for segment in segments:
        if words + len(segment.words) > closed:
            break
        words += len(segment.words)
        bare += not segment.words
    return words, bare


def _first(segments: Sequence[Segment], words: int, bare: int) -> list[Segment]:
    """The first segments up to so many words, and so many segments without any."""
    found: list[Segment] = []
    for segment in segments:
        words -= len(segment.words)
        bare -= not segment.words
        if words < 0 or bare < 0:
            break
        found.append(segment)
    return found


def _copied(outcome: Outcome) -> Outcome:
    """The outcome with an answer of its own, whose times count from the recording's start."""
    if outcome.answer is None:
        return outcome
    output = _copy(outcome.answer.output)
    if isinstance(output, TranscribeOutput | DiarizeOutput):
        merge.shift(output, outcome.span.offset_s)
    return replace(outcome, answer=replace(outcome.answer, output=output))


def _copy(output: Provenance) -> Provenance:
    match output:
        case TranscribeOutput():
            segments = [
                replace(each, words=[replace(word) for word in each.words]) for each in output.segments
            ]
            diarization = _turns_copied(output.diarization) if output.diarization else None
            return output.model_copy(update={"segments": segments, "diarization": diarization})
        case DiarizeOutput():
            return _turns_copied(output)
        case _:
            return output


def _turns_copied(result: _Turned) -> _Turned:
    return result.model_copy(
        update={
            "segments": [replace(turn) for turn in result.segments],
            "exclusive_segments": [replace(turn) for turn in result.exclusive_segments],
        }
    )
