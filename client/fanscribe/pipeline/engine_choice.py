"""Which of the deployed engines serve a request, and in which order; or what is wrong with it. Pure."""

from dataclasses import dataclass

from fanscribe.catalogue import AUTO, Catalogue, DeployedEndpoint
from fanscribe.contracts.errors import PlanError
from fanscribe.contracts.task import Stage, Timestamps
from fanscribe.contracts.variant import Variant
from fanscribe.pipeline.request import Align, Request, SpeakerDetection
from fanscribe.pipeline.situation import Situation


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


def asked_timestamps(request: Request) -> Timestamps:
    """How finely the recogniser must time the words: speakers are assigned to words, so they need them."""
    if request.speaker_detection is SpeakerDetection.NONE:
        return request.timestamps
    return Timestamps.WORD


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
