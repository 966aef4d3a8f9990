"""What a caller asks for, before anything is known of the audio."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fanscribe.catalogue import AUTO
from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.task import Language, Timestamps, read_timestamps
from fanscribe.pipeline.cost import Optimize


class SpeakerDetection(StrEnum):
    """How speakers are told apart: not at all, by voice, or one to a channel."""

    NONE = "none"
    DIARIZE = "diarize"
    PER_CHANNEL = "per_channel"


class Sending(StrEnum):
    """How audio reaches the workers: inside the requests, or as an address that they read themselves."""

    AUTO = "auto"
    INLINE = "inline"
    REFERENCE = "reference"


class Align(StrEnum):
    """Whether an aligner times the words: where the recogniser cannot, always, or never."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Request(BaseModel):
    """One request: everything but the audio.

    `num_speakers` is exact, the other two are bounds; all three need diarization. `deadline_s` is the time the
    whole call may take, in seconds; None for no limit, at most a week. `optimize` is what the number of chunks
    is chosen for. `send` is how audio travels; auto sends it, and names an address where that spares a cut.
    `align` says when an aligner times the words. `cache` keeps finished tasks by their content, and uses those that
    are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = AUTO
    language: Language | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    timestamps: Annotated[Timestamps, BeforeValidator(read_timestamps)] = Timestamps.WORD
    prompt: str | None = Field(default=None, max_length=4000)
    keyterms: tuple[str, ...] = Field(default=(), max_length=1000)
    speaker_detection: SpeakerDetection = SpeakerDetection.NONE
    num_speakers: int | None = Field(default=None, ge=1, le=64)
    min_speakers: int | None = Field(default=None, ge=1, le=64)
    max_speakers: int | None = Field(default=None, ge=1, le=64)
    speaker_names: tuple[str, ...] = ()
    optimize: Optimize = Optimize.LATENCY
    send: Sending = Sending.AUTO
    align: Align = Align.AUTO
    cache: bool = True
    deadline_s: float | None = Field(default=None, gt=0, le=604_800, allow_inf_nan=False)

    @model_validator(mode="after")
    def _consistent(self) -> "Request":
        bounds = (self.num_speakers, self.min_speakers, self.max_speakers)
        if any(bounds) and self.speaker_detection is not SpeakerDetection.DIARIZE:
            raise ValueError("a number of speakers needs diarization (diarize=True)")
        if self.num_speakers and (self.min_speakers or self.max_speakers):
            raise ValueError("num_speakers excludes min_speakers and max_speakers")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError("min_speakers must not be above max_speakers")
        return self


def make_request(
    *, diarize: bool = False, per_channel: bool = False, speakers: int | None = None, **options: object
) -> Request:
    """A Request from a caller's keywords; `diarize`, `per_channel` and `speakers` are short forms.

    Raises UsageError that names each wrong option.
    """
    if diarize and per_channel:
        raise UsageError("diarize and per_channel exclude each other: choose one way to tell speakers apart")
    if diarize or per_channel:
        way = SpeakerDetection.DIARIZE if diarize else SpeakerDetection.PER_CHANNEL
        if options.setdefault("speaker_detection", way) != way:
            raise UsageError(f"speaker_detection={options['speaker_detection']} contradicts {way}=True")
    if speakers is not None:
        options.setdefault("num_speakers", speakers)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Request.model_validate(given)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in each['loc']) or 'request'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise UsageError("; ".join(faults)) from error
