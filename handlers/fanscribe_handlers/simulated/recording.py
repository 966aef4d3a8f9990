"""Recordings of coded words, of any length: made block by block, and every word in them known."""

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.transcript import Turn, Word
from fanscribe.media.flac import FlacWriter
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.simulated.coded import NOISE, WORD_SAMPLES, seconds, word_samples

_PAIR = 24  # words in two turns one after the other
_NOISE_SAMPLES = 65_521  # a prime, so that its period meets no other
_FULL_SCALE = 32_768


def text_of(index: int) -> str:
    """What the recogniser writes for a word; every eighth ends a sentence."""
    return f"w{index}." if index % 8 == 7 else f"w{index}"


def speaker_of(index: int, speakers: int) -> int:
    """Who says a word: turns of 6 to 18 words, one speaker after the other."""
    pair, place = divmod(index, _PAIR)
    first_turn = 6 + (pair * 7919) % 13
    return (2 * pair + (place >= first_turn)) % speakers


@dataclass(frozen=True, slots=True)
class CodedRecording:
    """`words` words, each with half of `pause_s` of near silence on either side.

    A pause of 0 leaves no quiet point to cut at. `first_word` is the number of the first word. The sound is a
    pure function of these fields, and any span of it can be made without the rest.
    """

    words: int
    pause_s: float = 0.1
    speakers: int = 3
    first_word: int = 0

    @classmethod
    def lasting(cls, duration_s: float, pause_s: float = 0.1, speakers: int = 3) -> "CodedRecording":
        """As many whole words as fit into `duration_s` seconds."""
        return cls(int(duration_s * SAMPLE_RATE) // _spacing(pause_s), pause_s, speakers)

    @property
    def samples(self) -> int:
        """The length in samples."""
        return self.words * _spacing(self.pause_s)

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return seconds(self.samples)

    def pcm(self, first: int, last: int) -> NDArray[np.int16]:
        """The samples [first, last), int16, mono, 16 kHz."""
        spacing = _spacing(self.pause_s)
        begin, end = first // spacing, min(-(-last // spacing), self.words)
        indices = np.arange(begin, end, dtype=np.int64) + self.first_word
        speakers = np.array([speaker_of(int(each), self.speakers) for each in indices], np.int64)
        slots = np.zeros((len(indices), spacing), np.int16)
        lead = (spacing - WORD_SAMPLES) // 2
        slots[:, lead : lead + WORD_SAMPLES] = word_samples(indices, speakers)
        clean = slots.reshape(-1)[first - begin * spacing : last - begin * spacing]
        noise = _NOISE[np.arange(first, first + len(clean)) % _NOISE_SAMPLES]
        sound: NDArray[np.int16] = clean + noise
        return sound

    def floats(self, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """The same as an engine gets it: float32, -1 to 1."""
        return _as_floats(self.pcm(first, self.samples if last is None else last))

    def blocks(self, block_s: float = 10.0) -> Iterator[NDArray[np.int16]]:
        """The whole recording, `block_s` seconds at a time: memory does not grow with the length."""
        step = max(1, int(block_s * SAMPLE_RATE))
        for first in range(0, self.samples, step):
            yield self.pcm(first, min(first + step, self.samples))

    def write_wav(self, file: Path) -> None:
        """Write 16 kHz mono WAV with 16 bits a sample. Raises OSError."""
        with wave.open(str(file), "wb") as target:
            target.setnchannels(1)
            target.setsampwidth(2)
            target.setframerate(SAMPLE_RATE)
            target.setnframes(self.samples)
            for block in self.blocks():
                target.writeframesraw(block.astype("<i2").tobytes())

    def write_flac(self, target: BinaryIO) -> int:
        """Write 16 kHz mono FLAC; gives its size in bytes. Raises OSError."""
        writer = FlacWriter(target)
        for block in self.blocks():
            writer.write(_as_floats(block))
        return writer.close()

    def spoken(self) -> Iterator[Word]:
        """Every word as a perfect transcript has it, times from the recording's start."""
        spacing = _spacing(self.pause_s)
        lead = (spacing - WORD_SAMPLES) // 2
        for number in range(self.words):
            start, index = number * spacing + lead, number + self.first_word
            yield Word(text_of(index), seconds(start), seconds(start + WORD_SAMPLES))

    def turns(self) -> list[Turn]:
        """Who speaks when, as a perfect diarizer has it: labels in order of first speech."""
        turns: list[Turn] = []
        names: dict[int, str] = {}
        for number, word in enumerate(self.spoken()):
            speaker = speaker_of(number + self.first_word, self.speakers)
            label = names.setdefault(speaker, f"SPEAKER_{len(names):02d}")
            if turns and turns[-1].speaker == label:
                turns[-1].end = word.end
            else:
                turns.append(Turn(word.start, word.end, label))
        return turns


def _as_floats(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    return pcm.astype(np.float32) / np.float32(_FULL_SCALE)


def _spacing(pause_s: float) -> int:
    if pause_s < 0:
        raise ValueError(f"pause_s is {pause_s}: give 0 or more seconds")
    return WORD_SAMPLES + round(pause_s * SAMPLE_RATE)


_NOISE = np.random.default_rng(20).integers(-NOISE, NOISE + 1, _NOISE_SAMPLES).astype(np.int16)
