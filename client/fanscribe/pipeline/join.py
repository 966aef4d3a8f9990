"""From the ends of all tasks to the transcript. Pure."""

from collections.abc import Iterator, Sequence

from fanscribe.contracts.task import DiarizeOutput, DiarizeResult, Stage, Timestamps, TranscribeOutput
from fanscribe.contracts.transcript import Gap, Transcript
from fanscribe.pipeline import merge
from fanscribe.pipeline.outcome import Outcome, record_of
from fanscribe.pipeline.plan import Plan
from fanscribe.pipeline.request import SpeakerDetection
from fanscribe.pipeline.supply import Supplied


def join(plan: Plan, supplied: Supplied, outcomes: Sequence[Outcome]) -> Transcript:
    """The transcript. Raises the first error when no recogniser gave an answer. Answers are used up."""
    ordered = sorted(outcomes, key=lambda each: (each.stage.id, each.span.chunk.start))
    recognised = [each for each in ordered if each.stage.stage is Stage.TRANSCRIBE]
    failures = [each.error for each in recognised if each.error]
    if failures and len(failures) == len(recognised):
        raise failures[0]
    duration = supplied.duration_s
    for each in ordered:
        if each.answer is not None:
            merge.shift(each.answer.output, each.span.offset_s)
    gaps = list(_gaps(recognised, duration))
    warnings = list(dict.fromkeys([*supplied.warnings, *_warnings(plan, ordered)]))
    tasks = [record_of(each) for each in ordered]
    if plan.request.speaker_detection is SpeakerDetection.PER_CHANNEL:
        channels: dict[int, list[merge.Part]] = {}
        for each in recognised:
            if each.span.channel is not None:
                channels.setdefault(each.span.channel, []).extend(parts_of(each))
        transcript = merge.merge_channels(
            channels, duration=duration, names=speaker_names(plan), gaps=gaps, warnings=warnings, tasks=tasks
        )
    else:
        parts = [part for each in recognised for part in parts_of(each)]
        transcript = merge.merge(
            parts,
            duration=duration,
            diarization=diarization_of(plan, ordered),
            names=speaker_names(plan),
            gaps=gaps,
            warnings=warnings,
            tasks=tasks,
        )
    if plan.request.timestamps is not Timestamps.WORD:
        for segment in transcript.segments:
            segment.words = []
    return transcript


def speaker_names(plan: Plan) -> dict[str, str]:
    """The names that the user gave, by the labels that they replace."""
    label = (
        "CHANNEL_{}" if plan.request.speaker_detection is SpeakerDetection.PER_CHANNEL else "SPEAKER_{:02d}"
    )
    return {label.format(number): name for number, name in enumerate(plan.request.speaker_names)}


def parts_of(outcome: Outcome) -> Iterator[merge.Part]:
    """The part of the transcript that an outcome holds, if it holds one. Its times count from the recording's start."""
    if outcome.answer is not None and isinstance(outcome.answer.output, TranscribeOutput):
        chunk = outcome.span.chunk
        yield merge.part_of(outcome.answer.output, chunk.start, chunk.end, chunk.heard_start, chunk.heard_end)


def _gaps(recognised: Sequence[Outcome], duration: float) -> Iterator[Gap]:
    for each in recognised:
        if each.error is not None:
            where = "" if each.span.channel is None else f"channel {each.span.channel}: "
            chunk = each.span.chunk
            yield Gap(chunk.start, min(chunk.end, duration), each.stage.stage, f"{where}{each.error}")


def diarization_of(plan: Plan, outcomes: Sequence[Outcome]) -> DiarizeResult | None:
    """Who speaks when, by all outcomes that tell; None where none does. Times count from the recording's start."""
    parts = [_diarized(each) for each in outcomes if names_speakers(each)]
    known = [part.result for part in parts if part.result is not None]
    if not known:
        return None
    if len(parts) == 1:
        return known[0]
    request = plan.request
    return merge.link(
        parts,
        num_speakers=request.num_speakers,
        min_speakers=request.min_speakers,
        max_speakers=request.max_speakers,
    )


def names_speakers(outcome: Outcome) -> bool:
    """Whether an outcome is one that tells who speaks."""
    return outcome.stage.stage is Stage.DIARIZE or outcome.stage.also_diarizes


def _diarized(outcome: Outcome) -> merge.DiarizedPart:
    output = outcome.answer.output if outcome.answer is not None else None
    found = output.diarization if isinstance(output, TranscribeOutput) else output
    chunk = outcome.span.chunk
    return merge.DiarizedPart(
        found if isinstance(found, DiarizeResult) else None,
        chunk.start,
        chunk.end,
        chunk.heard_start,
        chunk.heard_end,
    )


def _warnings(plan: Plan, outcomes: Sequence[Outcome]) -> Iterator[str]:
    for each in outcomes:
        if each.answer is not None and isinstance(each.answer.output, TranscribeOutput | DiarizeOutput):
            yield from each.answer.output.warnings
    diarized = [each for each in outcomes if each.stage.stage is Stage.DIARIZE]
    failed = [each for each in diarized if each.error is not None]
    if failed and len(failed) == len(diarized):
        yield f"speakers are missing: diarization failed ({failed[0].error})"
    else:
        for each in failed:
            chunk = each.span.chunk
            yield (
                f"speakers are missing from {chunk.start:.1f} s to {chunk.end:.1f} s: diarization failed "
                f"there ({each.error})"
            )
    yield from _unnamed(outcomes)
    for each in outcomes:
        if each.stage.stage is Stage.ALIGN and each.error is not None:
            chunk = each.span.chunk
            yield (
                f"words from {chunk.start:.1f} s to {chunk.end:.1f} s have the recogniser's own times, or none: "
                f"alignment failed there ({each.error})"
            )
    for name in dict.fromkeys(
        each.answer.route.endpoint.name
        for each in outcomes
        if each.answer is not None and each.answer.route.endpoint not in each.stage.endpoints[:1]
    ):
        count = sum(each.answer is not None and each.answer.route.endpoint.name == name for each in outcomes)
        yield f"the endpoint {name} did {count} of the tasks, since the one that was chosen first failed"
    unconfirmed = sum(each.tally.unconfirmed for each in outcomes)
    if unconfirmed:
        yield (
            f"{unconfirmed} submissions were never confirmed: the platform may have run, and billed, as many jobs "
            "more than are listed"
        )


def _unnamed(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Where one-pass engines, which say only that diarization failed, gave some chunks without speakers."""
    named = [each for each in outcomes if each.stage.also_diarizes and each.answer is not None]
    lacking = [each for each in named if _diarized(each).result is None]
    for each in lacking if len(named) > 1 else ():
        chunk = each.span.chunk
        yield f"speakers are missing from {chunk.start:.1f} s to {chunk.end:.1f} s: diarization failed there"
