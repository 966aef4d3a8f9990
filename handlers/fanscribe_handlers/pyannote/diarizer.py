"""A pyannote pipeline in memory. Importing this module imports torch and pyannote.audio."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe_handlers.accelerator import device, free_bytes, release
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.halving import halve_once
from fanscribe_handlers.pyannote import configuration
from fanscribe_handlers.pyannote.batching import windows_at_once, windows_in
from fanscribe_handlers.pyannote.embedding import WindowEmbedding, can_share
from fanscribe_handlers.pyannote.options import Options
from fanscribe_handlers.pyannote.progress import share_done
from fanscribe_handlers.pyannote.result import Span, diarize_result

_log = logging.getLogger(__name__)

# About torchcodec, which reads files (none is read here), TF32 (which pyannote turns off), and the standard deviation
# of a voice that is heard in one frame.
warnings.filterwarnings("ignore", module=r"pyannote\.audio")


class _NoPLDA(PLDA):  # type: ignore[misc]
    """Stands where pyannote 4 wants a PLDA that the clustering never asks."""

    def __init__(self) -> None:
        """There is nothing to load."""


class Diarizer:
    """The pipeline that the folder `model_dir` describes, on the GPU where there is one.

    Raises WrongConfiguration for a folder that does not describe one.
    """

    def __init__(self, model_dir: Path, options: Options, threads: int) -> None:
        torch.set_num_threads(threads)
        on = device()
        found = configuration.read(model_dir)
        parameters = dict(found.parameters)
        if not found.needs_plda:
            parameters["plda"] = _NoPLDA()
        self._pipeline: Any = SpeakerDiarization(**parameters)
        self._pipeline.instantiate(found.tuned)
        if can_share(self._pipeline._embedding):
            self._pipeline._embedding = WindowEmbedding(self._pipeline._embedding.model_, options.precision)
        self._pipeline.to(on)
        self._voices = len(self._pipeline._segmentation.model.specifications.classes)
        self.windows = options.batch_size or windows_at_once(free_bytes(on))
        _log.info("pyannote runs on %s with %d windows at a time", on, self.windows)

    def diarize(
        self, samples: NDArray[np.float32], asked: DiarizeInput, progress: Callable[[float], None]
    ) -> DiarizeResult:
        """Who speaks when in `samples` (mono, SAMPLE_RATE Hz).

        `progress` is called with the share done, 0 to 1, after each batch; what it raises ends the work. Raises
        OutOfMemory after one more try with half the windows, which later recordings keep.
        """
        # Never a path: pyannote would read it with torchcodec, which needs the CUDA libraries of its build.
        recording = {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE}
        bounds = {
            name: getattr(asked, name)
            for name in ("num_speakers", "min_speakers", "max_speakers")
            if getattr(asked, name) is not None
        }

        def hook(
            step: str,
            artefact: object,
            file: object = None,
            completed: float | None = None,
            total: float | None = None,
        ) -> None:
            share = share_done(step, completed, total)
            if share is not None:
                progress(share)

        together = min(self.windows, windows_in(len(samples) / SAMPLE_RATE))

        def work(windows: int) -> Any:
            self._take(windows)
            if windows < together:
                self.windows = windows
            return self._pipeline(recording, hook=hook, **bounds)

        found = halve_once(together, work, release=release)
        return diarize_result(
            _spans(found.speaker_diarization),
            _spans(found.exclusive_speaker_diarization),
            _vectors(found),
            len(samples) / SAMPLE_RATE,
        )

    def _take(self, windows: int) -> None:
        """Set how many windows go through the networks at a time."""
        self._pipeline.segmentation_batch_size = windows
        self._pipeline.embedding_batch_size = windows * self._voices  # it counts the voices of the windows
        if isinstance(self._pipeline._embedding, WindowEmbedding):
            self._pipeline._embedding.windows = windows


def _spans(annotation: Any) -> list[Span]:
    return [
        (float(span.start), float(span.end), str(speaker))
        for span, _, speaker in annotation.itertracks(yield_label=True)
    ]


def _vectors(found: Any) -> dict[str, NDArray[np.floating]]:
    """The speakers' vectors by label; pyannote gives them in the order of its labels."""
    if found.speaker_embeddings is None:
        return {}
    labels = [str(label) for label in found.speaker_diarization.labels()]
    return dict(zip(labels, found.speaker_embeddings, strict=True))
