"""Parakeet on ONNX Runtime: recordings of any length to text with the model's own word times.

Options of a variant: `quantization` (middle of the model's file names; int8, or empty for full precision), `window_s`
(longest window, seconds), `batch_size` (windows a call).
"""

from importlib.metadata import version
from pathlib import Path

from fanscribe.contracts.task import TranscribeInput, TranscribeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, Task
from fanscribe_handlers.parakeet.telling import told
from fanscribe_handlers.parakeet.windows import batches, heard_in, windows
from fanscribe_handlers.parakeet.wishes import KEYTERMS_IGNORED, PROMPT_IGNORED, refuse_impossible
from fanscribe_handlers.parakeet.words import Token
from fanscribe_handlers.parakeet_onnx.model import ParakeetOnnxModel

WINDOW_S = 30.0
"""The library hears a window in one call that cannot be stopped, with attention over all of it. Half a minute is as
much as the models saw at a time in training, keeps memory small, and lets a cancellation be seen in between."""


class ParakeetOnnxEngine:
    """One Parakeet model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._model: ParakeetOnnxModel | None = None
        self._variant: Variant | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"onnx-asr {version('onnx-asr')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the model in `model_dir`. Raises ModelMissing."""
        quantization = str(variant.options.get("quantization", "int8"))
        self._variant = variant
        self._model = ParakeetOnnxModel(model_dir, variant.id, self._threads, quantization or None)

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._model is not None
        assert self._variant is not None
        assert isinstance(task.input, TranscribeInput)
        options, asked = self._variant.options, task.input
        refuse_impossible(asked, self._variant)
        if asked.prompt:
            context.warnings.append(PROMPT_IGNORED)
        if asked.keyterms:
            context.warnings.append(KEYTERMS_IGNORED)
        longest_s = float(options.get("window_s", WINDOW_S))
        size = int(options.get("batch_size", 1))
        found = windows(task.samples, longest_s, skip_silence=asked.vad)
        total_s = sum(window.heard_s for window in found)
        done_s = 0.0
        heard: dict[int, list[Token]] = {}
        for batch in batches(found, size * longest_s, size):
            context.check()
            sounds = [heard_in(task.samples, found[number]) for number in batch]
            heard.update(zip(batch, self._model.hear(sounds), strict=True))
            done_s += sum(found[number].heard_s for number in batch)
            context.report(min(1.0, done_s / total_s))
        return told(task, self._variant, found, [heard[number] for number in range(len(found))])
