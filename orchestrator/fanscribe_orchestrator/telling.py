"""One request's run as its caller sees it: progress reports, and segments on /stream where they are asked for."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fanscribe.contracts.orchestration import OrchestratorProgress
from fanscribe.contracts.transcript import Transcript
from fanscribe.pipeline.events import Event
from fanscribe.pipeline.final import FinalSegments
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan
from fanscribe_orchestrator.outlet import Job, Outlet, Repeating
from fanscribe_orchestrator.progress import Account
from fanscribe_orchestrator.streaming import Stream

STREAM_CUT = (
    "stream: the platform did not take all segments by the deadline; the whole transcript is in the output"
)


class Telling:
    """Tells of one request; a `fanscribe.pipeline.watcher.Watcher`, and with `event` a listener.

    `interval_s` gives the seconds between two reports. `offset_s` is where the audio begins in its file.
    """

    def __init__(
        self,
        job: Job,
        outlet: Outlet,
        interval_s: Callable[[], float],
        streams: bool = False,
        offset_s: float = 0.0,
    ) -> None:
        self._job = job
        self._outlet = outlet
        self._interval_s = interval_s
        self._account = Account()
        self._final: FinalSegments | None = None
        self._text = ""
        self._text_stale = False
        self._said: OrchestratorProgress | None = None
        self._reports = Repeating(self._report)
        self._stream = Stream(lambda chunk: outlet.chunk(job, chunk), offset_s) if streams else None
        self._streaming = Repeating(self._advance)

    @asynccontextmanager
    async def begun(self) -> AsyncIterator["Telling"]:
        """Tell while the block runs."""
        async with self._reports, self._streaming:
            yield self

    async def finish(self, transcript: Transcript, within_s: float = math.inf) -> str | None:
        """No more reports; send the rest of the stream.

        What the platform does not take in `within_s` seconds is left out: gives the sentence that says so.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._reports.rest()
                await self._streaming.rest()
                if self._stream is not None:
                    await self._stream.finish(transcript)
        except TimeoutError:
            return STREAM_CUT if self._stream is not None else None
        return None

    def fetched(self, share: float) -> None:
        """So much of the audio is there, 0 to 1."""
        self._account.fetched(share)
        self._reports.stir()

    def event(self, event: Event) -> None:
        """A step of a task."""
        self._account.event(event)
        self._reports.stir()

    def planned(self, plan: Plan) -> None:
        """See Watcher."""
        self._final = FinalSegments(plan)
        self._account.planned(plan)
        self._reports.stir()

    def decoded(self, duration_s: float) -> None:
        """See Watcher."""
        assert self._final is not None
        self._final.decoded(duration_s)
        self._streaming.stir()

    def settled(self, outcome: Outcome) -> None:
        """See Watcher."""
        assert self._final is not None
        self._final.settled(outcome)
        self._text_stale = True
        self._reports.stir()
        self._streaming.stir()

    async def _report(self) -> float:
        if self._text_stale and self._final is not None:
            self._text_stale = False
            self._text = await asyncio.to_thread(self._final.text)
        report = self._account.report(self._text)
        if report != self._said:
            self._said = report
            await self._outlet.progress(self._job, report.model_dump(mode="json"))
        return self._interval_s()

    async def _advance(self) -> float:
        if self._stream is None or self._final is None:
            return 0.0
        return await self._stream.advance(self._final)
