"""What goes to a worker and what comes back, one pair of models a stage (plain JSON, curl-friendly)."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fanscribe.contracts.transcript import Segment, Turn
from fanscribe.contracts.version import CONTRACT_VERSION


class Stage(StrEnum):
    """A kind of work."""

    PREPARE = "prepare"
    TRANSCRIBE = "transcribe"
    ALIGN = "align"
    DIARIZE = "diarize"
    MERGE = "merge"


class Timestamps(StrEnum):
    """How finely the transcript is timed."""

    NONE = "none"
    SEGMENT = "segment"
    WORD = "word"


class ResponseFormat(StrEnum):
    """Shapes of an answer. The last four are text; on the wire they come in the field `text`."""

    NATIVE = "native"
    JSON = "json"
    VERBOSE_JSON = "verbose_json"
    DIARIZED_JSON = "diarized_json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    RTTM = "rttm"

    @property
    def is_text(self) -> bool:
        """Whether the rendered form is plain text rather than a JSON object."""
        return self in (ResponseFormat.TEXT, ResponseFormat.SRT, ResponseFormat.VTT, ResponseFormat.RTTM)


def read_timestamps(value: object) -> object:
    """`true` means word times and `false` none, as callers of other services write it."""
    if value is True:
        return Timestamps.WORD
    if value is False:
        return Timestamps.NONE
    return value


def _audio_reference(value: str) -> str:
    if value.startswith(("https://", "http://", "s3://", "data:")):
        return value
    raise ValueError("must be an https URL, s3://bucket/key, or a data: URI")


AudioReference = Annotated[str, AfterValidator(_audio_reference)]
"""Where the audio is: https URL, s3://bucket/key, or data: URI (plain http where the fetcher allows it)."""


def _language(value: str) -> str:
    if re.fullmatch(r"[a-z]{2,3}", value):
        return value
    raise ValueError(f"{value!r} is not an ISO 639 code in lower case, such as en or yue")


Language = Annotated[str, AfterValidator(_language)]
"""ISO 639 code in lower case, as Whisper names languages: en, de, yue."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Clip(_Strict):
    """The part of the audio that the task is about, seconds, half-open; no file is as long as 1e9 of them."""

    start: float = Field(ge=0, le=1e9)
    end: float = Field(gt=0, le=1e9)

    @model_validator(mode="after")
    def _ordered(self) -> "Clip":
        if self.end <= self.start:
            raise ValueError("clip.end must be after clip.start")
        return self


class TaskInput(_Strict):
    """Fields that every stage takes. Times in answers count from the start of the file, not of the clip."""

    audio: AudioReference
    clip: Clip | None = None
    channel: int | None = Field(None, ge=0, le=63)
    contract_version: str | None = None
    response_format: ResponseFormat = ResponseFormat.NATIVE


class SpeakerBounds(TaskInput):
    """How many speakers there are. `num_speakers` is exact; the other two are bounds and exclude it."""

    num_speakers: int | None = Field(None, ge=1, le=64)
    min_speakers: int | None = Field(None, ge=1, le=64)
    max_speakers: int | None = Field(None, ge=1, le=64)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_speakers is not None and (self.min_speakers or self.max_speakers):
            raise ValueError("num_speakers excludes min_speakers and max_speakers")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError("min_speakers must not be above max_speakers")
        return self


class TranscribeInput(SpeakerBounds):
    """Speech to text. `diarize` labels speakers too, where the engine does both in one pass."""

    language: Language | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    timestamps: Annotated[Timestamps, BeforeValidator(read_timestamps)] = Timestamps.WORD
    prompt: str | None = Field(None, max_length=4000)
    keyterms: list[str] = Field(default_factory=list, max_length=1000)
    vad: bool = True
    diarization_segments: list[Turn] | None = None
    diarize: bool = False

    @model_validator(mode="after")
    def _speakers_asked_once(self) -> Self:
        if self.diarize and self.diarization_segments is not None:
            raise ValueError("diarize excludes diarization_segments")
        if not self.diarize and (self.num_speakers or self.min_speakers or self.max_speakers):
            raise ValueError("num_speakers, min_speakers and max_speakers need diarize: true")
        return self


class DiarizeInput(SpeakerBounds):
    """Who speaks when."""


class AlignInput(TaskInput):
    """Word times for text that is already there."""

    segments: list[Segment]
    language: Language


class Timing(BaseModel):
    """Seconds spent inside the worker. `load_s` is the model load, 0 when it was loaded already."""

    download_s: float = 0.0
    load_s: float = 0.0
    inference_s: float = 0.0
    cold_start: bool = False


class Provenance(BaseModel):
    """Who gave an answer."""

    engine: str = ""
    variant: str = ""
    model: str = ""
    contract_version: str = ""
    timing: Timing = Field(default_factory=Timing)


class DiarizeResult(BaseModel):
    """What an engine gives for diarize.

    `segments` may overlap; `exclusive_segments` hold one speaker at any time. Labels are SPEAKER_00, … in
    order of first speech. `embeddings` holds one vector a speaker (not normalised), as a list of float.
    """

    segments: list[Turn] = Field(default_factory=list)
    exclusive_segments: list[Turn] = Field(default_factory=list)
    num_speakers: int = 0
    embeddings: dict[str, list[float]] = Field(default_factory=dict)
    duration: float = 0.0


class TranscribeResult(BaseModel):
    """What an engine gives for transcribe: times from the start of the file.

    `diarization` is there when the task asked to diarize too; the words carry its speakers.
    """

    text: str
    language: str | None = None
    language_probability: float | None = None
    duration: float
    segments: list[Segment] = Field(default_factory=list)
    diarization: DiarizeResult | None = None


class AlignResult(BaseModel):
    """What an engine gives for align."""

    segments: list[Segment]


class TranscribeOutput(TranscribeResult, Provenance):
    """The `output` of a transcribe job in the native format."""

    warnings: list[str] = Field(default_factory=list)


class DiarizeOutput(DiarizeResult, Provenance):
    """The `output` of a diarize job in the native format."""

    warnings: list[str] = Field(default_factory=list)


class AlignOutput(AlignResult, Provenance):
    """The `output` of an align job in the native format."""

    warnings: list[str] = Field(default_factory=list)


class Progress(BaseModel):
    """What a worker reports while it works (the job's `output` while IN_PROGRESS).

    `phase` says what it does, in this order: fetching the audio, downloading the model's weights (hardly ever),
    loading the model, running; `share` is the part of it that is done, 0 to 1.
    """

    phase: Literal["fetching", "downloading", "loading", "running"]
    share: float = Field(0.0, ge=0, le=1)
    message: str = ""


INPUTS: dict[Stage, type[TaskInput]] = {
    Stage.TRANSCRIBE: TranscribeInput,
    Stage.DIARIZE: DiarizeInput,
    Stage.ALIGN: AlignInput,
}
OUTPUTS: dict[Stage, type[Provenance]] = {
    Stage.TRANSCRIBE: TranscribeOutput,
    Stage.DIARIZE: DiarizeOutput,
    Stage.ALIGN: AlignOutput,
}


def to_wire(task: TaskInput) -> dict[str, Any]:
    """The JSON input of a job: only what differs from the defaults, and always the contract version."""
    body = task.model_dump(mode="json", exclude_defaults=True)
    body["contract_version"] = CONTRACT_VERSION
    return body
