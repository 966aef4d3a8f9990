"""The whole transcript out of the answers of all tasks."""

from collections.abc import Iterable, Mapping, Sequence

from fanscribe.contracts.task import AlignResult, DiarizeResult, TranscribeResult
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn
from fanscribe.pipeline.merge.channels import channel_label, interleave
from fanscribe.pipeline.merge.collecting import collection_held
from fanscribe.pipeline.merge.doubts import doubts
from fanscribe.pipeline.merge.naming import (
    rename_speakers,
    rename_turns,
    speaker_labels,
    speakers_of,
    with_names,
)
from fanscribe.pipeline.merge.speakers import assign_speakers
from fanscribe.pipeline.merge.stitch import Part, part_of, stitch
from fanscribe.spacing import join


@collection_held()
def merge(
    parts: Sequence[Part],
    *,
    duration: float,
    diarization: DiarizeResult | None = None,
    names: Mapping[str, str] | None = None,
    gaps: Iterable[Gap] = (),
    warnings: Iterable[str] = (),
    tasks: Iterable[TaskRecord] = (),
) -> Transcript:
    """Stitch the parts of one recording and, with a diarization, name the speaker of every word.

    `duration` is the recording's, in seconds. `names` maps final labels (SPEAKER_00) to the user's names;
    two labels with one name become one speaker. The order of `parts` and the labels inside the diarization
    do not matter. The input is not changed.
    """
    segments = stitch(parts)
    turns: list[Turn] = []
    found: list[str] = []
    if diarization is not None:
        ordinary = diarization.segments or diarization.exclusive_segments
        labels = with_names(speaker_labels(ordinary), names)
        turns = rename_turns(ordinary, labels)
        segments = assign_speakers(segments, turns, rename_turns(diarization.exclusive_segments, labels))
        found = doubts(segments, turns)
    return _transcript(segments, turns, parts, duration, gaps, [*warnings, *found], tasks)


@collection_held()
def merge_channels(
    channels: Mapping[int, Sequence[Part]],
    *,
    duration: float,
    names: Mapping[str, str] | None = None,
    gaps: Iterable[Gap] = (),
    warnings: Iterable[str] = (),
    tasks: Iterable[TaskRecord] = (),
) -> Transcript:
    """Stitch the parts of each channel and interleave the channels by time, as CHANNEL_0, CHANNEL_1, …

    The keys count channels from 0; everything else is as in `merge`.
    """
    numbers = sorted(channels)
    segments = interleave({channel_label(number): stitch(channels[number]) for number in numbers})
    if names:
        segments = rename_speakers(segments, names)
    parts = [part for number in numbers for part in channels[number]]
    return _transcript(segments, [], parts, duration, gaps, warnings, tasks)


def transcript_of(output: TranscribeResult | DiarizeResult | AlignResult) -> Transcript:
    """A worker's one answer as a transcript, for rendering. Labels and text stay as the answer has them."""
    warnings = list(getattr(output, "warnings", []))
    if isinstance(output, DiarizeResult):
        speakers = speakers_of([], output.segments)
        return Transcript(
            duration=output.duration, speakers=speakers, turns=list(output.segments), warnings=warnings
        )
    if isinstance(output, AlignResult):
        segments = list(output.segments)
        duration = max((segment.end for segment in segments), default=0.0)
        text = join(segment.text for segment in segments)
        return Transcript(text, None, None, duration, speakers_of(segments), segments, warnings=warnings)
    segments = part_of(output, 0.0, output.duration).segments
    found = output.diarization
    turns = list(found.segments or found.exclusive_segments) if found else []
    return Transcript(
        output.text,
        output.language,
        output.language_probability,
        output.duration,
        speakers_of(segments, turns),
        list(segments),
        turns,
        warnings=warnings,
    )


def _transcript(
    segments: list[Segment],
    turns: list[Turn],
    parts: Sequence[Part],
    duration: float,
    gaps: Iterable[Gap],
    warnings: Iterable[str],
    tasks: Iterable[TaskRecord],
) -> Transcript:
    language, probability = _language(parts)
    return Transcript(
        text=join(segment.text for segment in segments),
        language=language,
        language_probability=probability,
        duration=duration,
        speakers=speakers_of(segments, turns),
        segments=segments,
        turns=turns,
        gaps=sorted(gaps, key=lambda gap: (gap.start, gap.end)),
        warnings=list(dict.fromkeys(warnings)),
        tasks=list(tasks),
    )


def _language(parts: Sequence[Part]) -> tuple[str | None, float | None]:
    """The language most speech is in, by seconds of segments, and its mean probability in those parts.

    Parts without any speech count next to nothing: what a recogniser hears in silence is a guess.
    """
    weights: dict[str, float] = {}
    certain: dict[str, list[tuple[float, float]]] = {}
    for part in sorted(parts, key=lambda part: (part.start, part.end, part.language or "")):
        if part.language is None:
            continue
        speech = sum(segment.end - segment.start for segment in part.segments)
        weight = speech + 1e-6 * max(part.end - part.start, 1e-3)
        weights[part.language] = weights.get(part.language, 0.0) + weight
        if part.language_probability is not None:
            certain.setdefault(part.language, []).append((weight, part.language_probability))
    if not weights:
        return None, None
    language = max(weights, key=lambda name: weights[name])
    known = certain.get(language, [])
    total = sum(weight for weight, _ in known)
    return language, sum(weight * value for weight, value in known) / total if known else None
