"""What an engine family implements: load once per worker, run once per task."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fanscribe.contracts.task import TaskInput
from fanscribe.contracts.variant import Variant

SAMPLE_RATE = 16_000
"""Hz; every engine gets mono float32 samples at this rate."""


class Cancelled(Exception):
    """Raised by `Context.check` once the job was cancelled; an engine lets it pass."""


class OutOfMemory(Exception):
    """Raised by an engine that ran out of memory even with its smallest batch."""


class InvalidTask(Exception):
    """Raised by an engine for a task that its model cannot do, with the field and the reason."""


class Reporter(Protocol):
    """Takes the share of the work that is done, 0 to 1."""

    def __call__(self, share: float) -> None:
        """Report the share."""


@dataclass(slots=True)
class Context:
    """What an engine is told, and may tell, while it works. Safe to use from the engine's thread."""

    report: Reporter
    cancelled: Event = field(default_factory=Event)
    warnings: list[str] = field(default_factory=list)
    """Sentences for the answer's `warnings`: what was asked for and could not be done, and what to do about it."""

    def check(self) -> None:
        """Raise Cancelled if the job was cancelled; call it between batches."""
        if self.cancelled.is_set():
            raise Cancelled


@dataclass(slots=True)
class Task:
    """One task as an engine sees it.

    `samples` are mono, float32 in -1 to 1, SAMPLE_RATE Hz, already cut to the clip and the channel.
    `offset_s` is where they start in the file; the worker, not the engine, adds it to the answer's times.
    """

    input: TaskInput
    samples: NDArray[np.float32]
    offset_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Seconds of audio in `samples`."""
        return len(self.samples) / SAMPLE_RATE


class Engine(Protocol):
    """A model held in memory. One engine serves one variant; calls never overlap.

    The worker makes it with the number of CPU threads it may use.
    """

    @property
    def version(self) -> str:
        """Name and version of the library that does the work, for answers: "faster-whisper 1.2.1"."""

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the model from `model_dir`; called once, before the first run."""

    def run(self, task: Task, context: Context) -> BaseModel:
        """Do the task and give the stage's result (TranscribeResult, DiarizeResult, …), times from 0."""
