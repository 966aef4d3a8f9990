"""Several engines in one worker as one engine: text and, where asked for, speakers of a recording in one request.

The recogniser and the diarizer work side by side, each in a thread; with one core one follows the other. An aligner,
where there is one, times the recogniser's words after it. The engines are those of the other families as they are.
"""

import importlib
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fanscribe.contracts.task import (
    AlignInput,
    AlignResult,
    DiarizeInput,
    DiarizeResult,
    Stage,
    Timestamps,
    TranscribeInput,
    TranscribeResult,
)
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.merge import assign_speakers
from fanscribe_handlers.combined.sides import Share, SideContext, weights_of
from fanscribe_handlers.engine import Cancelled, Context, Engine, InvalidTask, OutOfMemory, Task

MakeEngine = Callable[[str, int], Engine]
"""From a family and the CPU threads that it may use to its engine. Raises ImportError."""

_NO_SPEAKERS = {"diarize": False, "num_speakers": None, "min_speakers": None, "max_speakers": None}
_END_THE_JOB = (InvalidTask, OutOfMemory, MemoryError, ImportError)
"""What a diarizer may raise that the caller or the operator can mend; of anything else the text is spared."""

_log = logging.getLogger(__name__)


def engine_of(family: str, threads: int) -> Engine:
    """The engine of a family: the one class of its module `engine` whose name ends in Engine. Raises ImportError."""
    module = importlib.import_module(f"fanscribe_handlers.{family}.engine")
    made: Any
    (made,) = (
        each
        for name, each in inspect.getmembers(module, inspect.isclass)
        if name.endswith("Engine") and each.__module__ == module.__name__
    )
    engine: Engine = made(threads)
    return engine


class CombinedEngine:
    """The engines of a combination's parts, one for each stage. Each may use `threads` CPU threads."""

    def __init__(self, threads: int, make_engine: MakeEngine = engine_of) -> None:
        self._threads = threads
        self._make_engine = make_engine
        self._parts: dict[Stage, Variant] = {}
        self._engines: dict[Stage, Engine] = {}
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="diarize")

    @property
    def version(self) -> str:
        """Names and versions of the parts' libraries, each once."""
        return " + ".join(dict.fromkeys(engine.version for engine in self._engines.values()))

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load each part from its sub-folder of `model_dir`, one after the other: they read from the same disk."""
        self._parts = {part.stages[0]: part for part in variant.parts}
        for stage, part in self._parts.items():
            engine = self._make_engine(part.family, self._threads)
            engine.load(part, model_dir / part.id)
            self._engines[stage] = engine

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe and, where asked for, diarize. Raises InvalidTask, OutOfMemory, Cancelled.

        A diarizer or an aligner that fails otherwise leaves a transcript without speakers, or with the recogniser's
        own word times, and a warning.
        """
        assert isinstance(task.input, TranscribeInput)
        asked = task.input
        context.check()
        sides = self._sides(asked, context)
        if not asked.diarize:
            result = self._transcribed(task, asked, sides)
        else:
            result, result.diarization = self._both(task, asked, sides)
            if result.diarization is None:
                context.warnings.append(
                    "speakers are missing: diarization failed (the worker's log has the trace)"
                )
            if asked.timestamps is not Timestamps.WORD:
                _without_words(result)
        context.report(1.0)
        return result

    def _sides(self, asked: TranscribeInput, context: Context) -> dict[Stage, SideContext]:
        """A context for each part that has something to do."""
        wanted = {
            Stage.TRANSCRIBE: True,
            Stage.ALIGN: asked.task == "transcribe"
            and (asked.diarize or asked.timestamps is Timestamps.WORD),
            Stage.DIARIZE: asked.diarize,
        }
        stages = [stage for stage in self._parts if wanted[stage]]
        share = Share(context.report, weights_of([self._parts[stage] for stage in stages]))
        return {stage: SideContext(context, share.side(number)) for number, stage in enumerate(stages)}

    def _both(
        self, task: Task, asked: TranscribeInput, sides: dict[Stage, SideContext]
    ) -> tuple[TranscribeResult, DiarizeResult | None]:
        """Text and speakers, side by side where there is more than one core."""
        if self._threads == 1:
            return self._transcribed(task, asked, sides), self._diarized(task, asked, sides)
        beside = self._beside.submit(self._diarized, task, asked, sides)
        try:
            result = self._transcribed(task, asked, sides)
        except BaseException as error:
            sides[Stage.DIARIZE].stop()
            failed = beside.exception()  # its end is waited for: the next task must find it idle
            if isinstance(error, Cancelled) and isinstance(failed, _END_THE_JOB):
                raise failed from None  # the diarizer's failure stopped the recogniser
            raise
        return result, beside.result()

    def _transcribed(
        self, task: Task, asked: TranscribeInput, sides: dict[Stage, SideContext]
    ) -> TranscribeResult:
        timestamps = Timestamps.WORD if asked.diarize else asked.timestamps
        if Stage.ALIGN in sides and not self._parts[Stage.TRANSCRIBE].capabilities.word_timestamps:
            timestamps = Timestamps.SEGMENT
        alone = asked.model_copy(update={**_NO_SPEAKERS, "timestamps": timestamps})
        result = self._engines[Stage.TRANSCRIBE].run(
            Task(alone, task.samples, task.offset_s), sides[Stage.TRANSCRIBE]
        )
        assert isinstance(result, TranscribeResult)
        if Stage.ALIGN in sides and result.segments and result.language is not None:
            self._align(task, result, result.language, sides[Stage.ALIGN])
        return result

    def _align(self, task: Task, result: TranscribeResult, language: str, side: SideContext) -> None:
        """Put the aligner's words in place of the recogniser's; where it cannot, these stay as they are."""
        part = self._parts[Stage.ALIGN]
        known = part.capabilities.languages
        kept = "words have the recogniser's own times, or none"
        if known != "all" and language not in known:
            side.warnings.append(f"{kept}: {part.id} does not know {language!r}")
            return
        assert isinstance(task.input, TranscribeInput)
        wanted = AlignInput(audio=task.input.audio, segments=result.segments, language=language)
        try:
            # The recogniser's times count from the start of these samples, not of the file.
            aligned = self._engines[Stage.ALIGN].run(Task(wanted, task.samples), side)
        except (Cancelled, OutOfMemory, MemoryError, ImportError):
            raise
        except InvalidTask as error:
            side.warnings.append(f"{kept}: alignment was refused ({error})")
        except Exception:
            _log.exception("the aligner %s failed", part.id)
            side.warnings.append(f"{kept}: alignment failed (the worker's log has the trace)")
        else:
            assert isinstance(aligned, AlignResult)
            result.segments = aligned.segments

    def _diarized(
        self, task: Task, asked: TranscribeInput, sides: dict[Stage, SideContext]
    ) -> DiarizeResult | None:
        """The speakers; None where the diarizer failed in a way that nobody's request is to blame for."""
        wanted = DiarizeInput(
            audio=asked.audio,
            num_speakers=asked.num_speakers,
            min_speakers=asked.min_speakers,
            max_speakers=asked.max_speakers,
        )
        try:
            result = self._engines[Stage.DIARIZE].run(
                Task(wanted, task.samples, task.offset_s), sides[Stage.DIARIZE]
            )
        except Cancelled:
            raise
        except _END_THE_JOB:
            for side in sides.values():
                side.stop()
            raise
        except Exception:
            _log.exception("the diarizer %s failed", self._parts[Stage.DIARIZE].id)
            return None
        assert isinstance(result, DiarizeResult)
        return result


def _without_words(result: TranscribeResult) -> None:
    """Name the speakers while the words are there, which tell best who spoke, and drop the words."""
    if (found := result.diarization) is not None:
        result.segments = assign_speakers(result.segments, found.segments, found.exclusive_segments)
    for segment in result.segments:
        segment.words = []
