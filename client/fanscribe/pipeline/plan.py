"""From request, deployment and audio facts to a plan: which stage runs where, in how many chunks. Pure."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fanscribe.catalogue import Catalogue, DeployedEndpoint
from fanscribe.contracts.task import Stage
from fanscribe.pipeline.cuts import OVERLAP_S, WINDOW_S, every
from fanscribe.pipeline.division import Bounds, Division, Work, divide, divide_together, inline_limit_s
from fanscribe.pipeline.engine_choice import choose_engines
from fanscribe.pipeline.request import Request, Sending, SpeakerDetection
from fanscribe.pipeline.situation import Situation

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
