"""Plain text for readers, and RTTM for tools that score or use turns."""

from fanscribe.contracts.transcript import Gap, Segment, Transcript
from fanscribe.render.gaps import gap_text
from fanscribe.spacing import join

UNKNOWN = "UNKNOWN"
"""Stands before text that nobody could be named for, beside text that has a speaker."""


def text(transcript: Transcript) -> str:
    """One paragraph a line, "SPEAKER_00: …" where speakers are known; a gap is a line of its own.

    Ends with a line break unless it is empty.
    """
    named = any(segment.speaker for segment in transcript.segments)
    lines: list[str] = []
    paragraph: list[Segment] = []
    for item in _in_order(transcript):
        if isinstance(item, Gap):
            lines.extend(_paragraph(paragraph, named))
            lines.append(gap_text(item))
            paragraph = []
        else:
            if paragraph and paragraph[-1].speaker != item.speaker:
                lines.extend(_paragraph(paragraph, named))
                paragraph = []
            paragraph.append(item)
    lines.extend(_paragraph(paragraph, named))
    if not transcript.segments and transcript.text.strip():
        lines.insert(0, " ".join(transcript.text.split()))
    return "".join(f"{line}\n" for line in lines)


def rttm(transcript: Transcript, file_id: str) -> str:
    """NIST's Rich Transcription Time Marked lines, one a turn; from the segments where there are no turns."""
    spans = [(turn.start, turn.end, turn.speaker) for turn in transcript.turns] or [
        (segment.start, segment.end, segment.speaker)
        for segment in transcript.segments
        if segment.speaker is not None
    ]
    return "".join(
        f"SPEAKER {_field(file_id)} 1 {start:.3f} {end - start:.3f} <NA> <NA> {_field(speaker)} <NA> <NA>\n"
        for start, end, speaker in sorted(spans)
        if round(end - start, 3) > 0
    )


def _field(value: str) -> str:
    # Fields of an RTTM line are parted by blanks.
    return "_".join(value.split()) or "_"


def _in_order(transcript: Transcript) -> list[Segment | Gap]:
    """Segments in their order, each gap before the first segment that starts no earlier."""
    items: list[Segment | Gap] = []
    waiting = sorted(transcript.gaps, key=lambda gap: gap.start)
    for segment in transcript.segments:
        while waiting and waiting[0].start <= segment.start:
            items.append(waiting.pop(0))
        items.append(segment)
    return [*items, *waiting]


def _paragraph(segments: list[Segment], named: bool) -> list[str]:
    content = " ".join(join(segment.text for segment in segments).split())
    if not content:
        return []
    return [f"{segments[0].speaker or UNKNOWN}: {content}" if named else content]
