"""Our own two engines in one process, one after the other: what the platform has to beat."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeInput, DiarizeResult, TranscribeInput, TranscribeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.diarize_onnx.engine import DiarizeOnnxEngine
from fanscribe_handlers.engine import Context, Task
from fanscribe_handlers.models import Places, locate
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.whisper.engine import WhisperEngine

_AUDIO = "https://localhost/in-memory"  # the contract wants a reference; the engines read samples


def variant(family: str, name: str) -> Variant:
    """A variant of the family's folder."""
    return read_variant({"FANSCRIBE_VARIANT": name}, family)


def model_dir(chosen: Variant) -> Path:
    """Where the variant's weights lie, unpacked first where needed."""
    return locate(chosen, Places.from_env(os.environ), dict(os.environ))


class Engines:
    """Whisper base and the embedded diarizer, loaded, with `threads` each."""

    def __init__(self, threads: int) -> None:
        whisper, diarizer = variant("whisper", "whisper-base"), variant("diarize_onnx", "diarize-onnx")
        self.whisper_dir = model_dir(whisper)
        self._whisper, self._diarizer = WhisperEngine(threads), DiarizeOnnxEngine(threads)
        self._whisper.load(whisper, self.whisper_dir)
        self._diarizer.load(diarizer, model_dir(diarizer))

    def transcribe(self, samples: NDArray[np.float32], language: str | None = None) -> TranscribeResult:
        """Words with times."""
        task = Task(TranscribeInput(audio=_AUDIO, language=language), samples)
        return self._whisper.run(task, _quiet())

    def diarize(self, samples: NDArray[np.float32]) -> DiarizeResult:
        """Turns."""
        return self._diarizer.run(Task(DiarizeInput(audio=_AUDIO), samples), _quiet())


def _quiet() -> Context:
    return Context(report=lambda share: None)
