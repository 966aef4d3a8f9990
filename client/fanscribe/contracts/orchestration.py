"""What goes to an orchestrator endpoint and what comes back: one call in, a finished transcript out."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fanscribe.contracts.task import (
    Language,
    Progress,
    Provenance,
    ResponseFormat,
    SpeakerBounds,
    Timestamps,
    read_timestamps,
)
from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn
from fanscribe.contracts.version import CONTRACT_VERSION


class NotifyEvent(StrEnum):
    """What a receiver may be told of."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _receiver(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if scheme not in ("https", "http") or not separator or not rest:
        raise ValueError("must be an https URL")
    if "@" in re.split("[/?#]", rest, maxsplit=1)[0]:
        raise ValueError("must not hold a user or password")
    return value


class Notify(BaseModel):
    """Who is told of a request's fate: a signed POST to `url` for each of `events`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(max_length=2000), AfterValidator(_receiver)]
    events: list[NotifyEvent] = Field(
        default=[NotifyEvent.COMPLETED, NotifyEvent.FAILED, NotifyEvent.CANCELLED], min_length=1, max_length=4
    )


class OrchestratorInput(SpeakerBounds):
    """Everything that a request can ask. Times in the answer count from the start of the file, not of the clip.

    `speaker_detection` says how speakers are told apart; `diarize: true` is the short form of "diarize".
    `channel` takes one channel of the file alone. `deadline_s` is the time that the whole job may take, in seconds
    (None: as long as the platform lets it run). `stream: true` posts segments to /stream as soon as they are final.
    `cache: false` neither uses nor keeps finished tasks. A request that comes again with the same
    `idempotency_key` gets the result of the first one. `traceparent` (W3C Trace Context) names the caller's span, of
    whose trace the job becomes a part; what is none is passed over, as the recommendation asks for.
    """

    model: str = Field("auto", min_length=1, max_length=100)
    language: Language | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    timestamps: Annotated[Timestamps, BeforeValidator(read_timestamps)] = Timestamps.WORD
    prompt: str | None = Field(None, max_length=4000)
    keyterms: list[str] = Field(default_factory=list, max_length=1000)
    speaker_detection: Literal["none", "diarize", "per_channel"] = "none"
    diarize: bool = False
    speaker_names: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=64)
    optimize: Literal["latency", "cost", "balanced"] = "latency"
    align: Literal["auto", "always", "never"] = "auto"
    cache: bool = True
    deadline_s: float | None = Field(None, gt=0, le=604_800, allow_inf_nan=False)
    stream: bool = False
    notify: Notify | None = None
    idempotency_key: str | None = Field(None, min_length=1, max_length=255)
    traceparent: str | None = Field(None, max_length=200)

    @model_validator(mode="after")
    def _speakers_asked_once(self) -> "OrchestratorInput":
        if self.diarize:
            if "speaker_detection" in self.model_fields_set and self.speaker_detection != "diarize":
                raise ValueError(
                    f"diarize: true contradicts speaker_detection: {self.speaker_detection}; send one of them"
                )
            self.speaker_detection = "diarize"
        bounds = (self.num_speakers, self.min_speakers, self.max_speakers)
        if any(bounds) and self.speaker_detection != "diarize":
            raise ValueError("num_speakers, min_speakers and max_speakers need diarize: true")
        if self.channel is not None and self.speaker_detection == "per_channel":
            raise ValueError("channel excludes speaker_detection: per_channel, which takes every channel")
        return self


class OrchestratorAbout(Provenance):
    """What every answer of an orchestrator carries beside the transcript, in whatever format.

    `engine` is the orchestrator itself, `variant` and `model` are the recogniser's. `durable`: the work was kept
    where a restarted orchestrator finds it. `partial`: a part of the work failed; `gaps`, `warnings` and `tasks` of
    the native format say which. `replayed`: it is the kept result of an earlier request, which paid for it.
    `unconfirmed` counts submissions of child jobs whose fate is not known: each may have been billed for nothing.
    `result` stands for what is too large for the platform (see `fanscribe.contracts.large_result`).
    """

    durable: bool = False
    replayed: bool = False
    unconfirmed: int = 0
    partial: bool = False


class OrchestratorOutput(OrchestratorAbout):
    """The `output` of an orchestrator's job in the native format: the transcript's own fields, and about it."""

    text: str = ""
    language: str | None = None
    language_probability: float | None = None
    duration: float = 0.0
    speakers: list[str] = Field(default_factory=list)
    segments: list[Segment] = Field(default_factory=list)
    turns: list[Turn] = Field(default_factory=list)
    gaps: list[Gap] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    tasks: list[TaskRecord] = Field(default_factory=list)

    @classmethod
    def of(cls, transcript: Transcript, about: OrchestratorAbout) -> "OrchestratorOutput":
        """The answer that holds a transcript; its lists are shared, not copied."""
        fields = {name: getattr(transcript, name) for name in Transcript.__dataclass_fields__}
        return cls.model_construct(
            **{name: getattr(about, name) for name in OrchestratorAbout.model_fields}, **fields
        )

    def transcript(self) -> Transcript:
        """The transcript in it; its lists are shared, not copied."""
        return Transcript(**{name: getattr(self, name) for name in Transcript.__dataclass_fields__})


class OrchestratorProgress(Progress):
    """What an orchestrator reports while it works (the job's `output` while IN_PROGRESS).

    `stage` is the kind of work under way, `share` the part of the whole request that is done, 0 to 1, and `text` what
    is recognised so far without a hole from the start on (of a long text its end). It has no speakers, and its last
    words may still change.
    """

    stage: str = ""
    text: str = ""


class StreamedSegments(BaseModel):
    """One chunk of /stream: segments that follow those before, none of which will change any more.

    `until_s`: everything up to here has been sent, in seconds from the start of the file.
    """

    segments: list[Segment] = Field(default_factory=list)
    until_s: float = 0.0


def to_wire(request: OrchestratorInput) -> dict[str, Any]:
    """The JSON input of a job: only what differs from the defaults, and always the contract version."""
    body = request.model_dump(mode="json", exclude_defaults=True)
    if body.get("diarize"):
        body.pop("speaker_detection", None)  # the short form says it
    body["contract_version"] = CONTRACT_VERSION
    return body


__all__ = [
    "Notify",
    "NotifyEvent",
    "OrchestratorAbout",
    "OrchestratorInput",
    "OrchestratorOutput",
    "OrchestratorProgress",
    "ResponseFormat",
    "StreamedSegments",
    "to_wire",
]
