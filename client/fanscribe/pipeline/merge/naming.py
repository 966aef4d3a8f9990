"""Names for speakers: numbers in order of first speech, and the names that the user gave."""

from collections.abc import Mapping, Sequence

from fanscribe.contracts.transcript import Segment, Turn, Word


def speaker_labels(turns: Sequence[Turn]) -> dict[str, str]:
    """A diarizer's label -> SPEAKER_00, SPEAKER_01, … in order of the speakers' first turns."""
    first_turns = sorted(turns, key=lambda turn: turn.start)
    return {
        label: f"SPEAKER_{number:02d}"
        for number, label in enumerate(dict.fromkeys(turn.speaker for turn in first_turns))
    }


def with_names(labels: Mapping[str, str], names: Mapping[str, str] | None) -> dict[str, str]:
    """The labels with the user's names in place of those that `names` mentions (SPEAKER_00 -> Anna)."""
    return {label: (names or {}).get(final, final) for label, final in labels.items()}


def rename_turns(turns: Sequence[Turn], labels: Mapping[str, str]) -> list[Turn]:
    """The turns with new labels; those that `labels` does not mention stay."""
    return [Turn(turn.start, turn.end, labels.get(turn.speaker, turn.speaker)) for turn in turns]


def rename_speakers(segments: Sequence[Segment], labels: Mapping[str, str]) -> list[Segment]:
    """The segments and their words with new labels; those that `labels` does not mention stay."""
    return [
        Segment(
            segment.start,
            segment.end,
            segment.text,
            _name(segment.speaker, labels),
            [
                Word(
                    word.text,
                    word.start,
                    word.end,
                    word.confidence,
                    _name(word.speaker, labels),
                    word.speaker_confidence,
                    word.overlap,
                )
                for word in segment.words
            ],
        )
        for segment in segments
    ]


def speakers_of(segments: Sequence[Segment], turns: Sequence[Turn] = ()) -> list[str]:
    """Everybody who has a turn or says something, in order of first speech."""
    firsts = sorted(
        [(turn.start, turn.speaker) for turn in turns]
        + [(segment.start, segment.speaker) for segment in segments if segment.speaker is not None],
        key=lambda first: first[0],
    )
    return list(dict.fromkeys(speaker for _, speaker in firsts))


def _name(speaker: str | None, labels: Mapping[str, str]) -> str | None:
    return None if speaker is None else labels.get(speaker, speaker)
