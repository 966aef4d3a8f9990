"""whisperx in memory. Importing this module imports torch, whisperx and what they need, which takes many seconds."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisperx.alignment
import whisperx.asr
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeInput, DiarizeResult, TranscribeInput
from fanscribe.contracts.transcript import Segment
from fanscribe_handlers.accelerator import device, free_bytes, release
from fanscribe_handlers.halving import halve_once
from fanscribe_handlers.pyannote.diarizer import Diarizer
from fanscribe_handlers.pyannote.options import Options as DiarizerOptions
from fanscribe_handlers.whisperx.options import Options, windows_at_once
from fanscribe_handlers.whisperx.segments import aligned_segments, heard_segments

_log = logging.getLogger(__name__)

Report = Callable[[float], None]
"""Takes the share of one stage that is done, 0 to 1; what it raises ends the work."""

_PERCENT = 100.0  # whisperx reports in per cent


class _OneSpan:
    """Stands where whisperx wants NLTK's splitter of sentences, whose data it would fetch while it works.

    One span for the whole text: sentences are made afterwards, out of the timed words.
    """

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


whisperx.alignment.nltk_load = lambda resource: _OneSpan()


class Model:
    """Whisper, an aligner for each language and the diarizer, all from `folder` and its sub-folders."""

    def __init__(self, folder: Path, options: Options, threads: int) -> None:
        torch.set_num_threads(threads)
        self._folder = folder
        self._options = options
        on = device()
        self._on = on.type
        self._whisper: Any = whisperx.asr.load_model(
            str(folder),
            self._on,
            compute_type=options.compute_type or ("float16" if self._on == "cuda" else "int8"),
            asr_options={"beam_size": options.beam_size},
            local_files_only=True,
            threads=threads,
        )
        self._diarizer = (
            Diarizer(folder / options.diarizer, DiarizerOptions(), threads) if options.diarizer else None
        )
        self._aligner: tuple[str, Any, Any] | None = None
        if options.aligners:
            self._take_aligner(next(iter(options.aligners)))
        self._windows = options.batch_size or windows_at_once(free_bytes(on))
        _log.info("whisperx runs on %s with %d windows at a time", self._on, self._windows)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that Whisper knows."""
        known: list[str] = self._whisper.model.supported_languages
        return known

    def detect(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        """The language of the first half minute, and its probability."""
        language, probability, _ = self._whisper.model.detect_language(samples)
        return str(language), float(probability)

    def transcribe(
        self, samples: NDArray[np.float32], language: str, asked: TranscribeInput, report: Report
    ) -> list[Segment]:
        """The text of each stretch of speech. Raises OutOfMemory, after one more try with half the windows."""
        plain = self._whisper.options
        self._whisper.options = dataclasses.replace(
            plain, initial_prompt=asked.prompt, hotwords=", ".join(asked.keyterms) or None
        )

        def work(windows: int) -> list[Segment]:
            self._windows = windows  # later tasks keep what fitted
            told = self._whisper.transcribe(
                samples,
                batch_size=windows,
                language=language,
                task="transcribe",
                progress_callback=lambda share: report(share / _PERCENT),
            )
            return heard_segments(told["segments"])

        try:
            return halve_once(self._windows, work, release=release)
        finally:
            self._whisper.options = plain
            release()

    def aligns(self, language: str) -> bool:
        """Whether there is an aligner for the language."""
        return language in self._options.aligners

    def align(
        self, samples: NDArray[np.float32], segments: Sequence[Segment], language: str, report: Report
    ) -> list[Segment]:
        """Sentences with word times. The language must be one that `aligns`."""
        network, metadata = self._take_aligner(language)
        sound = torch.from_numpy(samples)
        timed: list[Segment] = []
        for number, segment in enumerate(segments, 1):
            given = {"start": segment.start, "end": segment.end, "text": segment.text}
            told = whisperx.alignment.align([given], network, metadata, sound, self._on)
            timed += aligned_segments(segment, told["segments"], language)
            report(number / len(segments))
        release()
        return timed

    def diarize(self, samples: NDArray[np.float32], asked: TranscribeInput, report: Report) -> DiarizeResult:
        """Who speaks when. Raises OutOfMemory."""
        assert self._diarizer is not None
        bounds = DiarizeInput(
            audio=asked.audio,
            num_speakers=asked.num_speakers,
            min_speakers=asked.min_speakers,
            max_speakers=asked.max_speakers,
        )
        try:
            return self._diarizer.diarize(samples, bounds, report)
        finally:
            release()

    def _take_aligner(self, language: str) -> tuple[Any, Any]:
        """The aligner of a language; only the one used last is kept in memory."""
        if self._aligner is None or self._aligner[0] != language:
            self._aligner = None
            release()
            network, metadata = whisperx.alignment.load_align_model(
                language,
                self._on,
                model_name=str(self._folder / self._options.aligners[language]),
                model_cache_only=True,
            )
            self._aligner = (language, network.eval(), metadata)
        return self._aligner[1], self._aligner[2]
