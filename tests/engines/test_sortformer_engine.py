"""NeMo's Sortformer behind the engine. Runs in the environment of the extra `sortformer`.

The models are tiny and their weights random, but they are real ones: built by NeMo, saved with `save_to`, and restored
by the engine. What they answer is compared with what NeMo's own entry points answer for the same sound.
"""

import asyncio
import base64
import importlib.util
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeInput, DiarizeOutput, DiarizeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import SAMPLE_RATE, Cancelled, Context, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import ModelMissing, Places
from fanscribe_handlers.settings import Settings, read_variant
from fanscribe_handlers.sortformer.engine import SortformerEngine
from fanscribe_handlers.sortformer.windows import FRAME
from fanscribe_handlers.worker import Worker

if importlib.util.find_spec("nemo") is None:
    pytest.skip("needs the extra sortformer", allow_module_level=True)

# As the worker does, before the libraries are loaded: threads that wait do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings

Samples = NDArray[np.float32]
LAYERS = 2
OFFLINE, STREAMING = "sortformer-4spk-v1", "sortformer-streaming-4spk-v2.1"


def tiny(file: Path, *, streaming: bool) -> Path:
    """A Sortformer with two layers of each kind, saved as `file`."""
    import torch
    from nemo.collections.asr.models import SortformerEncLabelModel
    from omegaconf import OmegaConf

    asr = "nemo.collections.asr"
    width, narrow, mels = 64, 32, 128 if streaming else 80
    config = {
        "sample_rate": SAMPLE_RATE,
        "max_num_of_spks": 4,
        "streaming_mode": streaming,
        "model_defaults": {"fc_d_model": width, "tf_d_model": narrow},
        "preprocessor": {
            "_target_": f"{asr}.modules.AudioToMelSpectrogramPreprocessor",
            "normalize": "NA" if streaming else "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "sample_rate": SAMPLE_RATE,
            "window": "hann",
            "features": mels,
            "n_fft": 512,
            "frame_splicing": 1,
            "dither": 0.00001,
        },
        "encoder": {
            "_target_": f"{asr}.modules.ConformerEncoder",
            "feat_in": mels,
            "feat_out": -1,
            "n_layers": LAYERS,
            "d_model": width,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": 32,
            "self_attention_model": "rel_pos",
            "n_heads": 4,
            "att_context_size": [-1, -1],
            "conv_kernel_size": 9,
        },
        "transformer_encoder": {
            "_target_": f"{asr}.modules.transformer.transformer_encoders.TransformerEncoder",
            "num_layers": LAYERS,
            "hidden_size": narrow,
            "inner_size": 64,
            "num_attention_heads": 4,
        },
        "sortformer_modules": {
            "_target_": f"{asr}.modules.sortformer_modules.SortformerModules",
            "num_spks": 4,
            "fc_d_model": width,
            "tf_d_model": narrow,
        },
        "loss": {"_target_": f"{asr}.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
        "optim": {"name": "adamw", "lr": 0.001},
    }
    torch.manual_seed(0)
    model = SortformerEncLabelModel(cfg=OmegaConf.create(config))
    with (
        torch.no_grad()
    ):  # so that the speakers' probabilities differ from each other and from frame to frame
        model.sortformer_modules.single_hidden_to_spks.weight *= 20
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save_to(str(file))
    return file.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("offline") / "diar_sortformer_4spk-v1.nemo", streaming=False)


@pytest.fixture(scope="module")
def streaming_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("streaming") / "diar_streaming_sortformer_4spk-v2.1.nemo"
    return tiny(file, streaming=True)


@pytest.fixture(scope="module")
def engine(folder: Path) -> SortformerEngine:
    return loaded(OFFLINE, folder)


@pytest.fixture(scope="module")
def streaming(streaming_folder: Path) -> SortformerEngine:
    return loaded(STREAMING, streaming_folder)


def variant(name: str, **options: str | int) -> Variant:
    return read_variant({"FANSCRIBE_VARIANT": name}, "sortformer").model_copy(update={"options": options})


def loaded(name: str, folder: Path, **options: str | int) -> SortformerEngine:
    engine = SortformerEngine(2)
    engine.load(variant(name, **options), folder)
    return engine


def nemo_model(engine: SortformerEngine) -> Any:
    """NeMo's own object."""
    assert engine._model is not None
    return engine._model._model


def noise(seconds: float) -> Samples:
    """Noise whose loudness comes and goes, so that something happens."""
    size = int(seconds * SAMPLE_RATE)
    rng = np.random.default_rng(0)
    swell = 0.2 + 0.2 * np.sin(np.arange(size) / SAMPLE_RATE * 2)
    return (swell * rng.standard_normal(size)).astype(np.float32)


def run(engine: SortformerEngine, samples: Samples, **asked: int) -> DiarizeResult:
    return engine.run(Task(DiarizeInput(audio="data:,", **asked), samples), Context(lambda share: None))


def test_the_answer_is_that_of_nemo(engine: SortformerEngine) -> None:
    samples = noise(11.3)
    assert engine._model is not None
    heard = engine._model.hear(samples, lambda share: None)
    _, (tensor,) = nemo_model(engine).diarize(
        audio=[samples], sample_rate=SAMPLE_RATE, include_tensor_outputs=True, verbose=False
    )
    expected = tensor[0].numpy()
    assert heard.shape == (-(-len(samples) // FRAME), 4)
    frames = min(len(heard), len(expected))
    assert abs(len(heard) - len(expected)) <= 1
    assert np.allclose(heard[:frames], expected[:frames], atol=1e-5)
    assert heard.std() > 0.05


def test_the_turns_are_those_of_nemo(engine: SortformerEngine) -> None:
    samples = noise(11.3)
    result = run(engine, samples)
    (lines,) = nemo_model(engine).diarize(audio=[samples], sample_rate=SAMPLE_RATE, verbose=False)
    expected = sorted((float(start), float(end)) for start, end, _ in map(str.split, lines))
    found = sorted((turn.start, turn.end) for turn in result.segments)
    assert len(found) == len(expected) > 0
    assert np.allclose(found, [(start, min(end, 11.3)) for start, end in expected], atol=0.011)


def test_the_streaming_answer_is_that_of_nemo(streaming: SortformerEngine) -> None:
    import torch

    samples = noise(70)  # three chunks of 27 s
    assert streaming._model is not None
    heard = streaming._model.hear(samples, lambda share: None)
    with torch.inference_mode():
        expected = (
            nemo_model(streaming)
            .forward(
                audio_signal=torch.from_numpy(samples)[None], audio_signal_length=torch.tensor([len(samples)])
            )[0]
            .numpy()
        )
    frames = min(len(heard), len(expected))
    assert abs(len(heard) - len(expected)) <= 1
    assert np.allclose(heard[:frames], expected[:frames], atol=1e-5)
    result = run(streaming, samples)
    assert result.duration == 70.0
    assert result.segments
    assert result.embeddings == {}


def test_a_long_recording_goes_in_windows(folder: Path) -> None:
    engine = loaded(OFFLINE, folder, window_s=90)
    seen: list[int] = []
    hook = nemo_model(engine).encoder.register_forward_pre_hook(
        lambda module, positional, named: seen.append(named["audio_signal"].shape[2]), with_kwargs=True
    )
    shares: list[float] = []
    task = Task(DiarizeInput(audio="data:,"), noise(200))
    result = engine.run(task, Context(lambda share: shares.append(share)))
    hook.remove()
    assert len(seen) == 3
    assert max(seen) <= 90 * 100 + 1  # mel features of 10 ms
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 3 * 2 * LAYERS + 1
    assert all(0 <= turn.start < turn.end <= 200 for turn in result.segments)
    assert max(turn.end for turn in result.segments) > 190


@pytest.mark.parametrize("kind", ["offline", "streaming"])
def test_a_cancelled_task_stops_between_layers(
    kind: str, engine: SortformerEngine, streaming: SortformerEngine
) -> None:
    subject = engine if kind == "offline" else streaming
    cancelled = threading.Event()
    calls: list[int] = []
    hook = (
        nemo_model(subject)
        .transformer_encoder.layers[0]
        .register_forward_pre_hook(lambda *_: calls.append(1))
    )
    task = Task(DiarizeInput(audio="data:,"), noise(40))
    with pytest.raises(Cancelled):
        subject.run(task, Context(lambda share: cancelled.set(), cancelled))
    hook.remove()
    assert calls == []
    assert run(subject, noise(5)).duration == 5.0  # and the engine goes on


def test_out_of_memory_halves_the_window_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    engine = loaded(OFFLINE, folder, window_s=180)
    encoder = nemo_model(engine).encoder
    forward = encoder.forward
    lengths: list[int] = []
    fits_s = 100

    def short_of_memory(*args: Any, **named: Any) -> Any:
        lengths.append(named["audio_signal"].shape[2])
        if lengths[-1] > fits_s * 100 + 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB.")
        return forward(*args, **named)

    monkeypatch.setattr(encoder, "forward", short_of_memory)
    assert run(engine, noise(200)).duration == 200
    assert lengths[0] > 17_000
    assert max(lengths[1:]) <= 9_008
    lengths.clear()
    run(engine, noise(200))
    assert max(lengths) <= 9_008  # it keeps what fitted
    fits_s = 40
    with pytest.raises(OutOfMemory, match="send a shorter clip"):
        run(engine, noise(200))


def test_half_precision_keeps_the_answer(engine: SortformerEngine) -> None:
    """The arithmetic of the GPU's default, on the CPU."""
    import torch

    samples = noise(8)
    assert engine._model is not None
    exact = engine._model.hear(samples, lambda share: None)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        signal = torch.from_numpy(samples)[None]
        halved = nemo_model(engine).forward(signal, torch.tensor([len(samples)]))[0].float().numpy()
    frames = min(len(exact), len(halved))
    assert np.abs(exact[:frames] - halved[:frames]).mean() < 0.03


@pytest.mark.parametrize("asked", [{"num_speakers": 5}, {"min_speakers": 5}])
def test_more_speakers_than_it_knows_are_refused(engine: SortformerEngine, asked: dict[str, int]) -> None:
    with pytest.raises(InvalidTask, match=rf"field {next(iter(asked))}: .* at most 4 speakers"):
        run(engine, noise(1), **asked)


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_the_number_of_speakers_is_kept(engine: SortformerEngine, wanted: int) -> None:
    result = run(engine, noise(11.3), max_speakers=wanted)
    assert 1 <= result.num_speakers <= wanted
    names = [f"SPEAKER_{number:02d}" for number in range(result.num_speakers)]
    assert list(dict.fromkeys(turn.speaker for turn in result.segments)) == names


def test_silence_and_a_clip_of_a_fifth_of_a_second(engine: SortformerEngine) -> None:
    assert run(engine, np.zeros(SAMPLE_RATE, np.float32)).duration == 1.0
    assert run(engine, noise(0.2)).duration == 0.2


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"0 files named \*\.nemo"):
        loaded(OFFLINE, tmp_path)


def test_the_worker_serves_it(folder: Path, tmp_path: Path) -> None:
    import soundfile

    wav = io.BytesIO()
    soundfile.write(wav, noise(6), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    settings = Settings.from_env({"FANSCRIBE_VARIANT": OFFLINE, "FANSCRIBE_THREADS": "2"}, "sortformer")
    worker = Worker(SortformerEngine(2), settings, Places(folder, tmp_path, tmp_path / "cache", None))
    audio = base64.b64encode(wav.getvalue()).decode()
    job = {"id": "1", "input": {"audio": f"data:audio/wav;base64,{audio}"}}
    output = DiarizeOutput.model_validate(asyncio.run(worker.handle(job)))
    assert output.engine.startswith("nemo_toolkit 3.")
    assert output.variant == OFFLINE
    assert output.duration == 6.0
    assert output.timing.cold_start
    refused = asyncio.run(worker.handle({"id": "2", "input": {**job["input"], "num_speakers": 6}}))  # type: ignore[dict-item]
    assert "INVALID_INPUT" in refused["error"]
