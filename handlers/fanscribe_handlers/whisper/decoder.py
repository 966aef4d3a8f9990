"""Batches of pieces through the model: the calls into faster-whisper and CTranslate2.

This is faster-whisper's batched mode (greedy over pieces, no text carried over) taken apart at its public
joints, because the pipeline class pads every piece to 30 s, cannot be stopped between its calls, and knows one
language per file.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from numpy.typing import NDArray

from fanscribe_handlers.engine import SAMPLE_RATE, OutOfMemory
from fanscribe_handlers.whisper.pieces import MAX_WINDOW_S, window_s

_CROWD, _MOMENT_S = 4, 0.1
"""So many words within so many seconds are no speech: the fastest talkers say about ten words a second."""

_FRAMES_PER_S = 100  # of the log-mel features
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  full-width marks are meant

_SURE = 0.95
"""Probability from which a piece's own language counts, although the file's is another. Over short windows the
model errs with confidence: of 77 clips of 2 to 20 s of made English conversations it took 4 for another language
with 0.8 and more, none with 0.95."""

_REPETITIVE = 2.4
_TOKENS_PER_S = 10
"""A loop is text that compresses better than 2.4 (Whisper's own rule: Radford et al. 2022, section 4.5) and is
longer than anybody can speak. The first alone also holds for speech that repeats itself on purpose: "it was the
best of times, it was the worst of times"."""

_UNLIKELY = -1.0
_NO_SPEECH = 0.6
"""Text under a mean log probability of -1 in audio with a no-speech probability above 0.6 is invented (ibid.)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asked for."""

    language: str | None
    task: str
    beam_size: int
    prompt: str | None = None
    keyterms: tuple[str, ...] = ()
    words: bool = False
    times: bool = False


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word as the model wrote it, with its space, and its times inside the piece, seconds."""

    written: str
    start: float
    end: float
    probability: float


@dataclass(slots=True)
class Heard:
    """What the model made of one piece; `parts` are its timed texts where times without words were asked for."""

    text: str
    language: str
    words: list[HeardWord] = field(default_factory=list)
    parts: list[tuple[float, float, str]] = field(default_factory=list)


class Decoder:
    """A Whisper model in CTranslate2 form, on the GPU where there is one."""

    def __init__(self, folder: Path, threads: int, compute_type: str | None) -> None:
        self.on_gpu = ctranslate2.get_cuda_device_count() > 0
        self._model = WhisperModel(
            str(folder),
            device="cuda" if self.on_gpu else "cpu",
            compute_type=compute_type or ("float16" if self.on_gpu else "int8"),
            cpu_threads=threads,
            local_files_only=True,
        )

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the model knows."""
        known: list[str] = self._model.supported_languages
        return known

    def detect(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        """The language of up to 30 s of speech and its probability.

        Heard in the model's whole window with real silence behind the speech, as in its training: of 45 clips of
        made English conversations, 3 to 20 s long, it took 2 for another language so; 30 s filled up with the
        library's zeros, which are no silence on the log-mel scale, or a short window, gave more.
        """
        if not self._model.model.is_multilingual:
            return "en", 1.0
        whole = int(MAX_WINDOW_S * SAMPLE_RATE)
        speech = samples[:whole]
        encoded = self._encode([np.pad(speech, (0, whole - len(speech)))])
        return self._likeliest(encoded)[0]

    def decode(
        self,
        samples: list[NDArray[np.float32]],
        language: str,
        wishes: Wishes,
        check: Callable[[], None],
    ) -> list[Heard]:
        """What is said in each piece. `language` is the file's, for pieces that are not sure of another.

        `check` is called between the calls into the model. Raises OutOfMemory.
        """
        try:
            return self._decode(samples, language, wishes, check)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(samples) == 1:
                raise OutOfMemory(
                    "the model does not fit into memory with one piece of audio: take a smaller model or machine"
                ) from error
        half = len(samples) // 2
        return self._decode(samples[:half], language, wishes, check) + self.decode(
            samples[half:], language, wishes, check
        )

    def _decode(
        self, samples: list[NDArray[np.float32]], language: str, wishes: Wishes, check: Callable[[], None]
    ) -> list[Heard]:
        encoded = self._encode(samples, check=check)
        check()
        languages = self._languages(encoded, language, wishes)
        results = self._generate(encoded, languages, wishes)
        heard = []
        for number, result in enumerate(results):
            check()
            duration_s = len(samples[number]) / SAMPLE_RATE
            tokenizer = self._tokenizer(languages[number], wishes.task)
            row = encoded[number : number + 1]
            tokens = result.sequences_ids[0]
            text = tokenizer.decode(tokens)
            if _loops(text, len(tokens), duration_s):
                row = self._encode([samples[number]], whole_window=True, check=check)
                result = self._generate(row, [languages[number]], wishes, no_repeat=3)[0]
                tokens = result.sequences_ids[0]
                text = tokenizer.decode(tokens)
            length = len(tokens)
            if result.no_speech_prob > _NO_SPEECH and result.scores[0] * length / (length + 1) < _UNLIKELY:
                heard.append(Heard("", languages[number]))
                continue
            heard.append(
                Heard(
                    text.strip(),
                    languages[number],
                    self._words(row, tokens, tokenizer, duration_s) if wishes.words else [],
                    self._parts(tokens, tokenizer, duration_s) if wishes.times else [],
                )
            )
        return heard

    def _encode(
        self,
        samples: list[NDArray[np.float32]],
        *,
        whole_window: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> NDArray[Any]:
        """Encoder outputs, shape (pieces, frames / 2, width), all padded to the window of the longest piece.

        On the CPU one piece at a time: a batch gains nothing there, and a cancellation is seen in between.
        """
        longest_s = max(len(each) for each in samples) / SAMPLE_RATE
        frames = round((MAX_WINDOW_S if whole_window else window_s(longest_s)) * _FRAMES_PER_S)
        features = [
            pad_or_trim(self._model.feature_extractor(each)[..., :-1], frames).astype(np.float32)
            for each in samples
        ]
        step = len(samples) if self.on_gpu else 1
        outputs = []
        for begin in range(0, len(features), step):
            check()
            stacked = ctranslate2.StorageView.from_array(
                np.ascontiguousarray(np.stack(features[begin : begin + step]))
            )
            outputs.append(np.array(self._model.model.encode(stacked, to_cpu=True)))
        return np.concatenate(outputs)

    def _languages(self, encoded: NDArray[Any], language: str, wishes: Wishes) -> list[str]:
        if wishes.language is not None or not self._model.model.is_multilingual:
            return [language] * len(encoded)
        return [own if sure >= _SURE else language for own, sure in self._likeliest(encoded)]

    def _likeliest(self, encoded: NDArray[Any]) -> list[tuple[str, float]]:
        found = self._model.model.detect_language(_storage(encoded))
        return [(ranked[0][0][2:-2], float(ranked[0][1])) for ranked in found]

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        return Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, task=task, language=language
        )

    def _generate(
        self, encoded: NDArray[Any], languages: list[str], wishes: Wishes, no_repeat: int = 0
    ) -> list[Any]:
        prompts = [self._prompt(language, wishes) for language in languages]
        tokenizer = self._tokenizer(languages[0], wishes.task)
        results: list[Any] = self._model.model.generate(
            _storage(encoded),
            prompts,
            beam_size=wishes.beam_size,
            max_length=self._model.max_length,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            return_scores=True,
            return_no_speech_prob=True,
            no_repeat_ngram_size=no_repeat,
        )
        return results

    def _prompt(self, language: str, wishes: Wishes) -> list[int]:
        tokenizer = self._tokenizer(language, wishes.task)
        hotwords = ", ".join(wishes.keyterms) or None
        # Half of the model's text context is for what comes before; key terms have precedence over the prompt.
        room = self._model.max_length // 2 - 2
        if hotwords:
            room -= len(tokenizer.encode(" " + hotwords))
        before = tokenizer.encode(" " + wishes.prompt.strip())[-room:] if wishes.prompt and room > 0 else []
        prompt: list[int] = self._model.get_prompt(
            tokenizer, before, without_timestamps=not wishes.times, hotwords=hotwords
        )
        return prompt

    def _words(
        self, row: NDArray[Any], tokens: list[int], tokenizer: Tokenizer, duration_s: float
    ) -> list[HeardWord]:
        """Word times from the cross attention (dynamic time warping)."""
        whole: dict[str, Any] = {"tokens": tokens, "start": 0.0, "end": duration_s, "seek": 0}
        frames = min(int(duration_s * _FRAMES_PER_S), 2 * row.shape[1])
        self._model.add_word_timestamps(
            [[whole]], tokenizer, _storage(row), frames, _PREPENDED, _APPENDED, 0.0
        )
        return possible(
            [
                HeardWord(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
                for word in whole.get("words", [])
            ]
        )

    def _parts(
        self, tokens: list[int], tokenizer: Tokenizer, duration_s: float
    ) -> list[tuple[float, float, str]]:
        """Texts between the model's own time marks, which come in pairs around each."""
        parts: list[tuple[float, float, str]] = []
        start, text = 0.0, []
        for token in tokens:
            if token < tokenizer.timestamp_begin:
                text.append(token)
                continue
            time = min((token - tokenizer.timestamp_begin) * self._model.time_precision, duration_s)
            if text:
                parts.append((start, max(time, start), tokenizer.decode(text).strip()))
            start, text = time, []
        if text:
            parts.append((start, max(duration_s, start), tokenizer.decode(text).strip()))
        return [part for part in parts if part[2]]


def possible(words: list[HeardWord]) -> list[HeardWord]:
    """The words without those that nobody can have said: many at one moment, for which no sound was left.

    A model that repeats sentences it has written already finds no place for them in the audio.
    """
    kept: list[HeardWord] = []
    first = 0
    for after in range(1, len(words) + 1):
        if after == len(words) or words[after].end > words[first].start + _MOMENT_S:
            if after - first < _CROWD:
                kept += words[first:after]
            first = after
    return kept


def _storage(encoded: NDArray[Any]) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(encoded))


def _loops(text: str, tokens: int, duration_s: float) -> bool:
    data = text.encode()
    long = tokens > _TOKENS_PER_S * (duration_s + 2)
    return long and len(data) / len(zlib.compress(data)) > _REPETITIVE


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
