"""From request, deployment and audio facts to a plan: which stage runs where, in how many chunks. Pure."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from fanscribe.catalogue import AUTO, Catalogue, DeployedEndpoint
from fanscribe.contracts.errors import PlanError
from fanscribe.contracts.task import Stage, Timestamps
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.cost import Capacity, capacity_of
from fanscribe.pipeline.cuts import OVERLAP_S, WINDOW_S, every
from fanscribe.pipeline.division import Bounds, Division, Work, divide, divide_together, inline_limit_s
from fanscribe.pipeline.request import Align, Request, Sending, SpeakerDetection

TRANSCRIBE_SHORTEST_S = 60.0
"""Two windows of Whisper. In chunks of 30 s it left out whole sentences that it heard with more around them: WER 0.6
points above one piece with all cuts in pauses, 3.7 with cuts anywhere (15 minutes of speech, Whisper base)."""

DIARIZE_SHORTEST_S = 600.0
"""Diarization is cut only into long chunks: each has to meet its speakers often enough to know their voices."""

DIARIZE_OVERLAP_S = 15.0
"""What neighbouring diarization chunks both hear on each side of a cut: a turn or two of common speech."""

UNKNOWN_LENGTH_S = 3600.0
"""What is planned for where the header does not tell the length."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan depends on besides the request and the deployment.

    `duration_s` is None where the header does not tell it, and `exact` says whether it can be relied on.
    `inline_limit_bytes` bounds a chunk's FLAC; None where larger ones can be stored for the workers. `address`
    is where workers can read the recording themselves. `capacities` goes by endpoint name.
    """

    channels: int = 1
    duration_s: float | None = None
    exact: bool = True
    inline_limit_bytes: int | None = None
    address: str | None = None
    capacities: Mapping[str, Capacity] = field(default_factory=dict)

    def capacity(self, endpoint: DeployedEndpoint) -> Capacity:
        """The capacity of an endpoint; by its variant's slowest figure where nothing more is known."""
        known = self.capacities.get(endpoint.name)
        return capacity_of(endpoint, "") if known is None else known


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage on one channel (None: the mix of all): where it runs, and how its audio is divided.

    `endpoints` holds the preferred one first, then those that take over when it fails. `also_diarizes`: the
    engine names speakers in the same pass. `aligners` time the words of each answer, the preferred one first;
    empty where the engine's own times do.
    """

    stage: Stage
    channel: int | None
    endpoints: tuple[DeployedEndpoint, ...]
    bounds: Bounds
    division: Division
    by_reference: bool = False
    also_diarizes: bool = False
    aligners: tuple[DeployedEndpoint, ...] = ()
    certain: bool = True
    inline_limit_bytes: int | None = None

    @property
    def id(self) -> str:
        """What its tasks are called, before their number."""
        return self.stage if self.channel is None else f"{self.stage}-ch{self.channel}"

    @property
    def endpoint(self) -> DeployedEndpoint:
        """The preferred endpoint."""
        return self.endpoints[0]

    @property
    def divided(self) -> bool:
        """Whether it was meant to be cut."""
        return len(self.division.sizes_s) > 1 or not self.certain

    @property
    def window_s(self) -> float:
        """How far around a wanted cut a pause is looked for."""
        return 0.0 if self.stage is Stage.DIARIZE or self.by_reference else WINDOW_S

    @property
    def overlap_s(self) -> float:
        """What both sides hear of each other at a cut that lies in no pause."""
        return DIARIZE_OVERLAP_S if self.stage is Stage.DIARIZE else OVERLAP_S

    def wanted_s(self) -> Iterator[float]:
        """Where to cut. Endless where the length is only a guess; what lies beyond the audio is ignored."""
        wanted = self.division.wanted_s()
        if self.certain:
            return iter(wanted)
        size = max(self.division.sizes_s)
        return itertools.chain(wanted, every(size, wanted[-1] if wanted else 0.0))


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of one request; all of them can start at once. Merging joins their answers."""

    request: Request
    stages: tuple[StagePlan, ...]
    situation: Situation

    @property
    def makespan_s(self) -> float:
        """The predicted seconds from the first submission to the last answer."""
        return max(each.division.forecast.makespan_s for each in self.stages)

    @property
    def price_usd(self) -> float | None:
        """The predicted price in US dollars; None where the price of an endpoint is not known."""
        if not all(self.situation.capacity(each.endpoint).price_per_s for each in self.stages):
            return None
        return sum(each.division.forecast.price_usd for each in self.stages)


@dataclass(frozen=True, slots=True)
class Engines:
    """The endpoints that serve a request, the preferred one of each stage first.

    No diarizers where nobody asked for speakers by voice, or the recogniser names them in the same pass; no
    aligners where the recogniser's own word times do.
    """

    recognisers: tuple[DeployedEndpoint, ...]
    diarizers: tuple[DeployedEndpoint, ...] = ()
    aligners: tuple[DeployedEndpoint, ...] = ()


def choose_engines(request: Request, catalogue: Catalogue, situation: Situation) -> Engines:
    """The engines for a request; everything that is wrong with it is said here.

    Raises PlanError when nothing deployed serves a stage, UsageError for an unknown model.
    """
    aligners = _aligners(catalogue, request)
    recognisers = _choose(catalogue, Stage.TRANSCRIBE, request, situation, alignable=bool(aligners))
    by_voice = request.speaker_detection is SpeakerDetection.DIARIZE
    if by_voice:
        recognisers = _alike(recognisers, catalogue)
    if not _align(recognisers[0].variant, request):
        aligners = ()
    if not by_voice or Stage.DIARIZE in recognisers[0].variant.stages:
        return Engines(recognisers, aligners=aligners)
    return Engines(recognisers, _choose(catalogue, Stage.DIARIZE, request, situation), aligners)


def _alike(recognisers: tuple[DeployedEndpoint, ...], catalogue: Catalogue) -> tuple[DeployedEndpoint, ...]:
    """Those that may stand in for each other where speakers are wanted: they name them in the same pass, or none does.

    The preferred one decides; where it names none and no diarizer is deployed, those do that name them.
    """
    naming = tuple(each for each in recognisers if Stage.DIARIZE in each.variant.stages)
    if recognisers[0] in naming:
        return naming
    diarizer = any(_first_does(each.variant, Stage.DIARIZE) for each in catalogue.endpoints)
    return naming if naming and not diarizer else recognisers


def _first_does(variant: Variant, stage: Stage) -> bool:
    """Whether a stage is what its worker is asked for; further ones only come with it."""
    return variant.stages[0] is stage


def make_plan(request: Request, catalogue: Catalogue, situation: Situation) -> Plan:
    """The plan for audio of which so much is known. Raises what `choose_engines` does."""
    engines = choose_engines(request, catalogue, situation)
    also_diarizes = request.speaker_detection is SpeakerDetection.DIARIZE and not engines.diarizers
    recognise = _work(Stage.TRANSCRIBE, engines.recognisers, request, situation)
    if also_diarizes:
        bounds = replace(recognise.bounds, shortest_s=DIARIZE_SHORTEST_S)
        recognise = replace(recognise, bounds=bounds)
    if request.speaker_detection is SpeakerDetection.PER_CHANNEL:
        width = max(1, recognise.capacity.workers_max // situation.channels)
        division = divide(recognise, request.optimize, width=width)
        transcribe = _stage(Stage.TRANSCRIBE, engines.recognisers, request, situation, recognise, division)
        transcribe = replace(transcribe, aligners=engines.aligners)
        channels = range(situation.channels)
        return Plan(request, tuple(replace(transcribe, channel=each) for each in channels), situation)
    # Diarization goes first: its chunks are the longer ones, so nothing that waits for it should be queued before.
    works = {Stage.TRANSCRIBE: recognise}
    if engines.diarizers:
        works = {Stage.DIARIZE: _work(Stage.DIARIZE, engines.diarizers, request, situation), **works}
    serving = {Stage.DIARIZE: engines.diarizers, Stage.TRANSCRIBE: engines.recognisers}
    divisions = divide_together({str(stage): work for stage, work in works.items()}, request.optimize)
    stages = {
        stage: _stage(stage, serving[stage], request, situation, work, divisions[stage])
        for stage, work in works.items()
    }
    stages[Stage.TRANSCRIBE] = replace(
        stages[Stage.TRANSCRIBE],
        aligners=engines.aligners,
        also_diarizes=also_diarizes,
    )
    diarize = stages.get(Stage.DIARIZE)
    if diarize is not None and diarize.divided:
        # Speakers are linked across chunks by their voices, which different models describe differently.
        alike = [each for each in engines.diarizers if each.variant.id == diarize.endpoint.variant.id]
        stages[Stage.DIARIZE] = replace(diarize, endpoints=tuple(alike))
    return Plan(request, tuple(stages.values()), situation)


def asked_timestamps(request: Request) -> Timestamps:
    """How finely the recogniser must time the words: speakers are assigned to words, so they need them."""
    if request.speaker_detection is SpeakerDetection.NONE:
        return request.timestamps
    return Timestamps.WORD


def _longest_s(endpoints: tuple[DeployedEndpoint, ...]) -> float:
    return min(each.variant.capabilities.max_audio_s for each in endpoints)


def _work(
    stage: Stage, endpoints: tuple[DeployedEndpoint, ...], request: Request, situation: Situation
) -> Work:
    """What there is to divide: the seconds of audio, where they go, and how long chunks may be."""
    longest_s = _longest_s(endpoints)
    by_reference = _by_reference(stage, longest_s, request, situation)
    if not by_reference and situation.inline_limit_bytes is not None:
        longest_s = min(longest_s, inline_limit_s(situation.inline_limit_bytes))
    if stage is Stage.DIARIZE:
        bounds = Bounds(longest_s, DIARIZE_SHORTEST_S, DIARIZE_OVERLAP_S)
    else:
        bounds = Bounds(longest_s, TRANSCRIBE_SHORTEST_S, OVERLAP_S if by_reference else 0.0)
    return Work(situation.duration_s or UNKNOWN_LENGTH_S, situation.capacity(endpoints[0]), bounds)


def _stage(
    stage: Stage,
    endpoints: tuple[DeployedEndpoint, ...],
    request: Request,
    situation: Situation,
    work: Work,
    division: Division,
) -> StagePlan:
    return StagePlan(
        stage,
        None,
        endpoints,
        work.bounds,
        division,
        _by_reference(stage, _longest_s(endpoints), request, situation),
        certain=situation.exact and situation.duration_s is not None,
        inline_limit_bytes=situation.inline_limit_bytes,
    )


def _by_reference(stage: Stage, longest_s: float, request: Request, situation: Situation) -> bool:
    """Whether workers read the recording themselves, each its own clip.

    It spares the caller the sending, but every worker fetches the whole file, and cuts cannot lie in pauses. So
    it is chosen by itself only for diarization that would otherwise have to be cut for its size alone.
    """
    if situation.address is None or situation.duration_s is None or not situation.exact:
        return False
    if request.send is not Sending.AUTO:
        return request.send is Sending.REFERENCE
    limit = situation.inline_limit_bytes
    fits = limit is None or situation.duration_s <= inline_limit_s(limit)
    return stage is Stage.DIARIZE and not fits and situation.duration_s <= longest_s


def _align(variant: Variant, request: Request) -> bool:
    """Whether the words of a recogniser are to be timed by an aligner."""
    if request.align is Align.ALWAYS:
        return Stage.ALIGN not in variant.stages
    return asked_timestamps(request) is Timestamps.WORD and not variant.capabilities.word_timestamps


def _aligners(catalogue: Catalogue, request: Request) -> tuple[DeployedEndpoint, ...]:
    """The deployed endpoints that only align, and know the language that was asked for.

    Raises PlanError where alignment was asked for and there is none.
    """
    if request.align is Align.NEVER:
        return ()
    found = tuple(
        each
        for each in catalogue.serving(Stage.ALIGN)
        if Stage.TRANSCRIBE not in each.variant.stages and knows(each.variant, request.language)
    )
    if not found and request.align is Align.ALWAYS:
        raise PlanError(
            f"--align always: no deployed endpoint can align{_in(request.language)}; "
            f"{_could(catalogue, Stage.ALIGN)}: add an endpoint with one of these to endpoints.toml"
        )
    return found


def _in(language: str | None) -> str:
    return f" in {language}" if language else ""


def knows(variant: Variant, language: str | None) -> bool:
    """Whether a variant can work in a language; of an unknown one (None) that is assumed."""
    return (
        language is None
        or variant.capabilities.languages == "all"
        or language in variant.capabilities.languages
    )


def _choose(
    catalogue: Catalogue,
    stage: Stage,
    request: Request,
    situation: Situation,
    *,
    alignable: bool = False,
) -> tuple[DeployedEndpoint, ...]:
    """The deployed endpoints that can do the stage: the cheapest first, or those of the model that was named.

    Where the language is not known, engines for all languages come before those for some. `alignable`: there is
    an aligner for engines without word times.
    """
    # Simulated engines, which exist for load and fault tests, serve only those who name one.
    simulated = request.model != AUTO and _simulated(catalogue.variant(request.model))
    serving = tuple(
        each
        for each in catalogue.serving(stage)
        if _first_does(each.variant, stage) and _simulated(each.variant) is simulated
    )
    if request.model != AUTO and stage is Stage.TRANSCRIBE:
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
    reasons = {each.name: _unfit(each.variant, stage, request, alignable) for each in serving}
    fit = [each for each in serving if reasons[each.name] is None]
    if not fit:
        raise PlanError("; ".join(dict.fromkeys(reason for reason in reasons.values() if reason)))

    def worth(endpoint: DeployedEndpoint) -> tuple[bool, float]:
        capacity = situation.capacity(endpoint)
        guessed = request.language is None and endpoint.variant.capabilities.languages != "all"
        return guessed and stage is Stage.TRANSCRIBE, capacity.price_per_s * capacity.task_s(3600.0)

    return tuple(sorted(fit, key=worth))  # stable: equal prices keep the order of the file


def _unfit(variant: Variant, stage: Stage, request: Request, alignable: bool) -> str | None:
    """Why a variant cannot serve the request, or None when it can."""
    can = variant.capabilities
    if request.speaker_detection is SpeakerDetection.DIARIZE and Stage.DIARIZE in variant.stages:
        least = request.num_speakers or request.min_speakers
        if least and can.max_speakers and least > can.max_speakers:
            return f"{variant.id} tells at most {can.max_speakers} speakers apart, {least} were asked for"
    if stage is Stage.DIARIZE:
        return None
    if not knows(variant, request.language):
        return f"--language {request.language}: {variant.id} does not know it"
    if request.task == "translate" and not can.translate:
        return f"{variant.id} does not translate"
    if asked_timestamps(request) is Timestamps.WORD and not can.word_timestamps and not alignable:
        return f"{variant.id} gives no word times: ask for --timestamps segment, or deploy an aligner"
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
