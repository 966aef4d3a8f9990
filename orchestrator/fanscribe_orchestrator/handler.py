"""One job of the orchestrator, from its input to its output."""

import asyncio
import logging
import traceback
from dataclasses import replace
from typing import Any

from fanscribe import __version__, logs, media
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import DeadlineError, TaskError
from fanscribe.contracts.orchestration import OrchestratorAbout, OrchestratorInput, OrchestratorOutput
from fanscribe.contracts.task import ResponseFormat, Stage, Timing
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.fetch import FetchPolicy
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.run import transcribe
from fanscribe.render import render
from fanscribe.trace import Recorder, Summary, tracing
from fanscribe_orchestrator.clipping import of_the_file
from fanscribe_orchestrator.deadline import Deadline
from fanscribe_orchestrator.durable import KEEP_S, Entry, Ledger
from fanscribe_orchestrator.failures import Said, error_of, failure, scrubbed, without
from fanscribe_orchestrator.fate import Fate
from fanscribe_orchestrator.intake import recording_of, request_of, taken_from, traceparent_of
from fanscribe_orchestrator.notify import Notifier
from fanscribe_orchestrator.outlet import Job, Outlet
from fanscribe_orchestrator.oversize import Outbox
from fanscribe_orchestrator.places import Place
from fanscribe_orchestrator.progress import interval_s
from fanscribe_orchestrator.settings import Settings
from fanscribe_orchestrator.telling import Telling

_log = logging.getLogger(__name__)


class Orchestrator:
    """The requests of one worker, in one event loop. `outlet` passes on what they say while they are under way.

    `place` is where whole requests are kept, `outbox` where results go that are too large; `notifier` tells receivers
    what became of them.
    """

    def __init__(
        self,
        settings: Settings,
        platform: Platform,
        outlet: Outlet | None = None,
        place: Place | None = None,
        outbox: Outbox | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._platform = platform
        self._outlet = outlet or Outlet()
        self._policy = FetchPolicy(allowed_origins=settings.allowed_origins, max_bytes=settings.max_bytes)
        self._ledger = Ledger(place or Place(), settings.catalogue)
        self._outbox = outbox or Outbox()
        self._notifier = notifier or Notifier(None)
        self._held = 0

    async def handle(self, job: Job) -> dict[str, Any]:
        """Do one job: the SDK's handler. Returns the output, or {"error": …} with a TaskError as JSON text.

        A cancelled job's child jobs are cancelled before this raises.
        """
        self._held += 1
        job_id = str(job.get("id"))
        with logs.about(job=job_id):
            try:
                about, caller = {"job_id": job_id}, traceparent_of(job.get("input"))
                async with tracing(self._settings.traces, about, caller, _summarise) as recorder:
                    return await self._answer(job, recorder)
            except Exception as error:
                said = error_of(error)
                _log.warning("job %s ended with %s%s", job_id, said.error.code, self._trace(said))
                return failure(said.error, [self._settings.api_key])
            finally:
                self._held -= 1

    async def _answer(self, job: Job, recorder: Recorder) -> dict[str, Any]:
        asked = taken_from(job)
        deadline = Deadline(self._settings.execution_timeout_s, asked.deadline_s, job.get("policy"))
        now = asyncio.get_running_loop().time
        fate = Fate(self._notifier, asked.notify, str(job["id"]), lambda: deadline.last - now(), self._said)
        async with fate.followed():
            output = await self._output(asked, deadline, job, recorder)
            await fate.completed(output)
        return output

    def _trace(self, said: Said) -> str:
        """Where an error that nobody expected came from; what libraries say of it may hold the key."""
        return "\n" + scrubbed(traceback.format_exc(), [self._settings.api_key]) if said.unexpected else ""

    def _said(self, error: Exception) -> TaskError:
        return without([self._settings.api_key], error_of(error).error)

    async def _output(
        self, asked: OrchestratorInput, deadline: Deadline, job: Job, recorder: Recorder
    ) -> dict[str, Any]:
        offset_s = asked.clip.start if asked.clip else 0.0
        telling = Telling(job, self._outlet, lambda: interval_s(self._held), asked.stream, offset_s)
        async with telling.begun():
            transcript, about = await self._transcribed(asked, deadline, telling, str(job["id"]), recorder)
            late = await telling.finish(transcript, deadline.closing_s)
        if late is not None:
            transcript = replace(transcript, warnings=[*transcript.warnings, late])
        _log.info("%.1f s of audio: %s", transcript.duration, logs.spoken(transcript.text))
        output = await asyncio.to_thread(output_of, asked, transcript, about)
        return await self._outbox.fitted(output, str(job["id"]), deadline.closing_s)

    async def _transcribed(
        self, asked: OrchestratorInput, deadline: Deadline, telling: Telling, job_id: str, recorder: Recorder
    ) -> tuple[Transcript, OrchestratorAbout]:
        try:
            async with asyncio.timeout_at(deadline.last) as limit, self._ledger.entry(asked) as entry:
                transcript = await entry.known()
                if transcript is None:
                    transcript = await self._found_or_made(asked, deadline, telling, job_id, entry, recorder)
                if entry.warnings:
                    transcript = replace(transcript, warnings=[*transcript.warnings, *entry.warnings])
                return transcript, about_of(transcript, entry, self._settings.catalogue)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineError(
                f"not done within {deadline.allowed_s:.0f} s; its jobs were cancelled"
            ) from error

    async def _found_or_made(
        self,
        asked: OrchestratorInput,
        deadline: Deadline,
        telling: Telling,
        job_id: str,
        entry: Entry,
        recorder: Recorder,
    ) -> Transcript:
        sharing = self._platform.sharing
        fetched = recording_of(asked, self._policy, self._settings, deadline.soft, sharing, telling.fetched)
        async with recorder.entered("fetch", fetched) as recording:
            assert recording.digest is not None
            async with entry.source(recording.digest) as found:
                if found is not None:
                    return found
                facts = await asyncio.to_thread(media.probe, recording.file, recording.name)
                self._outbox.refuse_foretold(asked, facts.duration_s or 0.0, job_id)
                transcript = await transcribe(
                    recording,
                    request_of(asked, deadline.left_s),
                    self._settings.catalogue,
                    replace(self._platform, learned=entry.learned or self._platform.learned),
                    telling.event,
                    recorder,
                    watcher=telling,
                    until=deadline.soft,
                )
                transcript = of_the_file(transcript, asked.clip.start if asked.clip else 0.0)
                # Before `last`: where it cannot be kept in time, the answer shall still be given.
                await entry.keep(transcript, min(KEEP_S, deadline.closing_s / 2))
                return transcript


def _summarise(summary: Summary) -> None:
    _log.info("request %s", summary, extra={"trace": summary.trace})


def about_of(transcript: Transcript, entry: Entry, catalogue: Catalogue) -> OrchestratorAbout:
    """What is said of every answer beside the transcript."""
    recognised = [each.variant for each in transcript.tasks if each.stage == Stage.TRANSCRIBE]
    variant = catalogue.variants.get(recognised[0]) if recognised else None
    return OrchestratorAbout(
        engine=f"fanscribe-orchestrator {__version__}",
        variant=recognised[0] if recognised else "",
        model=variant.model.id if variant is not None else "",
        timing=timing_of(transcript),
        contract_version=CONTRACT_VERSION,
        partial=transcript.partial,
        durable=entry.durable,
        replayed=entry.replayed,
        unconfirmed=sum(each.unconfirmed for each in transcript.tasks),
    )


def timing_of(transcript: Transcript) -> Timing:
    """The seconds of all its tasks together that engines worked, and the longest load; nothing of kept answers."""
    fresh = [each for each in transcript.tasks if not each.reused]
    return Timing(
        load_s=max((each.timings.get("load", 0.0) for each in fresh), default=0.0),
        inference_s=sum(each.timings.get("inference", 0.0) for each in fresh),
        cold_start=any(each.cold_start for each in fresh),
    )


def output_of(asked: OrchestratorInput, transcript: Transcript, about: OrchestratorAbout) -> dict[str, Any]:
    """The job's output in the format that was asked for."""
    if asked.response_format is ResponseFormat.NATIVE:
        return OrchestratorOutput.of(transcript, about).model_dump(mode="json")
    shown = render(transcript, asked.response_format)
    if isinstance(shown, str):
        shown = {"text": shown} | ({"warnings": transcript.warnings} if transcript.warnings else {})
    return about.model_dump(mode="json") | shown
