"""Whisper through faster-whisper: recordings of any length to text with times.

Options of a variant: `compute_type` (CTranslate2's name; default float16 on a GPU, int8 on a CPU), `beam_size`
(5), `batch_size` (pieces a call; 16 on a GPU, 4 on a CPU), `piece_s` (longest piece of speech, seconds, at most 30).
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import Timestamps, TranscribeInput, TranscribeResult
from fanscribe.contracts.transcript import Segment, Word
from fanscribe.contracts.variant import Variant
from fanscribe.spacing import join
from fanscribe_handlers.engine import SAMPLE_RATE, Context, InvalidTask, Task
from fanscribe_handlers.whisper.decoder import Decoder, Heard, Wishes
from fanscribe_handlers.whisper.pieces import MARGIN_S, MAX_WINDOW_S, Piece, Span, batches, group
from fanscribe_handlers.whisper.sentences import fit_to_speech, sentences
from fanscribe_handlers.whisper.speech import cut_quietly, find_speech

_PIECE_S = 25.0
"""Measured on Whisper base: as right as 30 s and a fifth faster, because the encoder's work grows faster than the
length; under 20 s the words get worse."""

_DETECTION_TRIES = 3
_SURE_LANGUAGE = 0.5


class WhisperEngine:
    """One Whisper model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._decoder: Decoder | None = None
        self._options: dict[str, str | int | float | bool] = {}

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"faster-whisper {version('faster-whisper')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load a model in CTranslate2 form."""
        self._options = dict(variant.options)
        compute_type = self._options.get("compute_type")
        self._decoder = Decoder(model_dir, self._threads, str(compute_type) if compute_type else None)

    def run(self, task: Task, context: Context) -> TranscribeResult:
        """Transcribe or translate. Raises InvalidTask, OutOfMemory, Cancelled."""
        assert self._decoder is not None
        assert isinstance(task.input, TranscribeInput)
        decoder, asked = self._decoder, task.input
        if asked.language is not None and asked.language not in decoder.languages:
            raise InvalidTask(f"field language: the model does not know {asked.language!r}")
        wishes = Wishes(
            language=asked.language,
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
        language, probability = asked.language, 1.0 if asked.language else None
        if language is None and pieces:
            language, probability = self._detect(decoder, task.samples, pieces, context)
        heard = self._decode(decoder, task.samples, pieces, language or "en", wishes, context)
        segments: list[Segment] = []
        for piece, each in zip(pieces, heard, strict=True):
            segments.extend(_segments(piece, each, wishes, speech, task.duration_s))
        return TranscribeResult(
            text=join(each.text for each in heard),
            language=language,
            language_probability=probability,
            duration=task.duration_s,
            segments=segments,
        )

    def _decode(
        self,
        decoder: Decoder,
        samples: NDArray[np.float32],
        pieces: list[Piece],
        language: str,
        wishes: Wishes,
        context: Context,
    ) -> list[Heard]:
        size = int(self._options.get("batch_size", 16 if decoder.on_gpu else 4))
        total_s = sum(piece.length for piece in pieces)
        heard: dict[int, Heard] = {}
        done_s = 0.0
        for batch in batches(pieces, size):
            context.check()
            sounds = [_sound(samples, pieces[number]) for number in batch]
            answers = decoder.decode(sounds, language, wishes, context.check)
            heard.update(zip(batch, answers, strict=True))
            done_s += sum(pieces[number].length for number in batch)
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


def _segments(
    piece: Piece, heard: Heard, wishes: Wishes, speech: list[Span], duration_s: float
) -> list[Segment]:
    """The segments of one piece, times in the file."""
    if not heard.text:
        return []
    if wishes.words:
        words = []
        for each in heard.words:
            span = piece.in_file(each.start, each.end)
            words.append(Word(each.written.strip(), span.start, span.end, round(each.probability, 4)))
        fit_to_speech(words, speech, duration_s)
        return sentences(words, [each.written for each in heard.words])
    if wishes.times:
        spans = [(piece.in_file(start, end), text) for start, end, text in heard.parts]
        return [Segment(span.start, span.end, text) for span, text in spans]
    return [Segment(piece.start, min(piece.end, duration_s), heard.text)]
