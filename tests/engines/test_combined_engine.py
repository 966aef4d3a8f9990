"""The real engines of a built-in combination: together they say what they say alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeInput, DiarizeResult, TranscribeInput, TranscribeResult
from fanscribe.media import decode
from fanscribe_handlers.combined.engine import CombinedEngine, engine_of
from fanscribe_handlers.engine import Cancelled, Context, Engine, Task
from fanscribe_handlers.models import Places, locate
from fanscribe_handlers.settings import read_variant

pytestmark = pytest.mark.engine

SAMPLE = Path(__file__).resolve().parent.parent.parent / "docs" / "samples" / "conversation.flac"
VARIANT = read_variant({"FANSCRIBE_VARIANT": "whisper-base-diarized"}, "combined")
THREADS = 2


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    with SAMPLE.open("rb") as file:
        return decode(file, SAMPLE.name, clip=(0, 25)).samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return locate(VARIANT, Places(None, Path("/nowhere"), tmp_path_factory.mktemp("models"), None), {})


@pytest.fixture(scope="module")
def together(folder: Path) -> CombinedEngine:
    engine = CombinedEngine(THREADS)
    engine.load(VARIANT, folder)
    return engine


def alone(family: str, folder: Path) -> Engine:
    (part,) = [each for each in VARIANT.parts if each.family == family]
    engine = engine_of(family, THREADS)
    engine.load(part, folder / part.id)
    return engine


def quiet() -> Context:
    return Context(report=lambda share: None)


def test_words_and_turns_are_those_of_the_parts(
    together: CombinedEngine, folder: Path, samples: NDArray[np.float32]
) -> None:
    shares: list[float] = []
    asked = TranscribeInput(audio="data:,", language="en", diarize=True)
    both = together.run(Task(asked, samples), Context(report=lambda share: shares.append(share)))
    words = alone("whisper", folder).run(
        Task(TranscribeInput(audio="data:,", language="en"), samples), quiet()
    )
    turns = alone("diarize_onnx", folder).run(Task(DiarizeInput(audio="data:,"), samples), quiet())
    assert isinstance(words, TranscribeResult)
    assert isinstance(turns, DiarizeResult)
    assert both.segments == words.segments
    assert both.diarization is not None
    assert both.diarization.segments == turns.segments
    assert turns.num_speakers == 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 4


def test_it_stops_in_the_middle_and_works_again(
    together: CombinedEngine, samples: NDArray[np.float32]
) -> None:
    context = quiet()

    def stop(share: float) -> None:
        context.cancelled.set()

    context.report = stop
    asked = TranscribeInput(audio="data:,", language="en", diarize=True)
    with pytest.raises(Cancelled):
        together.run(Task(asked, samples), context)
    again = together.run(Task(asked, samples[: 5 * 16_000]), quiet())
    assert again.diarization is not None
    assert again.text
