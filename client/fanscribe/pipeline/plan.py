"""From request, deployment and audio facts to a plan: which task goes to which endpoint. Pure."""

from dataclasses import dataclass

from fanscribe.catalogue import AUTO, Catalogue, DeployedEndpoint
from fanscribe.contracts.errors import PlanError
from fanscribe.contracts.task import Stage, Timestamps
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.request import Request, SpeakerDetection


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One stage on one span of one channel (None: the mix of all), on one endpoint. Seconds, half-open.

    `end` is None where the length is known only after decoding: the task takes what there is.
    """

    id: str
    stage: Stage
    endpoint: DeployedEndpoint
    channel: int | None = None
    start: float = 0.0
    end: float | None = None

    @property
    def variant(self) -> Variant:
        """The variant that the endpoint serves."""
        return self.endpoint.variant


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks of one request; all of them can start at once. `merge` joins their answers."""

    request: Request
    tasks: tuple[PlannedTask, ...]

    @property
    def channels(self) -> tuple[int | None, ...]:
        """The channels that have to be prepared, each once."""
        return tuple(dict.fromkeys(task.channel for task in self.tasks))


def make_plan(
    request: Request, catalogue: Catalogue, *, channels: int, duration_s: float | None = None
) -> Plan:
    """The plan for audio with so many channels and this length in seconds (None: not in the header).

    Raises PlanError when nothing deployed serves a stage, UsageError for an unknown model.
    """
    recogniser = _choose(catalogue, Stage.TRANSCRIBE, request, duration_s)
    if request.speaker_detection is SpeakerDetection.PER_CHANNEL:
        tasks = tuple(
            PlannedTask(f"transcribe-{channel}", Stage.TRANSCRIBE, recogniser, channel, 0.0, duration_s)
            for channel in range(channels)
        )
        return Plan(request, tasks)
    transcribe = PlannedTask("transcribe-0", Stage.TRANSCRIBE, recogniser, None, 0.0, duration_s)
    if request.speaker_detection is SpeakerDetection.NONE:
        return Plan(request, (transcribe,))
    diarizer = _choose(catalogue, Stage.DIARIZE, request, duration_s)
    # Diarization goes first: it takes the whole file, so nothing that waits for it should be queued before.
    return Plan(
        request, (PlannedTask("diarize-0", Stage.DIARIZE, diarizer, None, 0.0, duration_s), transcribe)
    )


def asked_timestamps(request: Request) -> Timestamps:
    """How finely the recogniser must time the words: speakers are assigned to words, so they need them."""
    if request.speaker_detection is SpeakerDetection.NONE:
        return request.timestamps
    return Timestamps.WORD


def _choose(
    catalogue: Catalogue, stage: Stage, request: Request, duration_s: float | None
) -> DeployedEndpoint:
    # Simulated engines, which exist for load and fault tests, serve only those who name one.
    simulated = request.model != AUTO and _simulated(catalogue.variant(request.model))
    serving = tuple(each for each in catalogue.serving(stage) if _simulated(each.variant) is simulated)
    named = request.model != AUTO and stage is Stage.TRANSCRIBE
    if named:
        variant = catalogue.variant(request.model)
        if stage not in variant.stages:
            raise PlanError(
                f"--model {request.model}: {variant.id} does not {stage}; {_could(catalogue, stage)}"
            )
        serving = tuple(each for each in serving if each.variant.id == variant.id)
        if not serving:
            raise PlanError(
                f"--model {request.model}: {variant.id} is not deployed; {_deployed(catalogue, stage)}add an "
                f'endpoint with variant = "{variant.id}" to endpoints.toml'
            )
    if not serving:
        raise PlanError(
            f"no deployed endpoint can {stage}; {_could(catalogue, stage)}: add an endpoint with one of these "
            "to endpoints.toml"
        )
    reasons = [_unfit(each.variant, stage, request, duration_s) for each in serving]
    for endpoint, reason in zip(serving, reasons, strict=True):
        if reason is None:
            return endpoint
    raise PlanError("; ".join(reason for reason in dict.fromkeys(reasons) if reason))


def _unfit(variant: Variant, stage: Stage, request: Request, duration_s: float | None) -> str | None:
    """Why a variant cannot serve the request, or None when it can."""
    can = variant.capabilities
    if duration_s is not None and duration_s > can.max_audio_s:
        return (
            f"{variant.id} takes at most {can.max_audio_s:.0f} s of audio and the file has {duration_s:.0f} s: "
            "cut it first"
        )
    if stage is not Stage.TRANSCRIBE:
        return None
    if request.language and can.languages != "all" and request.language not in can.languages:
        return f"--language {request.language}: {variant.id} does not know it"
    if request.task == "translate" and not can.translate:
        return f"{variant.id} does not translate"
    if asked_timestamps(request) is Timestamps.WORD and not can.word_timestamps:
        return f"{variant.id} gives no word times: ask for --timestamps segment"
    return None


def _simulated(variant: Variant) -> bool:
    return variant.options.get("simulated") is True


def _could(catalogue: Catalogue, stage: Stage) -> str:
    able = (each for each in catalogue.variants.values() if stage in each.stages and not _simulated(each))
    names = sorted(each.id for each in able)
    return f"these variants could: {', '.join(names)}" if names else "no known variant could"


def _deployed(catalogue: Catalogue, stage: Stage) -> str:
    names = [each.variant.id for each in catalogue.serving(stage)]
    return f"deployed: {', '.join(names)}; " if names else ""
