"""Whisper through faster-whisper: recordings of any length to text with times.

Options of a variant: `compute_type` (CTranslate2's name; default float16 on a GPU, int8 on a CPU), `beam_size`
(5), `batch_size` (pieces a call; 16 on a GPU, 4 on a CPU), `piece_s` (longest piece of speech, seconds, at most 30).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import Timestamps, TranscribeInput, TranscribeResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.contracts.variant import Variant
from fanscribe.spacing import join
from fanscribe_handlers.engine import SAMPLE_RATE, Context, InvalidTask, Task
from fanscribe_handlers.sentences import sentences
from fanscribe_handlers.whisper.decoder import Decoder, Heard, Wishes
from fanscribe_handlers.whisper.halves import fuller, halves
from fanscribe_handlers.whisper.pieces import MARGIN_S, MAX_WINDOW_S, Piece, Span, batches, group
from fanscribe_handlers.whisper.speech import cut_quietly, find_speech
from fanscribe_handlers.whisper.unheard import believable, piece_around, unheard
from fanscribe_handlers.whisper.word_times import fit_to_speech

_PIECE_S = MAX_WINDOW_S
"""Shorter pieces save encoder work, but context helps the words: on six conversations of 60 to 120 s the word error
rate was 5.8 % with 30 s and 6.5 % with 25 s, for 7 % more processor time."""

_DETECTION_TRIES = 3
_SURE_LANGUAGE = 0.5


class WhisperEngine:
    """One Whisper model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._decoder: Decoder | None = None
        self._options: dict[str, str | int | float | bool] = {}
        self._only: str | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"faster-whisper {version('faster-whisper')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load a model in CTranslate2 form."""
        self._options = dict(variant.options)
        languages = variant.capabilities.languages
        # A model of one language has not learnt to tell languages apart, so it is not asked to.
        self._only = languages[0] if languages != "all" and len(languages) == 1 else None
        compute_type = self._options.get("compute_type")
        self._decoder = Decoder(model_dir, self._threads, str(compute_type) if compute_type else None)

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe or translate. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._decoder is not None
        assert isinstance(task.input, TranscribeInput)
        decoder, asked = self._decoder, task.input
        language = asked.language or self._only
        if language is not None and language not in decoder.languages:
            raise InvalidTask(f"field language: the model does not know {language!r}")
        wishes = Wishes(
            language=language,
            task=asked.task,
            beam_size=int(self._options.get("beam_size", 5)),
            prompt=asked.prompt,
            keyterms=tuple(asked.keyterms),
            words=asked.timestamps is Timestamps.WORD,
            times=asked.timestamps is Timestamps.SEGMENT,
        )
        limit_s = min(MAX_WINDOW_S, float(self._options.get("piece_s", _PIECE_S)))
        if asked.vad:
            speech = find_speech(task.samples, limit_s - 2 * MARGIN_S, self._threads, context.check)
            pieces = group(speech, task.duration_s, limit_s)
        else:
            speech = cut_quietly(task.samples, limit_s)
            pieces = [Piece((span,)) for span in speech]
        probability = 1.0 if language else None
        if language is None and pieces:
            language, probability = self._detect(decoder, task.samples, pieces, context)
            if len(pieces) == 1:  # nothing more to learn from its short window
                wishes = replace(wishes, language=language)
        heard = self._decode(decoder, task.samples, pieces, language or "en", wishes, context)
        if wishes.words:
            segments = self._timed(decoder, task, pieces, heard, speech, language or "en", wishes, context)
            text = join(segment.text for segment in segments)
        else:
            text = join(each.text for each in heard)
            segments = [
                segment
                for piece, each in zip(pieces, heard, strict=True)
                for segment in _segments(piece, each, wishes, task.duration_s)
            ]
        return TranscribeResult(
            text=text,
            language=language,
            language_probability=probability,
            duration=task.duration_s,
            segments=segments,
        )

    def _timed(
        self,
        decoder: Decoder,
        task: Task,
        pieces: list[Piece],
        heard: list[Heard],
        speech: list[Span],
        language: str,
        wishes: Wishes,
        context: Context,
    ) -> list[Segment]:
        """Segments with word times, after what the first hearing left out was heard again."""
        told = _Told([], [])
        for piece, each in zip(pieces, heard, strict=True):
            first = _Told.of([piece], [each]).fitted(speech, task.duration_s)
            parts = halves(piece, speech, first.words, task.duration_s)
            if parts:
                retold = self._decode(decoder, task.samples, parts, language, wishes, context, report=False)
                second = _Told.of(parts, retold).fitted(speech, task.duration_s)
                first = second if fuller(first.words, second.words) else first
            told.add(first)
        told.fitted(speech, task.duration_s)
        missed = (
            unheard(speech, told.words) if isinstance(task.input, TranscribeInput) and task.input.vad else []
        )
        if missed:
            again = [piece_around(span, task.duration_s) for span in missed]
            reheard = self._decode(decoder, task.samples, again, language, wishes, context, report=False)
            for span, piece, each in zip(missed, again, reheard, strict=True):
                found = _Told.of([piece], [each]).fitted(speech, task.duration_s)
                told.add(found, believable(span, found.words))
            told.sort()
        return sentences(told.words, told.written)

    def _decode(
        self,
        decoder: Decoder,
        samples: NDArray[np.float32],
        pieces: list[Piece],
        language: str,
        wishes: Wishes,
        context: Context,
        *,
        report: bool = True,
    ) -> list[Heard]:
        size = int(self._options.get("batch_size", 16 if decoder.on_gpu else 4))
        if not decoder.on_gpu:
            size = max(1, min(size, len(pieces) // 2))  # so that progress is seen on short recordings too
        total_s = sum(piece.length for piece in pieces)
        heard: dict[int, Heard] = {}
        done_s = 0.0
        for batch in batches(pieces, size):
            context.check()
            sounds = [_sound(samples, pieces[number]) for number in batch]
            answers = decoder.decode(sounds, language, wishes, context.check)
            heard.update(zip(batch, answers, strict=True))
            done_s += sum(pieces[number].length for number in batch)
            if report:
                context.report(min(1.0, done_s / total_s))
        return [heard[number] for number in range(len(pieces))]

    def _detect(
        self, decoder: Decoder, samples: NDArray[np.float32], pieces: list[Piece], context: Context
    ) -> tuple[str, float]:
        """The language of the first piece that is fairly sure of one, else the surest of the first few."""
        best = ("en", 0.0)
        for piece in pieces[:_DETECTION_TRIES]:
            context.check()
            found = decoder.detect(_sound(samples, piece))
            if found[1] > best[1]:
                best = found
            if best[1] > _SURE_LANGUAGE:
                break
        return best


def _sound(samples: NDArray[np.float32], piece: Piece) -> NDArray[np.float32]:
    return np.concatenate(
        [samples[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)] for span in piece.spans]
    )


@dataclass(slots=True)
class _Told:
    """Words in order, and beside each how the model wrote it (with its space)."""

    words: list[Word]
    written: list[str]

    @classmethod
    def of(cls, pieces: list[Piece], heard: list[Heard]) -> "_Told":
        told = cls([], [])
        for piece, each in zip(pieces, heard, strict=True):
            for word in each.words:
                span = piece.in_file(word.start, word.end)
                told.words.append(
                    Word(word.written.strip(), span.start, span.end, round(word.probability, 4))
                )
                told.written.append(word.written)
        return told

    def fitted(self, speech: list[Span], duration_s: float) -> "_Told":
        """The same, its words moved out of pauses."""
        fit_to_speech(self.words, speech, duration_s)
        return self

    def add(self, other: "_Told", numbers: Iterable[int] | None = None) -> None:
        """Take over all words of another one, or those of these numbers."""
        numbers = range(len(other.words)) if numbers is None else list(numbers)
        self.words += [other.words[number] for number in numbers]
        self.written += [other.written[number] for number in numbers]

    def sort(self) -> None:
        order = sorted(range(len(self.words)), key=lambda number: self.words[number].start)
        self.words = [self.words[number] for number in order]
        self.written = [self.written[number] for number in order]


def _segments(piece: Piece, heard: Heard, wishes: Wishes, duration_s: float) -> list[Segment]:
    """The segments of one piece without words, times in the file."""
    if not heard.text:
        return []
    if wishes.times:
        spans = [(piece.in_file(start, end), text) for start, end, text in heard.parts]
        return [Segment(span.start, span.end, text) for span, text in spans]
    return [Segment(piece.start, min(piece.end, duration_s), heard.text)]
