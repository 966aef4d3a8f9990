"""Word times for English text that is already there, by pocketsphinx. It has no options and gives no confidence."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import AlignInput, AlignResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.align.timing import (
    Placed,
    from_clip_start,
    refuse_long_segments,
    refuse_other_language,
    timed_segment,
    windows,
)
from fanscribe_handlers.align.wording import spoken_words, written_words
from fanscribe_handlers.engine import SAMPLE_RATE, Context, Task

if TYPE_CHECKING:
    from fanscribe_handlers.align_pocketsphinx.decoder import Decoder

_LANGUAGES = ("en",)


class PocketsphinxEngine:
    """pocketsphinx's English model. It uses one CPU thread, whatever `threads` says."""

    def __init__(self, threads: int) -> None:
        self._decoder: Decoder | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"pocketsphinx {version('pocketsphinx')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the acoustic model and the dictionary."""
        from fanscribe_handlers.align_pocketsphinx.decoder import Decoder

        self._decoder = Decoder(model_dir)

    def run(self, task: Task, context: Context) -> AlignResult:
        """Time the words. Raises InvalidTask, Cancelled."""
        assert isinstance(task.input, AlignInput)
        refuse_other_language(task.input.language, _LANGUAGES)
        segments = from_clip_start(task.input.segments, task.offset_s)
        refuse_long_segments(segments)
        timed: list[Segment] = []
        for segment, (start, end) in zip(segments, windows(segments, task.duration_s), strict=True):
            context.check()
            words = written_words(segment)
            sound = task.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            timed.append(timed_segment(segment, words, self._placed(words, sound, start)))
            context.report(len(timed) / len(segments))
        return AlignResult(segments=timed)

    def _placed(
        self, words: Sequence[Word], sound: NDArray[np.float32], start_s: float
    ) -> list[Placed | None]:
        assert self._decoder is not None
        spoken: list[str] = []
        mine: list[range] = []  # which spoken words each written word stands for
        for word in words:
            known = [each for each in spoken_words(word.text, "en") if self._decoder.knows(each)]
            mine.append(range(len(spoken), len(spoken) + len(known)))
            spoken += known
        found = self._decoder.align(spoken, sound) if spoken and len(sound) else None
        if found is None:
            return [None] * len(words)
        return [
            Placed(start_s + found[places[0]].start, start_s + found[places[-1]].end) if places else None
            for places in mine
        ]
