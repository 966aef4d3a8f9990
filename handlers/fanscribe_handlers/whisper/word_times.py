"""From words with the model's times to words with plausible times. Pure."""

from bisect import bisect_right

from fanscribe.contracts.transcript import Word
from fanscribe_handlers.whisper.pieces import Span

_PAUSE_S = 0.3
"""No word goes on over a pause of so many seconds."""

_ONSET_S = 0.08
"""A word that reaches so far into speech after a pause begins there."""

_SHORTEST_S = 0.02


def fit_to_speech(words: list[Word], speech: list[Span], duration_s: float) -> None:
    """Move word edges out of pauses, in place; afterwards words are in order and inside the audio.

    The cross attention starts a word too early after a pause, and lets the last word before one go on. A word
    that covers a pause keeps its last side, unless hardly any of it lies there.
    """
    starts = [span.start for span in speech]
    for word in words:
        first = max(0, bisect_right(starts, word.start) - 1)
        parts = []
        for span in speech[first:]:
            if span.start >= word.end:
                break
            if span.end > word.start:
                parts.append(Span(max(span.start, word.start), min(span.end, word.end)))
        kept = _without_pauses(parts)
        if kept is not None and kept.length >= _SHORTEST_S:
            word.start, word.end = kept.start, kept.end
    previous = 0.0
    for word in words:
        word.start = min(max(word.start, previous), duration_s)
        word.end = min(max(word.end, word.start), duration_s)
        previous = word.start


def _without_pauses(parts: list[Span]) -> Span | None:
    if not parts:
        return None
    runs = [parts[0]]
    for part in parts[1:]:
        if part.start - runs[-1].end < _PAUSE_S:
            runs[-1] = Span(runs[-1].start, part.end)
        else:
            runs.append(part)
    last = runs[-1]
    return last if last.length >= _ONSET_S else max(runs, key=lambda run: run.length)
