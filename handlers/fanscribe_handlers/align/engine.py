"""Word times for text that is already there, by CTC forced alignment.

Options of a variant: `romanise` (false; true for models that know only the letters a to z, such as MMS) and
`batch_frames` (frames of 20 ms that go through the network together; by default what the GPU's memory allows).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import AlignInput, AlignResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.align.characters import Row, placed, row
from fanscribe_handlers.align.timing import (
    Placed,
    from_clip_start,
    refuse_long_segments,
    refuse_other_language,
    timed_segment,
    windows,
)
from fanscribe_handlers.align.trellis import force
from fanscribe_handlers.align.windows import HOP, Wanted, Window, batches, cut
from fanscribe_handlers.align.wording import spoken_words, written_words
from fanscribe_handlers.engine import SAMPLE_RATE, Context, Task
from fanscribe_handlers.halving import halve_once

if TYPE_CHECKING:
    from fanscribe_handlers.align.model import Aligner
    from fanscribe_handlers.align.romanised import Romaniser

_FRAME_S = HOP / SAMPLE_RATE
_NETWORK_SHARE = 0.9  # of the work, for the reports; the rest is the search
_OPTIONS = ("romanise", "batch_frames")


class AlignEngine:
    """One CTC model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._aligner: Aligner | None = None
        self._romanise: Romaniser | None = None
        self._languages: frozenset[str] | None = None
        self._batch_frames = 0

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"transformers {version('transformers')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the model. Raises ValueError for an option that does not exist or a vocabulary of no use."""
        for name in variant.options:
            if name not in _OPTIONS:
                raise ValueError(
                    f"variant {variant.id}: there is no option {name!r}; use {', '.join(_OPTIONS)}"
                )
        # Imported only now: they take seconds, and the load runs while the worker starts.
        from fanscribe_handlers.align.model import Aligner
        from fanscribe_handlers.align.romanised import Romaniser

        self._aligner = Aligner(model_dir, self._threads)
        self._romanise = Romaniser() if variant.options.get("romanise") else None
        self._batch_frames = int(variant.options.get("batch_frames", self._aligner.batch_frames))
        languages = variant.capabilities.languages
        self._languages = None if languages == "all" else frozenset(languages)

    def run(self, task: Task, context: Context) -> AlignResult:
        """Time the words. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._aligner is not None
        assert isinstance(task.input, AlignInput)
        asked = task.input
        refuse_other_language(asked.language, self._languages)
        segments = from_clip_start(asked.segments, task.offset_s)
        refuse_long_segments(segments)
        context.check()
        words = [written_words(segment) for segment in segments]
        rows = [self._row(each, asked.language) for each in words]
        spans = windows(segments, task.duration_s)
        heard = cut(
            [span if made.tokens else (0.0, 0.0) for span, made in zip(spans, rows, strict=True)],
            len(task.samples),
            SAMPLE_RATE,
        )
        emissions = self._emissions(task.samples, heard, context)
        timed: list[Segment] = []
        for number, (segment, each, made) in enumerate(zip(segments, words, rows, strict=True)):
            context.check()
            timed.append(timed_segment(segment, each, self._placed(made, emissions.get(number))))
            context.report(_NETWORK_SHARE + (1 - _NETWORK_SHARE) * (number + 1) / len(segments))
        return AlignResult(segments=timed)

    def _row(self, words: Sequence[Word], language: str) -> Row:
        assert self._aligner is not None
        spoken = [spoken_words(word.text, language) for word in words]
        if self._romanise is not None:
            spoken = [[self._romanise(each, language) for each in word] for word in spoken]
        return row(self._aligner.characters, spoken)

    def _emissions(
        self, samples: NDArray[np.float32], heard: Sequence[Window], context: Context
    ) -> "dict[int, _Emissions]":
        """The log probabilities of each segment that has a window, by the segment's number."""
        assert self._aligner is not None
        aligner = self._aligner
        found: dict[Wanted, NDArray[np.float32]] = {}
        whole = sum(window.last - window.first for window in heard)

        def work(frames: int) -> None:
            self._batch_frames = frames  # later tasks keep what fitted
            left = [window for window in heard if window.wanted not in found]
            for batch in batches(left, frames, len(samples) // HOP):
                context.check()
                for window, each in zip(batch, aligner.emissions(samples, batch), strict=True):
                    found[window.wanted] = each
                done = sum(last - first for _, first, last in found)
                context.report(_NETWORK_SHARE * done / whole)

        halve_once(self._batch_frames, work, release=aligner.release)
        by_segment: dict[int, _Emissions] = {}
        for window in heard:
            known = by_segment.get(window.segment)
            every = found[window.wanted]
            if known is None:
                by_segment[window.segment] = _Emissions(window.first, every)
            else:
                known.values = np.concatenate((known.values, every))
        return by_segment

    def _placed(self, made: Row, emissions: "_Emissions | None") -> list[Placed | None]:
        assert self._aligner is not None
        spans = None
        if emissions is not None:
            spans = force(emissions.values, made.tokens, self._aligner.characters.blank)
        if emissions is None or spans is None:
            return [None] * len(made.words)
        return placed(made, spans, _FRAME_S, emissions.first * _FRAME_S)


@dataclass(slots=True)
class _Emissions:
    """Log probabilities of a segment, shape (frames, vocabulary), from the frame `first` of the recording on."""

    first: int
    values: NDArray[np.float32]
