"""Parakeet through NeMo: recordings of any length to text with the model's own word times.

Options of a variant: `precision` (bfloat16, float16, float32; the default fits the device), `full_attention_s`
(longest audio that is heard with attention over all of it, seconds), `window_s` (longest window of longer audio,
which is heard with local attention, seconds), `batch_size` (windows a call, 16), `lower_case` (the model writes
lower case without punctuation).
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import TranscribeInput, TranscribeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, Task
from fanscribe_handlers.parakeet.model import ParakeetModel
from fanscribe_handlers.parakeet.telling import told
from fanscribe_handlers.parakeet.windows import Window, batches, heard_in, windows
from fanscribe_handlers.parakeet.wishes import PROMPT_IGNORED, refuse_impossible
from fanscribe_handlers.parakeet.words import Token

FULL_ATTENTION_S = 300.0
"""Attention over everything needs memory with the square of the length: for 300 s about 2 GB in half precision with
8 heads. Chunks of the fan-out are seldom longer, so they are heard whole."""

WINDOW_S = 900.0
"""With local attention memory grows with the length, and an hour would fit; windows let several be decoded at a
time, and a cancellation is seen sooner."""


class ParakeetEngine:
    """One Parakeet model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._model: ParakeetModel | None = None
        self._variant: Variant | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"NeMo {version('nemo_toolkit')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the .nemo file in `model_dir`. Raises ModelMissing."""
        precision = variant.options.get("precision")
        self._variant = variant
        self._model = ParakeetModel(
            model_dir, variant.id, self._threads, str(precision) if precision else None
        )

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._model is not None
        assert self._variant is not None
        assert isinstance(task.input, TranscribeInput)
        model, options, asked = self._model, self._variant.options, task.input
        refuse_impossible(asked, self._variant)
        if asked.prompt:
            context.warnings.append(PROMPT_IGNORED)
        lower_case = bool(options.get("lower_case", False))
        keyterms = tuple(term.lower() if lower_case else term for term in asked.keyterms)
        full_s = float(options.get("full_attention_s", FULL_ATTENTION_S))
        longest_s = full_s
        if task.duration_s > full_s:
            longest_s = max(full_s, float(options.get("window_s", WINDOW_S)))
        found = windows(task.samples, longest_s, skip_silence=asked.vad)
        model.attend(locally=any(window.heard_s > full_s for window in found))
        tokens = self._hear(model, task.samples, found, keyterms, context)
        return told(task, self._variant, found, tokens)

    def _hear(
        self,
        model: ParakeetModel,
        samples: NDArray[np.float32],
        found: list[Window],
        keyterms: tuple[str, ...],
        context: Context,
    ) -> list[list[Token]]:
        assert self._variant is not None
        total_s = sum(window.heard_s for window in found)
        done_s = 0.0
        heard: dict[int, list[Token]] = {}
        for batch in batches(found, model.batch_s, int(self._variant.options.get("batch_size", 16))):
            batch_s = sum(found[number].heard_s for number in batch)

            def step(share: float, done_s: float = done_s, batch_s: float = batch_s) -> None:
                context.check()
                context.report(min(1.0, (done_s + share * batch_s) / total_s))

            sounds = [heard_in(samples, found[number]) for number in batch]
            heard.update(zip(batch, model.hear(sounds, keyterms, step), strict=True))
            done_s += batch_s
            step(0.0, done_s)
        return [heard[number] for number in range(len(found))]
