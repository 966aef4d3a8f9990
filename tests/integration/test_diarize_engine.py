"""The embedded diarizer with its real networks."""

import threading
import time
from collections.abc import Iterable
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe.media import decode
from fanscribe_handlers.diarize_onnx.engine import DiarizeOnnxEngine
from fanscribe_handlers.engine import SAMPLE_RATE, Cancelled, Context, Task

pytestmark = pytest.mark.engine

Samples = NDArray[np.float32]
WEIGHTS = Path(str(resources.files("fanscribe_handlers.diarize_onnx") / "weights"))
VARIANT = resources.files("fanscribe_handlers.diarize_onnx") / "variants" / "diarize-onnx.yaml"


@pytest.fixture(scope="module")
def engine() -> DiarizeOnnxEngine:
    engine = DiarizeOnnxEngine(2)
    engine.load(Variant.model_validate(yaml.safe_load(VARIANT.read_text())), WEIGHTS)
    return engine


@pytest.fixture(scope="module")
def conversation(speech_dir: Path) -> Samples:
    return read(speech_dir / "pyannote_sample.wav")


def read(path: Path) -> Samples:
    with path.open("rb") as file:
        return decode(file, path.name).samples


def run(engine: DiarizeOnnxEngine, samples: Samples, **asked: int) -> DiarizeResult:
    task = Task(DiarizeInput(audio="data:,", **asked), samples)
    return engine.run(task, Context(report=lambda share: None))


def annotation(turns: Iterable[Turn]) -> Annotation:
    result = Annotation()
    for number, turn in enumerate(turns):
        result[Segment(turn.start, turn.end), number] = turn.speaker
    return result


def reference(path: Path) -> Annotation:
    rows = (line.split() for line in path.read_text().splitlines())
    return annotation(Turn(float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows)


@pytest.mark.speech
def test_error_rate_on_a_telephone_call(
    engine: DiarizeOnnxEngine, conversation: Samples, speech_dir: Path
) -> None:
    result = run(engine, conversation)
    rate = DiarizationErrorRate(collar=0.0, skip_overlap=False)(
        reference(speech_dir / "pyannote_sample.rttm"),
        annotation(result.segments),
        uem=Timeline([Segment(0, result.duration)]),
    )
    assert rate <= 0.06
    assert result.num_speakers == 2
    assert result.duration == pytest.approx(30.0, abs=0.001)
    assert result.segments[0].speaker == "SPEAKER_00"


@pytest.mark.speech
def test_exclusive_segments_and_embeddings_fit_the_segments(
    engine: DiarizeOnnxEngine, conversation: Samples
) -> None:
    result = run(engine, conversation)
    exclusive = result.exclusive_segments
    assert all(left.end <= right.start for left, right in pairwise(exclusive))
    assert any(left.end > right.start for left, right in pairwise(result.segments))
    assert sorted(result.embeddings) == ["SPEAKER_00", "SPEAKER_01"]
    first, second = (np.array(vector) for vector in result.embeddings.values())
    assert len(first) == 192
    likeness = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    assert likeness < 0.7


@pytest.mark.speech
@pytest.mark.parametrize("asked", [1, 2, 3])
def test_a_number_of_speakers_is_honoured(
    engine: DiarizeOnnxEngine, conversation: Samples, asked: int
) -> None:
    result = run(engine, conversation, num_speakers=asked)
    assert result.num_speakers == asked
    assert {turn.speaker for turn in result.segments} == {f"SPEAKER_{n:02d}" for n in range(asked)}


@pytest.mark.speech
def test_bounds_are_honoured(engine: DiarizeOnnxEngine, conversation: Samples) -> None:
    assert run(engine, conversation, min_speakers=3).num_speakers == 3
    assert run(engine, conversation, max_speakers=1).num_speakers == 1
    assert run(engine, conversation, min_speakers=1, max_speakers=5).num_speakers == 2


@pytest.mark.speech
def test_one_reader_is_one_speaker(engine: DiarizeOnnxEngine, speech_dir: Path) -> None:
    assert run(engine, read(speech_dir / "jfk.flac")).num_speakers == 1


@pytest.mark.speech
@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0, 2.0])
def test_short_clips(engine: DiarizeOnnxEngine, conversation: Samples, seconds: float) -> None:
    start = round(8.5 * SAMPLE_RATE)
    result = run(engine, conversation[start : start + round(seconds * SAMPLE_RATE)])
    assert result.num_speakers == 1
    assert all(0 <= turn.start < turn.end <= seconds for turn in result.segments)


@pytest.mark.parametrize("kind", ["empty", "silence", "noise", "tone"])
def test_no_speech_no_speakers(engine: DiarizeOnnxEngine, kind: str) -> None:
    time_s = np.arange(15 * SAMPLE_RATE) / SAMPLE_RATE
    samples = {
        "empty": np.zeros(0),
        "silence": np.zeros(60 * SAMPLE_RATE),
        "noise": np.random.default_rng(0).normal(0, 0.05, len(time_s)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
    }[kind].astype(np.float32)
    result = run(engine, samples)
    assert result.num_speakers == 0
    assert result.segments == result.exclusive_segments == []
    assert result.embeddings == {}


@pytest.mark.speech
def test_the_share_done_grows_to_one(engine: DiarizeOnnxEngine, conversation: Samples) -> None:
    shares: list[float] = []
    engine.run(
        Task(DiarizeInput(audio="data:,"), np.tile(conversation, 2)),
        Context(report=lambda share: shares.append(share)),
    )
    assert shares == sorted(shares)
    assert len(shares) > 10
    assert shares[-1] == 1.0


@pytest.mark.speech
def test_a_cancelled_run_stops_between_batches(engine: DiarizeOnnxEngine, conversation: Samples) -> None:
    begun = threading.Event()

    def report(share: float) -> None:
        begun.set()

    context = Context(report=report)
    ended: list[float] = []

    def work() -> None:
        with pytest.raises(Cancelled):
            engine.run(Task(DiarizeInput(audio="data:,"), np.tile(conversation, 20)), context)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    context.cancelled.set()
    cancelled_at = time.monotonic()
    thread.join(60)
    # A batch is 0.2 s of work on two idle cores; the run itself would take twenty seconds.
    assert ended[0] - cancelled_at < 5
