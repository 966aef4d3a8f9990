"""A real telephone call, diarized in overlapping chunks by the real networks and linked."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from tools.score import der, read_rttm

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe.media import decode
from fanscribe.pipeline.cuts import Cut, chunks_of
from fanscribe.pipeline.merge import DiarizedPart, link
from fanscribe_handlers.diarize_onnx.engine import DiarizeOnnxEngine
from fanscribe_handlers.engine import SAMPLE_RATE, Context, Task

pytestmark = [pytest.mark.engine, pytest.mark.speech]

Samples = NDArray[np.float32]
FAMILY = resources.files("fanscribe_handlers.diarize_onnx")


@pytest.fixture(scope="module")
def engine() -> DiarizeOnnxEngine:
    engine = DiarizeOnnxEngine(2)
    variant = yaml.safe_load((FAMILY / "variants" / "diarize-onnx.yaml").read_text())
    engine.load(Variant.model_validate(variant), Path(str(FAMILY / "weights")))
    return engine


@pytest.fixture(scope="module")
def call(speech_dir: Path) -> Samples:
    path = speech_dir / "pyannote_sample.wav"
    return decode(path, path.name).samples


def diarize(engine: DiarizeOnnxEngine, samples: Samples, start_s: float = 0.0) -> DiarizeResult:
    """Times count from the start of the file, in which the samples begin at `start_s`."""
    result = engine.run(Task(DiarizeInput(audio="data:,"), samples), Context(report=lambda share: None))
    for turns in (result.segments, result.exclusive_segments):
        turns[:] = [Turn(turn.start + start_s, turn.end + start_s, turn.speaker) for turn in turns]
    return result


@pytest.fixture(scope="module")
def parts(engine: DiarizeOnnxEngine, call: Samples) -> list[DiarizedPart]:
    found = []
    for chunk in chunks_of([Cut(15.0, 5.0)], 0.0, len(call) / SAMPLE_RATE):
        heard = call[round(chunk.heard_start * SAMPLE_RATE) : round(chunk.heard_end * SAMPLE_RATE)]
        result = diarize(engine, heard, chunk.heard_start)
        found.append(DiarizedPart(result, chunk.start, chunk.end, chunk.heard_start, chunk.heard_end))
    return found


def percent(result: DiarizeResult, speech_dir: Path) -> float:
    said = [(turn.start, turn.end, turn.speaker) for turn in result.segments]
    return der(read_rttm(speech_dir / "pyannote_sample.rttm"), said, 30.0).percent


def test_linked_chunks_are_as_good_as_one_piece(
    engine: DiarizeOnnxEngine, call: Samples, parts: list[DiarizedPart], speech_dir: Path
) -> None:
    linked = link(parts)
    assert linked.num_speakers == 2
    assert percent(linked, speech_dir) <= percent(diarize(engine, call), speech_dir) + 0.5


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8, 0.9])
def test_the_result_does_not_hang_on_the_threshold(parts: list[DiarizedPart], threshold: float) -> None:
    assert link(parts, threshold=threshold) == link(parts)


def test_without_the_seconds_that_both_heard_one_speaker_becomes_two(parts: list[DiarizedPart]) -> None:
    # The voices alone do not suffice in so short chunks: this is what the evidence of the overlap is for.
    deaf = [replace(part, heard_start=part.start, heard_end=part.end) for part in parts]
    assert link(deaf, threshold=0.5).num_speakers > 2
