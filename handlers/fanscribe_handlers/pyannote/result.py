"""From pyannote's answer to ours. Pure."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.pipeline.merge.naming import rename_turns, speaker_labels

Span = tuple[float, float, str]
"""Start and end in seconds, and the label of the speaker."""


def diarize_result(
    spans: Iterable[Span],
    exclusive: Iterable[Span],
    embeddings: Mapping[str, NDArray[np.floating]],
    duration_s: float,
) -> DiarizeResult:
    """Turns cut at the ends of the recording, speakers in order of first speech.

    `embeddings` holds a vector (dimension,) a label. One that is all zeros or not finite is left out: pyannote fills
    up with them where it found more voices at one time than speakers.
    """
    turns, alone = _turns(spans, duration_s), _turns(exclusive, duration_s)
    labels = speaker_labels(turns)
    return DiarizeResult(
        segments=rename_turns(turns, labels),
        exclusive_segments=rename_turns(alone, labels),
        num_speakers=len(labels),
        embeddings={
            labels[label]: [float(value) for value in vector]
            for label, vector in sorted(embeddings.items(), key=lambda item: labels.get(item[0], ""))
            if label in labels and np.isfinite(vector).all() and np.any(vector)
        },
        duration=duration_s,
    )


def _turns(spans: Iterable[Span], duration_s: float) -> list[Turn]:
    """In order of start; a turn that ends up shorter than a millisecond is dropped."""
    cut = [
        Turn(round(max(0.0, start), 3), min(round(end, 3), duration_s), speaker)
        for start, end, speaker in spans
    ]
    return sorted(
        (turn for turn in cut if turn.start < turn.end),
        key=lambda turn: (turn.start, turn.end, turn.speaker),
    )
