"""From the tokens of all windows to the result of a task. Pure; the same for both runtimes."""

from fanscribe.contracts.task import Timestamps, TranscribeInput, TranscribeResult
from fanscribe.contracts.transcript import Segment
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.merge import Part, stitch
from fanscribe.spacing import join
from fanscribe_handlers.engine import Task
from fanscribe_handlers.parakeet.windows import Window
from fanscribe_handlers.parakeet.wishes import language_of
from fanscribe_handlers.parakeet.words import Token, words_of
from fanscribe_handlers.sentences import LONGEST_PAUSE_S, sentences

_PAUSE_S = 0.8
"""A pause that ends a segment where the model writes no punctuation, seconds."""

_LONGEST_S = 30.0
"""No segment is longer, seconds; a reader and a caption want one to end."""


def told(task: Task, variant: Variant, windows: list[Window], tokens: list[list[Token]]) -> TranscribeResult:
    """What was heard in each window, as one transcript; segments without words unless word times were asked for."""
    assert isinstance(task.input, TranscribeInput)
    parts = []
    for window, heard in zip(windows, tokens, strict=True):
        words = words_of(heard, window.heard_start, window.heard_s)
        text = " ".join(word.text for word in words)
        segments = [Segment(words[0].start, words[-1].end, text, words=words)] if words else []
        parts.append(Part(window.start, window.end, segments, window.heard_start, window.heard_end))
    words = [word for segment in stitch(parts) for word in segment.words]
    punctuated = not variant.options.get("lower_case", False)
    segments = sentences(
        words,
        [" " + word.text for word in words],
        LONGEST_PAUSE_S if punctuated else _PAUSE_S,
        _LONGEST_S,
    )
    if task.input.timestamps is not Timestamps.WORD:
        for segment in segments:
            segment.words = []
    return TranscribeResult(
        text=join(segment.text for segment in segments),
        language=language_of(task.input, variant),
        duration=task.duration_s,
        segments=segments,
    )
