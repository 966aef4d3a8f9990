"""SubRip and WebVTT."""

from fanscribe.contracts.transcript import Transcript
from fanscribe.render.cues import clean, cues


def srt(transcript: Transcript) -> str:
    """SubRip. The speaker stands before the text; an arrow inside the text is parted, as SubRip reads it
    as a time line and knows no escape."""
    return "".join(
        f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n"
        + "\n".join(line.replace("-->", "-- >") for line in cue.lines)
        + "\n\n"
        for number, cue in enumerate(cues(transcript, prefix=True), start=1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT (W3C), with a voice tag a cue and the warnings as notes."""
    notes = [f"NOTE {_escaped(clean(warning))}\n\n" for warning in transcript.warnings]
    blocks = [
        f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n"
        + (f"<v {_escaped(clean(cue.speaker))}>" if cue.speaker else "")
        + "\n".join(_escaped(line) for line in cue.lines)
        + "\n\n"
        for cue in cues(transcript, prefix=False)
    ]
    return "WEBVTT\n\n" + "".join(notes) + "".join(blocks)


def _time(time_ms: int, point: str) -> str:
    hours, rest = divmod(time_ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
