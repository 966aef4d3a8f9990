"""WhisperX as an engine: text, word times and, where asked for, speakers of a recording in one pass.

The options of a variant are described in `fanscribe_handlers.whisperx.options`.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fanscribe.contracts.task import DiarizeResult, Timestamps, TranscribeInput, TranscribeResult
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.merge import assign_speakers
from fanscribe.spacing import join
from fanscribe_handlers.engine import Context, InvalidTask, Task
from fanscribe_handlers.pyannote.engine import TELEMETRY_VARIABLE
from fanscribe_handlers.whisperx.options import options_of
from fanscribe_handlers.whisperx.segments import without_words

if TYPE_CHECKING:
    from fanscribe_handlers.whisperx.model import Model, Report

_TRANSCRIBED, _ALIGNED = 0.6, 0.75  # share of the work that is done after these stages


class WhisperxEngine:
    """One WhisperX pipeline. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._model: Model | None = None
        self._variant = ""

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"whisperx {version('whisperx')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load all models. Raises ValueError for an option that does not exist."""
        options = options_of(variant)
        os.environ.setdefault(TELEMETRY_VARIABLE, "false")
        from fanscribe_handlers.whisperx.model import Model

        self._variant = variant.id
        self._model = Model(model_dir, options, self._threads)

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe, align and diarize. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._model is not None
        assert isinstance(task.input, TranscribeInput)
        model, asked = self._model, task.input
        self._refuse(asked)
        if not asked.vad:
            context.warnings.append(
                "vad: false has no effect: whisperx always cuts recordings where nobody speaks"
            )

        def stage(begin: float, end: float) -> "Report":
            def report(share: float) -> None:
                context.check()
                context.report(begin + (end - begin) * min(1.0, share))

            return report

        context.check()
        language, probability = asked.language, 1.0 if asked.language else None
        if language is None:
            language, probability = model.detect(task.samples)
        segments = model.transcribe(task.samples, language, asked, stage(0.0, _TRANSCRIBED))
        text = join(segment.text for segment in segments)
        if asked.timestamps is not Timestamps.NONE or asked.diarize:
            if model.aligns(language):
                segments = model.align(task.samples, segments, language, stage(_TRANSCRIBED, _ALIGNED))
            elif segments:
                context.warnings.append(
                    f"{self._variant} has no aligner for {language!r}: there are no word times; choose another model, "
                    f"or add the option align_{language} to the variant"
                )
        diarization: DiarizeResult | None = None
        if asked.diarize:
            diarization = model.diarize(task.samples, asked, stage(_ALIGNED, 1.0))
            if asked.timestamps is not Timestamps.WORD:  # the words are still there and tell best who spoke
                segments = assign_speakers(segments, diarization.segments, diarization.exclusive_segments)
        context.report(1.0)
        return TranscribeResult(
            text=text,
            language=language,
            language_probability=probability,
            duration=task.duration_s,
            segments=segments if asked.timestamps is Timestamps.WORD else without_words(segments),
            diarization=diarization,
        )

    def _refuse(self, asked: TranscribeInput) -> None:
        assert self._model is not None
        if asked.task != "transcribe":
            raise InvalidTask(
                f"field task: {self._variant} aligns words with their sound, which a translation has not: use a "
                "Whisper model"
            )
        if asked.language is not None and asked.language not in self._model.languages:
            raise InvalidTask(f"field language: the model does not know {asked.language!r}")
