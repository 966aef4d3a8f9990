"""The simulated engine: takes the time that its variant says and reads the words that are coded in the audio."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fanscribe.contracts.task import (
    DiarizeInput,
    DiarizeResult,
    TaskInput,
    Timestamps,
    TranscribeInput,
    TranscribeResult,
)
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import SAMPLE_RATE, Context, OutOfMemory, Task
from fanscribe_handlers.simulated.behaviour import Behaviour, Draws, read_behaviour
from fanscribe_handlers.simulated.coded import Heard, listen, seconds
from fanscribe_handlers.simulated.recording import text_of

VERSION = "simulated 1"
_LOOK_S = 0.05  # seconds between two looks at a cancellation
_INSTANT_S = 1e-6  # a rest this small is rounding, which no sleep would end
_JOINED_S = 0.5  # words of one speaker with a shorter pause between them make one turn
_VOICE_SIZE = 32
_VOICE_NOISE = 0.15  # of a coordinate's spread: the same voice is never heard quite alike twice


class SimulatedFailure(Exception):
    """A failure that the variant's options ask for."""


class SimulatedEngine:
    """Implements `fanscribe_handlers.engine.Engine`. `sleep` and `cpu_clock` pass the time, `clock` tells it."""

    def __init__(
        self,
        threads: int = 1,
        *,
        name: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        # Workers draw apart from each other, and each the same again under the same name.
        self._name = os.environ.get("RUNPOD_POD_ID", "") if name is None else name
        self._sleep = sleep
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._behaviour: Behaviour | None = None
        self._draws: Draws | None = None

    @property
    def version(self) -> str:
        """Says that nothing was recognised."""
        return VERSION

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Take the time of the variant's load; there are no weights."""
        behaviour = read_behaviour(variant)
        self._draws = Draws(behaviour, self._name)
        self._behaviour = behaviour
        self._spend(behaviour.load_s, Context(report=lambda share: None))

    def run(self, task: Task, context: Context) -> BaseModel:
        """Take the time of one job and give what is coded in its audio.

        Raises OutOfMemory and SimulatedFailure where the variant's options say so.
        """
        assert self._behaviour is not None
        assert self._draws is not None
        behaviour, fate = self._behaviour, self._draws.next()
        if not behaviour.fits(task.duration_s):
            raise OutOfMemory(f"{task.duration_s:g} s of audio are more than memory_s {behaviour.memory_s:g}")
        heard = listen(task.samples)
        work_s = behaviour.work_s(task.duration_s, fate)
        if fails(behaviour, fate.fails, heard):
            self._spend(work_s * behaviour.failure_after, context, until=behaviour.failure_after)
            raise SimulatedFailure("options ask for this failure")
        self._spend(work_s, context)
        return understood(task.input, heard, task.samples)

    def _spend(self, amount_s: float, context: Context, *, until: float = 1.0) -> None:
        """Let `amount_s` seconds pass, reporting a share that grows to `until`; Cancelled when told to stop."""
        burns = self._behaviour is not None and self._behaviour.burns
        clock = self._cpu_clock if burns else self._clock
        begun = clock()
        while (left := amount_s - (clock() - begun)) > _INSTANT_S:
            context.check()
            context.report(until * (1 - left / amount_s))
            if burns:
                self._burn(min(left, _LOOK_S))
            else:
                self._sleep(min(left, _LOOK_S))
        context.check()

    def _burn(self, amount_s: float) -> None:
        until = self._cpu_clock() + amount_s
        fuel = bytes(1 << 16)
        while self._cpu_clock() < until:
            fuel = hashlib.sha256(fuel).digest() * 2048


def fails(behaviour: Behaviour, drawn: bool, heard: list[Heard]) -> bool:
    """Whether a job fails: by its draw, or because of a word in it."""
    return drawn or any(each.index == behaviour.fails_on_word for each in heard)


def understood(task: TaskInput, heard: list[Heard], samples: NDArray[np.float32]) -> BaseModel:
    """The result of a task over `samples`, in which `heard` was found. Pure. Times from the span's start.

    Raises SimulatedFailure for a stage that this family does not do.
    """
    match task:
        case TranscribeInput():
            return transcribed(task, heard, len(samples) / SAMPLE_RATE)
        case DiarizeInput():
            return diarized(task, heard, len(samples) / SAMPLE_RATE)
        case _:
            raise SimulatedFailure(
                f"{type(task).__name__} is no task of this family: use transcribe or diarize"
            )


def transcribed(task: TranscribeInput, heard: list[Heard], duration_s: float) -> TranscribeResult:
    """Every word of which more than half is there, in sentences."""
    words = [
        Word(text_of(each.index), seconds(each.first), seconds(each.last), confidence=round(each.share, 3))
        for each in heard
        if each.recognised
    ]
    segments: list[Segment] = []
    sentence: list[Word] = []
    for word in words:
        sentence.append(word)
        if word.text.endswith(".") or word is words[-1]:
            text = " ".join(each.text for each in sentence)
            segments.append(Segment(sentence[0].start, sentence[-1].end, text, words=sentence))
            sentence = []
    if task.timestamps is not Timestamps.WORD:
        for segment in segments:
            segment.words = []
    return TranscribeResult(
        text=" ".join(segment.text for segment in segments),
        language=task.language or "en",
        language_probability=1.0,
        duration=duration_s,
        segments=segments,
    )


def diarized(task: DiarizeInput, heard: list[Heard], duration_s: float) -> DiarizeResult:
    """The turns of the coded speakers, never overlapping. More speakers than asked for are folded together."""
    most = task.num_speakers or task.max_speakers
    labels: dict[int, str] = {}
    turns: list[Turn] = []
    voices: dict[str, list[float]] = {}
    for each in heard:
        speaker = each.speaker % most if most else each.speaker
        label = labels.setdefault(speaker, f"SPEAKER_{len(labels):02d}")
        voices.setdefault(label, voice(speaker, each.index))
        start, end = seconds(each.first), seconds(each.last)
        if turns and turns[-1].speaker == label and start - turns[-1].end < _JOINED_S:
            turns[-1].end = end
        else:
            turns.append(Turn(start, end, label))
    return DiarizeResult(
        segments=turns,
        exclusive_segments=[Turn(turn.start, turn.end, turn.speaker) for turn in turns],
        num_speakers=len(labels),
        embeddings=voices,
        duration=duration_s,
    )


def voice(speaker: int, heard_at: int) -> list[float]:
    """A voice embedding: a direction of the speaker's own, a little off by the word where it was first heard."""
    own = np.random.default_rng([1, speaker]).standard_normal(_VOICE_SIZE)
    off = np.random.default_rng([2, heard_at]).standard_normal(_VOICE_SIZE)
    return [round(float(each), 4) for each in own + _VOICE_NOISE * off]
