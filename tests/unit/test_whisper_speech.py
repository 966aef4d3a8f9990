from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe_handlers.engine import Cancelled, Context
from fanscribe_handlers.whisper import speech
from fanscribe_handlers.whisper.pieces import Span
from fanscribe_handlers.whisper.speech import cut_quietly, find_speech

RATE = 16_000


def loud(seconds: float) -> NDArray[np.float32]:
    return np.full(int(seconds * RATE), 0.5, dtype=np.float32)


def test_cuts_lie_in_the_quiet() -> None:
    samples = loud(30)
    samples[int(8.0 * RATE) : int(8.2 * RATE)] = 0
    samples[int(17.0 * RATE) : int(17.1 * RATE)] = 0
    spans = cut_quietly(samples, 10)
    assert spans[0].start == 0
    assert spans[-1].end == 30
    assert 8.0 <= spans[0].end <= 8.2
    assert 17.0 <= spans[1].end <= 17.1
    assert all(span.length <= 10 for span in spans)
    assert all(a.end == b.start for a, b in pairwise(spans))


def test_short_audio_is_one_span() -> None:
    assert cut_quietly(loud(3), 10) == [Span(0, 3)]


def test_digital_silence_never_reaches_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(*_: object) -> list[dict[str, int]]:
        raise AssertionError("the detector was asked")

    monkeypatch.setattr(speech, "get_speech_timestamps", detect)
    assert find_speech(np.zeros(3600 * RATE, dtype=np.float32), 25, 2, lambda: None) == []


def test_speech_over_the_edge_of_blocks_is_one_span_and_then_cut_to_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        speech, "get_speech_timestamps", lambda heard, options: [{"start": 0, "end": len(heard)}]
    )
    found = find_speech(loud(150), 24, 2, lambda: None)
    assert (found[0].start, found[-1].end) == (0, 150)
    assert all(span.length <= 24 for span in found)
    assert all(a.end == b.start for a, b in pairwise(found))


def test_a_cancellation_is_seen_between_blocks() -> None:
    context = Context(report=lambda share: None)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        find_speech(loud(150), 24, 2, context.check)
