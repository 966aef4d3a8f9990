"""The fan-out: prepare the audio, run every task of the plan at once, merge what comes back."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from fanscribe import media
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import FanscribeError
from fanscribe.contracts.task import (
    DiarizeInput,
    DiarizeOutput,
    Stage,
    TaskInput,
    Timestamps,
    TranscribeInput,
    TranscribeOutput,
    to_wire,
)
from fanscribe.contracts.transcript import Gap, TaskRecord, Transcript
from fanscribe.endpoint import Endpoint
from fanscribe.objects import ObjectStore
from fanscribe.pipeline import merge
from fanscribe.pipeline.events import Event, Listener, State
from fanscribe.pipeline.job import Answer, perform
from fanscribe.pipeline.plan import Plan, PlannedTask, asked_timestamps, make_plan
from fanscribe.pipeline.prepare import Prepared, prepare
from fanscribe.pipeline.request import Request, SpeakerDetection
from fanscribe.pipeline.transport import references
from fanscribe.scratch import scratch


@dataclass(frozen=True, slots=True)
class Platform:
    """Where the endpoints are called. `base_url` is the data plane's, up to and without the endpoint's id."""

    http: httpx.AsyncClient
    base_url: str
    api_key: str
    objects: ObjectStore | None = None

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """The calls to one endpoint."""
        return Endpoint(self.http, self.base_url, endpoint_id, self.api_key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: with an answer, or with the error that its last attempt gave."""

    task: PlannedTask
    answer: Answer | None
    error: FanscribeError | None


async def transcribe(
    source: Path, name: str, request: Request, catalogue: Catalogue, platform: Platform, listener: Listener
) -> Transcript:
    """The transcript of one local file. `name` is what messages call it.

    Raises UsageError before anything is sent, else the error of the recogniser. A failed diarization, or a
    failed channel beside others, leaves a partial transcript. The caller keeps the deadline.
    """
    facts = await asyncio.to_thread(media.probe, source, name)
    known_s = None if facts.duration_estimated else facts.duration_s
    plan = make_plan(request, catalogue, channels=facts.channels, duration_s=known_s)
    with scratch(name) as folder:
        prepared = await prepare(source, name, plan.channels, folder, listener)
        async with references(prepared.files, platform.objects) as audio:
            outcomes = await _fan_out(plan, audio, platform, listener)
    return _join(plan, prepared, outcomes)


async def _fan_out(
    plan: Plan, audio: Mapping[int | None, str], platform: Platform, listener: Listener
) -> list[Outcome]:
    """Every task at once. When no recogniser can give an answer any more, the others are stopped."""
    running = {
        asyncio.create_task(_run_task(task, plan.request, audio[task.channel], platform, listener)): task
        for task in plan.tasks
    }
    outcomes: dict[str, Outcome] = {}
    pending = set(running)
    try:
        while pending and not _hopeless(plan, outcomes):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                outcomes[running[finished].id] = finished.result()
    finally:
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return [outcomes[task.id] for task in plan.tasks if task.id in outcomes]


def _hopeless(plan: Plan, outcomes: Mapping[str, Outcome]) -> bool:
    recognisers = [task.id for task in plan.tasks if task.stage is Stage.TRANSCRIBE]
    return all(each in outcomes and outcomes[each].error is not None for each in recognisers)


async def _run_task(
    task: PlannedTask, request: Request, audio: str, platform: Platform, listener: Listener
) -> Outcome:
    body = to_wire(task_input(task, request, audio))
    listener(Event(task.id, task.stage, State.SENDING, message=task.variant.id))
    policy = _policy(request)
    try:
        answer = await perform(
            task.id, task.stage, platform.endpoint(task.endpoint.id), body, listener, policy=policy
        )
    except FanscribeError as error:
        listener(Event(task.id, task.stage, State.FAILED, message=str(error)))
        return Outcome(task, None, error)
    listener(Event(task.id, task.stage, State.DONE, 1.0))
    return Outcome(task, answer, None)


def task_input(task: PlannedTask, request: Request, audio: str) -> TaskInput:
    """What the worker gets for a task."""
    if task.stage is Stage.DIARIZE:
        return DiarizeInput(
            audio=audio,
            num_speakers=request.num_speakers,
            min_speakers=request.min_speakers,
            max_speakers=request.max_speakers,
        )
    return TranscribeInput(
        audio=audio,
        language=request.language,
        task=request.task,
        timestamps=asked_timestamps(request),
        prompt=request.prompt,
        keyterms=list(request.keyterms),
    )


def _policy(request: Request) -> dict[str, int] | None:
    """The platform ends a job of ours by itself when we die before the deadline (its smallest ttl is 10 s)."""
    if request.deadline_s is None:
        return None
    return {"ttl": int(max(request.deadline_s, 10) * 1000)}


def _join(plan: Plan, prepared: Prepared, outcomes: Sequence[Outcome]) -> Transcript:
    duration = prepared.duration_s
    recognised = [each for each in outcomes if each.task.stage is Stage.TRANSCRIBE]
    failures = [each.error for each in recognised if each.error]
    if failures and len(failures) == len(recognised):
        raise failures[0]
    warnings = [*prepared.warnings, *_warnings(outcomes)]
    records = [_record(each, duration) for each in outcomes]
    gaps = [
        Gap(each.task.start, duration, each.task.stage, f"{_where(each.task)}{each.error}")
        for each in recognised
        if each.error
    ]
    parts = {
        each.task.channel: [merge.part_of(each.answer.output, each.task.start, duration)]
        for each in recognised
        if each.answer and isinstance(each.answer.output, TranscribeOutput)
    }
    if plan.request.speaker_detection is SpeakerDetection.PER_CHANNEL:
        names = {f"CHANNEL_{number}": name for number, name in enumerate(plan.request.speaker_names)}
        transcript = merge.merge_channels(
            {channel: part for channel, part in parts.items() if channel is not None},
            duration=duration,
            names=names,
            gaps=gaps,
            warnings=warnings,
            tasks=records,
        )
    else:
        names = {f"SPEAKER_{number:02d}": name for number, name in enumerate(plan.request.speaker_names)}
        transcript = merge.merge(
            [part for each in parts.values() for part in each],
            duration=duration,
            diarization=_diarization(outcomes),
            names=names,
            gaps=gaps,
            warnings=warnings,
            tasks=records,
        )
    if plan.request.timestamps is not Timestamps.WORD:
        for segment in transcript.segments:
            segment.words = []
    return transcript


def _diarization(outcomes: Sequence[Outcome]) -> DiarizeOutput | None:
    for each in outcomes:
        if each.answer and isinstance(each.answer.output, DiarizeOutput):
            return each.answer.output
    return None


def _warnings(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for each in outcomes:
        if each.answer and isinstance(each.answer.output, TranscribeOutput | DiarizeOutput):
            yield from each.answer.output.warnings
        if each.error and each.task.stage is Stage.DIARIZE:
            yield f"speakers are missing: diarization failed ({each.error})"


def _where(task: PlannedTask) -> str:
    return "" if task.channel is None else f"channel {task.channel}: "


def _record(outcome: Outcome, duration_s: float) -> TaskRecord:
    task, answer = outcome.task, outcome.answer
    record = TaskRecord(task.id, task.stage, task.variant.id, task.start, duration_s)
    if outcome.error:
        record.error = str(outcome.error)
    if answer:
        timing = answer.output.timing
        record.timings = {
            "queue": (answer.state.delay_ms or 0) / 1000,
            "download": timing.download_s,
            "load": timing.load_s,
            "inference": timing.inference_s,
            "total": ((answer.state.delay_ms or 0) + (answer.state.execution_ms or 0)) / 1000,
        }
        record.job_id, record.worker_id = answer.state.id, answer.state.worker_id
        record.cold_start, record.attempts = timing.cold_start, answer.attempts
    return record
