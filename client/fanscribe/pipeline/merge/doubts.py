"""What looks wrong when words and turns are laid side by side: said, not hidden."""

from bisect import bisect_right
from collections.abc import Sequence

from fanscribe.contracts.transcript import Segment, Turn
from fanscribe.pipeline.merge.turns import timeline

FAR_S = 1.0
"""Seconds between a word and the nearest turn from which the diarizer, not the word's time, is in doubt."""


def doubts(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[str]:
    """Warnings about speakers who say nothing and about words that nobody's turn comes near."""
    silent = list(dict.fromkeys(turn.speaker for turn in turns))
    heard = {segment.speaker for segment in segments}
    warnings = [
        f"{speaker} has turns but no words: the diarizer may have heard noise, or the recogniser missed speech"
        for speaker in silent
        if speaker not in heard
    ]
    unheld = [word for segment in segments for word in segment.words if not word.speaker_confidence]
    line = timeline(turns if unheld else ())
    far = [word.start for word in unheld if _distance(word.start, word.end, line.starts, line.ends) > FAR_S]
    if far:
        words = "1 word lies" if len(far) == 1 else f"{len(far)} words lie"
        warnings.append(
            f"{words} more than {FAR_S:g} s from any speaker's turn, the first at {min(far):.1f} s: "
            "the diarizer may have missed speech there"
        )
    return warnings


def _distance(start: float, end: float, starts: Sequence[float], ends: Sequence[float]) -> float:
    """Seconds from a word to the nearest turn; infinite without turns."""
    at = bisect_right(ends, start)
    before = start - ends[at - 1] if at else float("inf")
    after = max(starts[at] - end, 0.0) if at < len(starts) else float("inf")
    return min(before, after)
