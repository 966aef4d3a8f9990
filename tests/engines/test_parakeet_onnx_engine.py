"""onnx-asr itself behind the engine. Runs in the environment of the extra `parakeet-onnx`.

It runs after test_parakeet_engine.py, which leaves the tiny model's export, and what NeMo heard with it, in
build/engines/tiny-tdt.
"""

import asyncio
import base64
import importlib.util
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.engines import tiny_tdt

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import TranscribeInput, TranscribeOutput, TranscribeResult
from fanscribe.contracts.transcript import Word
from fanscribe.contracts.variant import Variant
from fanscribe.media import decode
from fanscribe_handlers.engine import Cancelled, Context, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import ModelMissing, Places
from fanscribe_handlers.settings import Settings, read_variant
from fanscribe_handlers.worker import Worker

if importlib.util.find_spec("onnx_asr") is None:
    pytest.skip("needs the extra parakeet-onnx", allow_module_level=True)

from fanscribe_handlers.parakeet_onnx.engine import ParakeetOnnxEngine

pytestmark = [pytest.mark.engine, pytest.mark.speech]

Samples = NDArray[np.float32]
TINY = Path(__file__).resolve().parents[2] / "build" / "engines" / "tiny-tdt"
RATE = 16_000
SILENCE = np.zeros(4 * RATE, dtype=np.float32)
CHANNELS = {"stereo_diarization.wav": 0}


def sound(file: Path, channel: int | None = None) -> Samples:
    return decode(file, file.name, channel=channel).samples


@pytest.fixture(scope="module")
def speech(speech_dir: Path) -> Samples:
    return sound(speech_dir / "jfk.flac")


@pytest.fixture(scope="module")
def folder() -> Path:
    assert (TINY / "heard.json").is_file(), "run test_parakeet_engine.py in the environment of parakeet first"
    return TINY / "onnx"


def variant(**options: Any) -> Variant:
    """The variant, English only, for files in full precision, with other options."""
    known = read_variant({"FANSCRIBE_VARIANT": "parakeet-onnx-tdt-0.6b-v3"}, "parakeet_onnx")
    return known.model_copy(update={"options": {"quantization": "", **options}})


def load(folder: Path, **options: Any) -> ParakeetOnnxEngine:
    engine = ParakeetOnnxEngine(threads=2)
    engine.load(variant(**options), folder)
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path) -> ParakeetOnnxEngine:
    return load(folder)


def hear(
    engine: ParakeetOnnxEngine, samples: Samples, context: Context | None = None, **asked: Any
) -> TranscribeResult:
    task = Task(TranscribeInput(audio="data:,", **asked), samples)
    return engine.run(task, context or Context(report=lambda share: None))


def words_in(result: TranscribeResult) -> list[Word]:
    return [word for segment in result.segments for word in segment.words]


def test_speech_becomes_text_with_the_times_that_the_model_was_taught(
    engine: ParakeetOnnxEngine, speech: Samples
) -> None:
    result = hear(engine, speech)
    assert result.text == tiny_tdt.TEXT
    assert result.language is None
    assert result.duration == pytest.approx(11.0, abs=0.01)
    found = words_in(result)
    assert [word.text for word in found] == tiny_tdt.TEXT.split()
    assert [word.start for word in found] == pytest.approx(tiny_tdt.STARTS, abs=0.09)
    assert [word.end for word in found] == pytest.approx(tiny_tdt.ENDS, abs=0.25)
    assert all(0 <= word.start < word.end <= result.duration for word in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(word.confidence is not None and 0.5 < word.confidence <= 1 for word in found)
    assert engine.version.startswith("onnx-asr 0.")


def test_both_runtimes_hear_the_same(engine: ParakeetOnnxEngine, speech_dir: Path) -> None:
    heard: dict[str, str] = json.loads((TINY / "heard.json").read_text())
    assert len(heard) == 4
    for name, text in heard.items():
        assert hear(engine, sound(speech_dir / name, CHANNELS.get(name)), vad=False).text == text, name


def test_long_audio_is_heard_in_windows(engine: ParakeetOnnxEngine, speech: Samples) -> None:
    samples, said = tiny_tdt.readings(speech, 6)
    shares: list[float] = []
    result = hear(engine, samples, Context(report=lambda share: shares.append(share)))
    assert result.text == " ".join([tiny_tdt.TEXT] * 6)
    found = words_in(result)
    assert [word.start for word in found] == pytest.approx([start for _, start, _ in said], abs=0.25)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_cancellation_stops_between_two_windows(engine: ParakeetOnnxEngine, speech: Samples) -> None:
    context = Context(report=lambda share: None)
    shares: list[float] = []

    def report(share: float) -> None:
        shares.append(share)
        context.cancelled.set()

    context.report = report
    with pytest.raises(Cancelled):
        hear(engine, tiny_tdt.readings(speech, 6)[0], context)
    assert len(shares) == 1
    assert shares[0] < 0.5


def islands(speech: Samples, count: int) -> Samples:
    """The recording so many times with long silence between: a window each."""
    return np.concatenate([each for _ in range(count) for each in (speech, SILENCE)])


def test_long_silence_is_left_out(engine: ParakeetOnnxEngine, speech: Samples) -> None:
    result = hear(engine, islands(speech, 3))
    assert result.text == " ".join([tiny_tdt.TEXT] * 3)
    begun = [segment.start for segment in result.segments]
    assert begun == pytest.approx([0.32 + number * 15 for number in range(3)], abs=0.2)
    assert hear(engine, np.zeros(600 * RATE, dtype=np.float32)).segments == []


def encodings(engine: Any, monkeypatch: pytest.MonkeyPatch, fits: Callable[[int], bool]) -> list[int]:
    """Sizes of the batches that the encoder is given from now on; those that do not fit run out of memory."""
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    model = engine._model._model.asr
    genuine = model._encode
    sizes: list[int] = []

    def encode(features: Any, lengths: Any) -> Any:
        sizes.append(len(features))
        if not fits(len(features)):
            raise RuntimeException(
                "Non-zero status code returned. Failed to allocate memory for requested buffer"
            )
        return genuine(features, lengths)

    monkeypatch.setattr(model, "_encode", encode)
    return sizes


def test_a_batch_that_does_not_fit_is_halved_once(
    folder: Path, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(folder, batch_size=4)
    samples = islands(speech, 4)
    with monkeypatch.context() as patch:
        sizes = encodings(engine, patch, lambda size: size <= 2)
        assert hear(engine, samples).text == " ".join([tiny_tdt.TEXT] * 4)
        assert sizes == [4, 2, 2]
    with monkeypatch.context() as patch:
        sizes = encodings(engine, patch, lambda size: size <= 1)
        with pytest.raises(OutOfMemory, match="send a shorter clip"):
            hear(engine, samples)
        assert sizes == [4, 2]
    sizes = encodings(engine, monkeypatch, lambda size: False)
    with pytest.raises(OutOfMemory):
        hear(engine, speech)
    assert sizes == [1]


def test_what_the_model_cannot_do_is_refused_or_told(engine: ParakeetOnnxEngine, speech: Samples) -> None:
    with pytest.raises(InvalidTask, match="field task"):
        hear(engine, speech, task="translate")
    with pytest.raises(InvalidTask, match="field language"):
        hear(engine, speech, language="ja")
    context = Context(report=lambda share: None)
    result = hear(engine, speech, context, language="en", prompt="A speech.", keyterms=["Kennedy"])
    assert result.language == "en"
    assert [warning.split(":")[0] for warning in context.warnings] == [
        "prompt was ignored",
        "keyterms were ignored",
    ]


def test_a_sound_of_a_few_hundredths_is_no_error(engine: ParakeetOnnxEngine, speech: Samples) -> None:
    assert hear(engine, speech[RATE : RATE + 800], vad=False).duration == 0.05


def test_quantised_files_are_found_by_their_names(folder: Path, speech: Samples, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"encoder-model\?int8\.onnx"):
        load(folder, quantization="int8")
    for file in folder.iterdir():
        shutil.copy(file, tmp_path / file.name.replace("-model.onnx", "-model.int8.onnx"))
    assert hear(load(tmp_path, quantization="int8"), speech).text == tiny_tdt.TEXT


def test_the_worker_answers_a_job(folder: Path, speech_dir: Path) -> None:
    known = variant()
    small = known.model_copy(
        update={"id": "tiny", "model": known.model.model_copy(update={"files": ["vocab.txt"]})}
    )
    settings = Settings.from_env(
        {"FANSCRIBE_VARIANT_JSON": small.model_dump_json(exclude_defaults=True)}, "parakeet_onnx"
    )
    worker = Worker(ParakeetOnnxEngine(2), settings, Places(folder, Path("/nowhere"), Path("/nowhere"), None))
    audio = base64.b64encode((speech_dir / "jfk.flac").read_bytes()).decode()
    body = {
        "audio": f"data:audio/flac;base64,{audio}",
        "clip": {"start": 3.0, "end": 11.0},
        "keyterms": ["Kennedy"],
    }
    answered = asyncio.run(worker.handle({"id": "one", "input": body}))
    output = TranscribeOutput.model_validate(answered)
    assert output.text == tiny_tdt.TEXT[28:]
    assert output.segments[0].start == pytest.approx(3.28, abs=0.09)
    assert output.variant == "tiny"
    assert output.engine.startswith("onnx-asr 0.")
    assert output.timing.cold_start
    assert [warning.split(":")[0] for warning in output.warnings] == ["keyterms were ignored"]
    refused = asyncio.run(worker.handle({"id": "two", "input": {**body, "language": "ja"}}))
    assert TaskError.parse(refused["error"]).code is ErrorCode.INVALID_INPUT
