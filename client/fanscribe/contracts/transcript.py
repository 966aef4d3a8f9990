"""A transcript: who said what, when.

Times are seconds as float from the start of the file; spans are half-open, [start, end).
Words and turns come by the hundred thousand, so these are slots dataclasses, validated by a
pydantic TypeAdapter where they cross the wire.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import TypeAdapter


@dataclass(slots=True)
class Word:
    """One timed token.

    `text` carries no surrounding space. `confidence` is the recogniser's probability, 0 to 1.
    `speaker_confidence` is the share of the word's duration that its speaker holds, 0 to 1.
    `overlap` is true where more than one person speaks during the word.
    """

    text: str
    start: float
    end: float
    confidence: float | None = None
    speaker: str | None = None
    speaker_confidence: float | None = None
    overlap: bool = False


@dataclass(slots=True)
class Segment:
    """Timed text of one speaker. `words` is empty when word times were not asked for."""

    start: float
    end: float
    text: str
    speaker: str | None = None
    words: list[Word] = field(default_factory=list)


@dataclass(slots=True)
class Turn:
    """A timed span of one speaker."""

    start: float
    end: float
    speaker: str


@dataclass(slots=True)
class Gap:
    """A span whose work failed for good: nothing is known about what was said in it."""

    start: float
    end: float
    stage: str
    reason: str


@dataclass(slots=True)
class TaskRecord:
    """What was done for one task, for `tasks[]` of the transcript.

    `timings` holds seconds by name, `predicted` what the plan expected of some of them:
    queue (waited for a worker that was up), start (waited for a worker that had to be started), transfer (sent,
    and read by the worker), load (the model into memory), inference, total (from sending to the answer).
    `cost_usd` is the price of the worker's seconds, 0 where the pool's price is unknown. `attempts` counts jobs
    one after the other, `hedges` jobs beside a straggler, `unconfirmed` submissions whose fate is not known: the
    platform may have run, and billed, one job more for each. `reused`: the answer was kept from an earlier run.
    """

    id: str
    stage: str
    variant: str
    start: float
    end: float
    timings: dict[str, float] = field(default_factory=dict)
    predicted: dict[str, float] = field(default_factory=dict)
    endpoint: str = ""
    job_id: str | None = None
    worker_id: str | None = None
    cold_start: bool = False
    attempts: int = 1
    hedges: int = 0
    unconfirmed: int = 0
    reused: bool = False
    cost_usd: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class Transcript:
    """The finished transcript, our native format.

    `turns` are the diarizer's (they may overlap); empty without diarization.
    `speakers` are the labels in order of first speech. `gaps` and `warnings` are empty when all went well.
    """

    text: str = ""
    language: str | None = None
    language_probability: float | None = None
    duration: float = 0.0
    speakers: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tasks: list[TaskRecord] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        """Whether some of the work failed: a stated gap, or a stage that was left out."""
        return bool(self.gaps) or any(task.error for task in self.tasks)

    @property
    def words(self) -> list[Word]:
        """All words, in the order of the segments."""
        return [word for segment in self.segments for word in segment.words]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, every field."""
        return _TRANSCRIPT.dump_python(self, mode="json")  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` gave; unknown fields are ignored. Raises pydantic.ValidationError."""
        return _TRANSCRIPT.validate_python(data)  # type: ignore[return-value]


_TRANSCRIPT: TypeAdapter[Transcript] = TypeAdapter(Transcript)
SEGMENTS: TypeAdapter[list[Segment]] = TypeAdapter(list[Segment])
TURNS: TypeAdapter[list[Turn]] = TypeAdapter(list[Turn])
