"""One request from a local file to its transcript: plan, fan out, join, and remember for the next one."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanscribe import media
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import AudioError, DeadlineError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.transcript import Transcript
from fanscribe.pipeline.attempts import Means
from fanscribe.pipeline.divisions import Divisions
from fanscribe.pipeline.engine_choice import choose_engines
from fanscribe.pipeline.events import Listener
from fanscribe.pipeline.fanout import FanOut
from fanscribe.pipeline.join import join
from fanscribe.pipeline.kept import Kept
from fanscribe.pipeline.outcome import observations
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import Request
from fanscribe.pipeline.sharing import Sharing
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import INLINE_LIMIT_BYTES
from fanscribe.pipeline.supply import Lane, Supplied, lanes_of, referenced, supply
from fanscribe.pipeline.survey import survey
from fanscribe.pipeline.watcher import Nobody, Watcher
from fanscribe.results import file_digest
from fanscribe.scratch import scratch
from fanscribe.trace.recorder import Recorder

WATCHED_TASKS = 8
"""Up to so many tasks are looked at every second, so that their progress can be shown."""

_SHORTEST_TTL_S, _USUAL_TTL_S, _LONGEST_TTL_S = 10.0, 3600.0, 86_400.0
_USUAL_EXECUTION_S = 600.0
_LATE = 5.0  # so many times its expected time a job may take before the platform ends it


@dataclass(frozen=True, slots=True)
class Recording:
    """A local file, what messages call it, and where workers may read it themselves.

    More sound than `longest_s` seconds is refused. `digest` stands for the file's bytes where the caller knows one.
    """

    file: Path
    name: str
    address: str | None = None
    longest_s: float | None = None
    digest: str | None = None


async def plan_for(recording: Recording, request: Request, catalogue: Catalogue, platform: Platform) -> Plan:
    """The plan for a recording on endpoints as they are now: they are asked for their workers, nothing is sent.

    Raises UsageError.
    """
    facts = await asyncio.to_thread(media.probe, recording.file, recording.name)
    if recording.longest_s is not None and (facts.duration_s or 0.0) > recording.longest_s:
        raise AudioError(
            f"{recording.name}: is {facts.duration_s:.0f} s long, and {recording.longest_s:.0f} s are allowed: send it "
            "in parts"
        )
    situation = Situation(
        channels=facts.channels,
        duration_s=facts.duration_s,
        exact=not facts.duration_estimated,
        inline_limit_bytes=None if platform.objects is not None else INLINE_LIMIT_BYTES,
        address=recording.address,
    )
    choose_engines(request, catalogue, situation)  # what is wrong is said before endpoints are asked anything
    stages = {Stage.TRANSCRIBE, Stage.DIARIZE, Stage.ALIGN}
    capacities = await survey(
        platform, [each for each in catalogue.endpoints if stages & set(each.variant.stages)]
    )
    return make_plan(request, catalogue, replace(situation, capacities=capacities))


async def transcribe(
    recording: Recording,
    request: Request,
    catalogue: Catalogue,
    platform: Platform,
    listener: Listener,
    recorder: Recorder | None = None,
    *,
    watcher: Watcher | None = None,
    until: float | None = None,
) -> Transcript:
    """The transcript of one local file. `recorder` takes down what happens, for a trace.

    `watcher` is told of answers as soon as they stay. At `until`, a time of the event loop's clock, what is not done
    is stopped and becomes gaps; without it the caller keeps the deadline.

    Raises UsageError before anything is sent, else the error of the recogniser when nothing at all could be
    recognised. What failed beside that is a stated gap.
    """
    recorder, watcher = recorder or Recorder(), watcher or Nobody()
    with recorder.step("plan"):
        plan = await plan_for(recording, request, catalogue, platform)
        kept = Kept(platform.results if request.cache else None)
        digest = await _digest(recording, plan, kept)
        divisions = Divisions(kept, digest)
        plan = await divisions.applied(plan)
    recorder.about |= {"platform": platform.name, "channels": plan.situation.channels}
    watcher.planned(plan)
    lanes = lanes_of([each for each in plan.stages if not each.by_reference], divisions.cuts)
    votes = divisions.votes(plan)
    means = Means(
        kept, listener, lambda expected_s: policy(request, plan, expected_s), _few(plan), recorder=recorder
    )
    with scratch(recording.name) as folder:
        fan_out = FanOut(
            plan, platform, means, votes, recording.name, folder, divisions.keep_language, watcher
        )
        sharing = platform.sharing
        supplying = _supplied(
            recording, plan, lanes, digest, folder, fan_out, listener, recorder, watcher, sharing
        )
        try:
            async with asyncio.timeout_at(until) as limit:
                supplied = await fan_out.run(supplying)
        except TimeoutError as error:
            if not limit.expired():
                raise
            late = DeadlineError(f"{recording.name}: not done within its deadline; its jobs were cancelled")
            late.__cause__ = error
            supplied = fan_out.abandon(late)
    recorder.about["audio_s"] = round(supplied.duration_s, 3)
    if platform.learned is not None:
        seen = list(observations(fan_out.outcomes, platform.name))
        await asyncio.to_thread(platform.learned.learn, seen)
    for lane in lanes:
        for stage in lane.stages:
            await divisions.keep_cuts(stage, lane.cuts)
    with recorder.step("merge"):
        return await asyncio.to_thread(join, plan, supplied, fan_out.outcomes)


async def _supplied(
    recording: Recording,
    plan: Plan,
    lanes: Sequence[Lane],
    digest: str,
    folder: Path,
    fan_out: FanOut,
    listener: Listener,
    recorder: Recorder,
    watcher: Watcher,
    sharing: Sharing | None,
) -> Supplied:
    duration_s = plan.situation.duration_s or 0.0
    for stage in plan.stages:
        if stage.by_reference:
            assert recording.address is not None
            for span in referenced(stage, recording.address, digest, duration_s):
                fan_out.given([stage], span)
    supplied = Supplied(duration_s, ())
    if lanes:
        async with contextlib.nullcontext() if sharing is None else sharing.decoding:
            with recorder.step("prepare"):
                supplied = await supply(
                    recording.file,
                    recording.name,
                    lanes,
                    folder,
                    fan_out.given,
                    listener,
                    recording.longest_s,
                )
    watcher.decoded(supplied.duration_s)
    return supplied


async def _digest(recording: Recording, plan: Plan, kept: Kept) -> str:
    if not kept.active and not any(each.by_reference for each in plan.stages):
        return ""
    if recording.digest is not None:
        return recording.digest
    return await asyncio.to_thread(file_digest, recording.file)


def _few(plan: Plan) -> bool:
    return sum(len(each.division.sizes_s) for each in plan.stages) <= WATCHED_TASKS


def policy(request: Request, plan: Plan, expected_s: float) -> dict[str, Any]:
    """The limits that the platform itself puts to a job: nothing of ours lives on long after we died.

    Milliseconds. The execution time-out is named only where the usual one could be too short.
    """
    ttl_s = min(max(_USUAL_TTL_S, _LATE * (plan.makespan_s + expected_s)), _LONGEST_TTL_S)
    if request.deadline_s is not None:
        ttl_s = min(ttl_s, max(request.deadline_s, _SHORTEST_TTL_S))
    limits = {"ttl": int(ttl_s * 1000)}
    if _LATE * expected_s > _USUAL_EXECUTION_S:
        limits["executionTimeout"] = int(min(_LATE * expected_s, _LONGEST_TTL_S) * 1000)
    return limits
