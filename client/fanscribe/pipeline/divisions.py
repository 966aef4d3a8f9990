"""How a recording was divided by earlier runs, so that this one asks for the same spans again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fanscribe.contracts.task import Stage
from fanscribe.pipeline.cost import Optimize, forecast
from fanscribe.pipeline.cuts import Cut
from fanscribe.pipeline.division import Division, heard_s
from fanscribe.pipeline.kept import Kept, KnownDivision
from fanscribe.pipeline.language import LanguageVote
from fanscribe.pipeline.plan import Plan, StagePlan


class Divisions:
    """The divisions of one recording for the stages of a plan. `source_digest` is the recording's.

    What is planned is kept before the first job, the language when it is decided, the cuts when all are made: a
    run that dies on the way leaves enough for the next one to find its jobs.
    """

    def __init__(self, kept: Kept, source_digest: str) -> None:
        self._kept = kept
        self._digest = source_digest
        self._known: dict[str, KnownDivision] = {}

    async def applied(self, plan: Plan) -> Plan:
        """The plan with the divisions of earlier runs in the place of its own, where there are such; all are kept."""
        stages = []
        for stage in plan.stages:
            known = await self._kept.division(self._digest, _about(stage))
            if known is None or not known.sizes_s:
                known = KnownDivision(sizes_s=stage.division.sizes_s)
                await self._kept.keep_division(self._digest, _about(stage), known)
            else:
                stage = replace(stage, division=_again(plan, stage, known.sizes_s))
            self._known[stage.id] = known
            stages.append(stage)
        return replace(plan, stages=tuple(stages))

    @property
    def cuts(self) -> Mapping[str, Sequence[Cut]]:
        """The cuts that are known, by the id of the stage."""
        return {name: each.cuts for name, each in self._known.items() if each.cuts is not None}

    def votes(self, plan: Plan) -> dict[int | None, LanguageVote]:
        """A vote on the language of each channel; it is decided where the request or an earlier run named one."""
        votes: dict[int | None, LanguageVote] = {}
        for stage in plan.stages:
            if stage.stage is Stage.TRANSCRIBE or stage.channel not in votes:
                votes[stage.channel] = LanguageVote(plan.request.language or self._known[stage.id].language)
        return votes

    async def keep_language(self, stage: StagePlan, language: str) -> None:
        """Keep the language that was decided."""
        await self._keep(stage, replace(self._known[stage.id], language=language))

    async def keep_cuts(self, stage: StagePlan, cuts: Sequence[Cut]) -> None:
        """Keep the cuts that were made."""
        await self._keep(stage, replace(self._known[stage.id], cuts=list(cuts)))

    async def _keep(self, stage: StagePlan, division: KnownDivision) -> None:
        if division != self._known[stage.id]:
            self._known[stage.id] = division
            await self._kept.keep_division(self._digest, _about(stage), division)


def _about(stage: StagePlan) -> dict[str, Any]:
    """What decides where a stage cuts: not how many workers there are, nor what was learned of them."""
    return {"stage": stage.stage, "channel": stage.channel, "variant": stage.endpoint.variant.id}


def _again(plan: Plan, stage: StagePlan, sizes_s: tuple[float, ...]) -> Division:
    capacity = plan.situation.capacity(stage.endpoint)
    width = min(len(sizes_s), capacity.workers_max)
    if plan.request.optimize is not Optimize.LATENCY:
        width = min(width, stage.division.width)
    in_flight = 2 * width if capacity.prefetch and width == capacity.workers_max else width
    foretold = forecast(heard_s(sizes_s, stage.bounds), capacity, width, in_flight=in_flight)
    return Division(sizes_s, width, in_flight, foretold)
