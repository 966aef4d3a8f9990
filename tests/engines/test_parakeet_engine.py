"""NeMo itself behind the engine. Runs in the environment of the extra `parakeet`.

A tiny model, taught one recording, is saved and restored in the form of the real ones (see tiny_tdt.py). It stays in
build/engines/tiny-tdt, where the test of the ONNX runtime finds its export and what NeMo heard with it.
"""

import asyncio
import base64
import hashlib
import importlib.util
import json
import os
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

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a worker does, before PyTorch is imported

if importlib.util.find_spec("nemo") is None:
    pytest.skip("needs the extra parakeet", allow_module_level=True)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.speech,
    pytest.mark.filterwarnings("ignore"),  # the libraries' own warnings
    pytest.mark.timeout(900),  # the model is taught first
]

Samples = NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "build" / "engines" / "tiny-tdt"
RATE = 16_000
SILENCE = np.zeros(4 * RATE, dtype=np.float32)

OTHERS = {"hotwords.mp3": None, "stereo_diarization.wav": 0, "pyannote_sample.wav": None}
"""Recordings that the model was not taught, and their channels: what it makes of them is nonsense, but the same
nonsense whatever runs it."""


def sound(file: Path, channel: int | None = None) -> Samples:
    return decode(file, file.name, channel=channel).samples


@pytest.fixture(scope="module")
def speech(speech_dir: Path) -> Samples:
    return sound(speech_dir / "jfk.flac")


@pytest.fixture(scope="module")
def folder(speech: Samples) -> Path:
    """The folder with tiny.nemo, made anew when what it is made from has changed."""
    recipe = hashlib.sha256(Path(tiny_tdt.__file__).read_bytes() + speech.tobytes()).hexdigest()
    note = TINY / "recipe"
    if not note.is_file() or note.read_text() != recipe:
        tiny_tdt.build(TINY, speech)
        note.write_text(recipe)
    return TINY / "nemo"


def variant(**options: Any) -> Variant:
    """The English variant, with other options."""
    known = read_variant({"FANSCRIBE_VARIANT": "parakeet-tdt-0.6b-v2"}, "parakeet")
    return known.model_copy(update={"options": options})


def load(folder: Path, **options: Any) -> Any:
    from fanscribe_handlers.parakeet.engine import ParakeetEngine

    engine = ParakeetEngine(threads=2)
    engine.load(variant(**options), folder)
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    return load(folder)


def hear(engine: Any, samples: Samples, context: Context | None = None, **asked: Any) -> TranscribeResult:
    task = Task(TranscribeInput(audio="data:,", **asked), samples)
    result: TranscribeResult = engine.run(task, context or Context(report=lambda share: None))
    return result


def words_in(result: TranscribeResult) -> list[Word]:
    return [word for segment in result.segments for word in segment.words]


def attention(engine: Any) -> str:
    """The kind of attention that is in use."""
    return type(engine._model._model.encoder.layers[0].self_attn).__name__


def test_speech_becomes_text_with_the_times_that_the_model_was_taught(engine: Any, speech: Samples) -> None:
    result = hear(engine, speech)
    assert result.text == tiny_tdt.TEXT
    assert result.language == "en"
    assert result.duration == pytest.approx(11.0, abs=0.01)
    found = words_in(result)
    assert [word.text for word in found] == tiny_tdt.TEXT.split()
    assert [word.start for word in found] == pytest.approx(tiny_tdt.STARTS, abs=0.09)
    assert [word.end for word in found] == pytest.approx(tiny_tdt.ENDS, abs=0.25)  # a last token is cut short
    assert all(0 <= word.start < word.end <= result.duration for word in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(word.confidence is not None and 0.5 < word.confidence <= 1 for word in found)
    assert engine.version.startswith("NeMo 3.")


def test_what_nemo_hears_is_kept_for_the_other_runtime(
    engine: Any, speech: Samples, speech_dir: Path
) -> None:
    files = {"jfk.flac": None, **OTHERS}
    texts = {
        name: hear(engine, sound(speech_dir / name, channel), vad=False).text
        for name, channel in files.items()
    }
    assert all(texts.values())
    (TINY / "heard.json").write_text(json.dumps(texts))


def test_local_attention_hears_the_same_where_it_reaches_everything(
    engine: Any, folder: Path, speech: Samples
) -> None:
    local = load(folder, full_attention_s=5)
    assert attention(local) == "RelPositionMultiHeadAttention"
    result = hear(local, speech)
    assert attention(local) == "RelPositionMultiHeadAttentionLongformer"
    full = hear(engine, speech)
    assert result.text == full.text
    assert [word.start for word in words_in(result)] == [word.start for word in words_in(full)]
    assert hear(local, speech[: 4 * RATE]).text == "And so my fellow Americans, ask"
    assert attention(local) == "RelPositionMultiHeadAttention"


@pytest.mark.parametrize("window_s", [100, 25])
def test_long_audio_is_heard_whole_and_in_windows(folder: Path, speech: Samples, window_s: float) -> None:
    samples, said = tiny_tdt.readings(speech, 6)
    long = load(folder, full_attention_s=20, window_s=window_s, batch_size=2)
    result = hear(long, samples)
    assert attention(long) == "RelPositionMultiHeadAttentionLongformer"
    assert result.text == " ".join([tiny_tdt.TEXT] * 6)
    assert [segment.text for segment in result.segments] == [tiny_tdt.TEXT] * 6
    found = words_in(result)
    assert [word.start for word in found] == pytest.approx([start for _, start, _ in said], abs=0.25)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_half_precision_hears_the_same(folder: Path, speech: Samples) -> None:
    half = load(folder, precision="bfloat16", full_attention_s=5)
    assert hear(half, speech).text == tiny_tdt.TEXT  # with attention layers that were exchanged, too
    assert {parameter.dtype for parameter in half._model._model.parameters()} == {half._model._dtype}


def islands(speech: Samples, count: int) -> Samples:
    """The recording so many times with long silence between: a window each."""
    return np.concatenate([each for _ in range(count) for each in (speech, SILENCE)])


def test_long_silence_is_left_out(engine: Any, speech: Samples) -> None:
    result = hear(engine, islands(speech, 3))
    assert result.text == " ".join([tiny_tdt.TEXT] * 3)
    begun = [segment.start for segment in result.segments]
    assert begun == pytest.approx([0.32 + number * 15 for number in range(3)], abs=0.2)
    assert hear(engine, np.zeros(600 * RATE, dtype=np.float32)).segments == []


def forwards(engine: Any, monkeypatch: pytest.MonkeyPatch, fits: Callable[[int], bool]) -> list[int]:
    """Sizes of the batches that the model is given from now on; those that do not fit run out of memory."""
    import torch

    model = engine._model._model
    genuine = model.forward
    sizes: list[int] = []

    def forward(input_signal: Any, input_signal_length: Any) -> Any:
        sizes.append(len(input_signal))
        if not fits(len(input_signal)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return genuine(input_signal=input_signal, input_signal_length=input_signal_length)

    monkeypatch.setattr(model, "forward", forward)
    return sizes


def test_a_batch_that_does_not_fit_is_halved_once(
    engine: Any, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = islands(speech, 4)
    sizes = forwards(engine, monkeypatch, lambda size: size <= 2)
    assert hear(engine, samples).text == " ".join([tiny_tdt.TEXT] * 4)
    assert sizes == [4, 2, 2]
    with monkeypatch.context() as patch:
        sizes = forwards(engine, patch, lambda size: size <= 1)
        with pytest.raises(OutOfMemory, match="send a shorter clip"):
            hear(engine, samples)
        assert sizes == [4, 2]
        sizes.clear()
        assert hear(engine, speech).text == tiny_tdt.TEXT
    sizes = forwards(engine, monkeypatch, lambda size: False)
    with pytest.raises(OutOfMemory):
        hear(engine, speech)
    assert sizes == [1]


def test_a_batch_is_planned_by_the_free_memory(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert engine._model.batch_s == 120  # without a GPU
    monkeypatch.setattr(engine._model, "on_gpu", True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (12_000_000_000, 24_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2_000_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 1_000_000_000)
    in_single = engine._model.batch_s
    assert in_single * 13_000_000 == pytest.approx(
        0.6 * 13_000_000_000
    )  # what torch holds unused counts as free
    monkeypatch.setattr(engine._model, "_dtype", torch.bfloat16)
    assert engine._model.batch_s == pytest.approx(2 * in_single)


def test_other_errors_of_the_model_stay_what_they_are(
    engine: Any, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(**_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine._model._model, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        hear(engine, speech)


def test_the_share_done_grows_inside_a_call(engine: Any, speech: Samples) -> None:
    shares: list[float] = []
    hear(engine, speech, Context(report=lambda share: shares.append(share)))
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0


def test_a_cancellation_stops_between_two_layers(engine: Any, speech: Samples) -> None:
    context = Context(report=lambda share: None)
    shares: list[float] = []

    def report(share: float) -> None:
        shares.append(share)
        context.cancelled.set()

    context.report = report
    with pytest.raises(Cancelled):
        hear(engine, speech, context)
    assert shares == [0.0]
    assert hear(engine, speech).text == tiny_tdt.TEXT


def test_key_terms_are_favoured(engine: Any, speech: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    from fanscribe_handlers.parakeet import model

    plain = hear(engine, speech, keyterms=["country"])
    assert plain.text == tiny_tdt.TEXT  # what was said stays, at the usual weight
    monkeypatch.setattr(model, "_BOOST", 12.0)
    pushed = hear(engine, speech, keyterms=["fellow"]).text
    assert pushed.count("fellow") > tiny_tdt.TEXT.count("fellow")
    assert hear(engine, speech).text == tiny_tdt.TEXT


def test_what_the_model_cannot_do_is_refused_or_told(engine: Any, speech: Samples) -> None:
    with pytest.raises(InvalidTask, match="field task"):
        hear(engine, speech, task="translate")
    with pytest.raises(InvalidTask, match="field language"):
        hear(engine, speech, language="de")
    context = Context(report=lambda share: None)
    hear(engine, speech, context, prompt="A speech.")
    assert [warning.split(":")[0] for warning in context.warnings] == ["prompt was ignored"]


def test_a_sound_of_a_few_hundredths_is_no_error(engine: Any, speech: Samples) -> None:
    assert hear(engine, speech[RATE : RATE + 800], vad=False).duration == 0.05


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"has 0 files named \*\.nemo"):
        load(tmp_path)


def test_the_worker_answers_a_job(folder: Path, speech_dir: Path) -> None:
    from fanscribe_handlers.parakeet.engine import ParakeetEngine

    settings = Settings.from_env(
        {"FANSCRIBE_VARIANT_JSON": _tiny_variant().model_dump_json(exclude_defaults=True)}, "parakeet"
    )
    worker = Worker(ParakeetEngine(2), settings, Places(folder, Path("/nowhere"), Path("/nowhere"), None))
    audio = base64.b64encode((speech_dir / "jfk.flac").read_bytes()).decode()
    body = {
        "audio": f"data:audio/flac;base64,{audio}",
        "clip": {"start": 3.0, "end": 11.0},
        "prompt": "Kennedy",
    }
    answered = asyncio.run(worker.handle({"id": "one", "input": body}))
    output = TranscribeOutput.model_validate(answered)
    assert output.text == tiny_tdt.TEXT[28:]
    assert output.segments[0].start == pytest.approx(3.28, abs=0.09)
    assert (output.language, output.variant) == ("en", "tiny")
    assert output.engine.startswith("NeMo 3.")
    assert output.timing.cold_start
    assert output.timing.load_s > 0
    assert [warning.split(":")[0] for warning in output.warnings] == ["prompt was ignored"]
    refused = asyncio.run(worker.handle({"id": "two", "input": {**body, "task": "translate"}}))
    assert TaskError.parse(refused["error"]).code is ErrorCode.INVALID_INPUT


def _tiny_variant() -> Variant:
    known = variant()
    return known.model_copy(
        update={"id": "tiny", "model": known.model.model_copy(update={"files": ["tiny.nemo"]})}
    )
