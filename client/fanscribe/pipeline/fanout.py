"""The fan-out: every task of a plan, as soon as its audio is there, to its end."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanscribe.contracts.errors import ErrorCode, FanscribeError, PlatformError, TaskFailedError
from fanscribe.contracts.task import AlignInput, AlignOutput, Stage, TranscribeOutput
from fanscribe.pipeline.asking import Asking, contradicted
from fanscribe.pipeline.attempts import Means, Tally, Task, too_much
from fanscribe.pipeline.coverage import holes, tiles
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.engine_choice import knows
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.language import LanguageVote
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, StagePlan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.spans import Cargo, Span
from fanscribe.pipeline.supply import Supplied, halved, recut
from fanscribe.pipeline.watcher import Nobody, Watcher

SHORTEST_HALF_S = 5.0
"""A span is not halved into less than this, in seconds."""

_MEANT_FOR_ONE = (ErrorCode.OUT_OF_MEMORY, ErrorCode.RESULT_TOO_LARGE, ErrorCode.AUDIO_UNREADABLE)


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """An answer in a language that the worker found by itself, before one was decided for the recording."""

    stage: StagePlan
    span: Span
    cargo: Cargo
    outcome: Outcome


class FanOut:
    """The tasks of one request. `votes` goes by channel; `folder` is for audio that has to be cut again.

    `keep_language` notes what was decided for a stage, for later runs. `watcher` is told of answers that stay.
    """

    def __init__(
        self,
        plan: Plan,
        platform: Platform,
        means: Means,
        votes: dict[int | None, LanguageVote],
        name: str,
        folder: Path,
        keep_language: Callable[[StagePlan, str], Awaitable[None]],
        watcher: Watcher | None = None,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._plan = plan
        self._platform = platform
        self._means = means
        self._votes = votes
        self._name = name
        self._folder = folder
        self._keep_language = keep_language
        self._watcher = watcher or Nobody()
        self._settled: set[int] = set()
        self._supplying: asyncio.Task[Supplied] | None = None
        self._asking = Asking(plan, platform, means, votes)
        self._doubtful: list[_Doubtful] = []
        self._unjudged = defaultdict[int | None, list[_Doubtful]](list)
        self._cargos: list[Cargo] = []
        self._group: asyncio.TaskGroup | None = None

    async def run(self, supplying: Coroutine[Any, Any, Supplied]) -> Supplied:
        """Run what supplies the spans (it calls `given`) and every task; gives what it returned.

        Raises what it raised, and the recogniser's error when no answer is to be expected any more. All other
        tasks are stopped then, on the platform too; so they are when this is cancelled.
        """
        try:
            async with _Together(self) as group:
                running = self._supplying = group.create_task(supplying)
            await self._close_votes()
            async with _Together(self) as group:
                for each in self._doubtful:
                    group.create_task(self._doubted(each))
        finally:
            await asyncio.gather(*(each.discard() for each in self._cargos))
        supplied = running.result()
        for stage in self._plan.stages:
            chunks = [each.span.chunk for each in self.outcomes if each.stage is stage]
            assert tiles(chunks, supplied.duration_s), f"{stage.id}: a span has no outcome, or more than one"
        return supplied

    def abandon(self, error: FanscribeError) -> Supplied:
        """Give up what was not done when `run` was stopped: each span without an outcome gets this error.

        Gives what is known of the recording; where it was not decoded to its end, that is what its header tells.
        """
        supplied = self._known_supply()
        for stage in self._plan.stages:
            own = [each.span.chunk for each in self.outcomes if each.stage is stage]
            for number, (start, end) in enumerate(holes(own, supplied.duration_s)):
                span = Span(Chunk(number, start, end, start, end), stage.channel, "")
                name = f"{stage.id}-unfinished-{number}"
                self.outcomes.append(Outcome(name, stage, span, None, error, Tally()))
        return supplied

    def _known_supply(self) -> Supplied:
        task = self._supplying
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        ends = [each.span.chunk.end for each in self.outcomes]
        return Supplied(max([self._plan.situation.duration_s or 0.0, *ends]), ())

    def given(self, stages: Sequence[StagePlan], span: Span) -> None:
        """A span is there, for these stages."""
        cargo = self._cargo(span, len(stages))
        for stage in stages:
            self._start(self._done(stage, span, cargo))

    def _cargo(self, span: Span, holders: int = 1) -> Cargo:
        cargo = Cargo(span, self._platform.objects, holders)
        self._cargos.append(cargo)
        return cargo

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            assert self._group is not None
            self._group.create_task(work)
        except RuntimeError:  # everything is being stopped
            work.close()

    async def _done(self, stage: StagePlan, span: Span, cargo: Cargo) -> None:
        """One task to its end; where it is too much for a worker, its halves."""
        outcome = await self._asking.outcome(stage, span, cargo)
        if outcome.error is not None and too_much(outcome.error):
            halves = await self._halves(stage, span)
            if halves:
                event = Event(outcome.id, stage.stage, State.QUEUED, message=f"in halves: {outcome.error}")
                self._means.listener(event)
                await cargo.release()
                for half in halves:
                    self._start(self._done(stage, half, self._cargo(half)))
                return
        self._ended(outcome)
        if await self._undecided(outcome):
            doubtful = _Doubtful(stage, span, cargo, outcome)
            self._doubtful.append(doubtful)
            self._unjudged[span.channel].append(doubtful)
            self._settle_confirmed()
        else:
            await self._finished(outcome, cargo)

    async def _finished(self, outcome: Outcome, cargo: Cargo) -> None:
        """What is left to do with an answer that stays: its words are timed, where an aligner is to do that."""
        try:
            if outcome.stage.aligners:
                await self._aligned(outcome, cargo)
        finally:
            await cargo.release()
        self._settle(outcome)

    async def _aligned(self, outcome: Outcome, cargo: Cargo) -> None:
        """Put the aligner's words in place of the recogniser's; where it fails, these stay as they are."""
        output = outcome.answer.output if outcome.answer is not None else None
        if not isinstance(output, TranscribeOutput) or not output.segments:
            return
        language = output.language or outcome.language
        able = tuple(each for each in outcome.stage.aligners if knows(each.variant, language))
        if language is None or not able:
            return
        segments = output.segments
        stage = replace(outcome.stage, stage=Stage.ALIGN, endpoints=able, aligners=(), also_diarizes=False)

        def make(_language: str | None) -> Task:
            def task(audio: dict[str, Any]) -> AlignInput:
                return AlignInput(**audio, segments=segments, language=language)

            return Task(f"{stage.id}-{outcome.span.number}", Stage.ALIGN, outcome.span, task)

        aligned = await self._asking.outcome(stage, outcome.span, cargo, make)
        found = aligned.answer.output if aligned.answer is not None else None
        if isinstance(found, AlignOutput):
            output.segments, found.segments = found.segments, []
        self._ended(aligned)

    async def _undecided(self, outcome: Outcome) -> bool:
        """Whether the answer is in a language that the worker found; what it found counts."""
        found = outcome.answer.output if outcome.answer is not None else None
        if outcome.language is not None or not isinstance(found, TranscribeOutput):
            return False
        vote = self._votes[outcome.span.channel]
        language = vote.add(found)
        if language is not None:
            # Kept before anything is asked for in it, so that no run after us misses such a task.
            await self._keep_language(outcome.stage, language)
            vote.decide(language)
        return True

    def _settle_confirmed(self) -> None:
        """Of the answers that were in doubt, those in the language decided stay as they are."""
        for channel, vote in self._votes.items():
            if vote.decided is None:
                continue
            for each in self._unjudged.pop(channel, ()):
                answer = each.outcome.answer
                if answer is not None and not each.stage.aligners and not contradicted(vote, answer.output):
                    self._settle(each.outcome)

    def _settle(self, outcome: Outcome) -> None:
        """Tell, once, that an outcome stays."""
        if id(outcome) not in self._settled:
            self._settled.add(id(outcome))
            self._watcher.settled(outcome)

    async def _close_votes(self) -> None:
        for stage in self._plan.stages:
            vote = self._votes[stage.channel]
            known = vote.decided
            vote.close()
            if stage.stage is Stage.TRANSCRIBE and vote.decided is not None and vote.decided != known:
                await self._keep_language(stage, vote.decided)

    async def _doubted(self, doubtful: _Doubtful) -> None:
        """Do again what is in another language than the recording's; keep the answer there was if that fails."""
        outcome, answer = doubtful.outcome, doubtful.outcome.answer
        assert answer is not None
        if contradicted(self._votes[doubtful.span.channel], answer.output) and self._has_peers(outcome):
            again = await self._asking.outcome(doubtful.stage, doubtful.span, doubtful.cargo)
            again.tally.attempts += doubtful.outcome.tally.attempts
            again.tally.unconfirmed += doubtful.outcome.tally.unconfirmed
            if again.answer is not None:
                self.outcomes[self.outcomes.index(outcome)] = outcome = again
        await self._finished(outcome, doubtful.cargo)

    def _has_peers(self, outcome: Outcome) -> bool:
        return any(each.stage is outcome.stage and each is not outcome for each in self.outcomes)

    async def _halves(self, stage: StagePlan, span: Span) -> list[Span]:
        if span.chunk.end - span.chunk.start < 2 * SHORTEST_HALF_S:
            return []
        if span.address is not None:
            return halved(span, stage.overlap_s)
        halves = await recut(span, self._name, self._folder, f"{stage.id}-{span.number}-half")
        return halves if len(halves) > 1 else []

    def _ended(self, outcome: Outcome) -> None:
        """Note it. A fault that all tasks of the stage will share is not waited for again and again."""
        self.outcomes.append(outcome)
        stage, error = outcome.stage.stage, outcome.error
        if error is None or not _of_all(error) or stage in self._asking.lost:
            return
        if any(each.stage.stage is stage and each.answer is not None for each in self.outcomes):
            return
        self._asking.lost[stage] = error
        if stage is Stage.TRANSCRIBE:
            raise error


class _Together:
    """A task group whose first error is raised as it is, not as a group of errors."""

    def __init__(self, owner: FanOut) -> None:
        self._owner = owner
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> asyncio.TaskGroup:
        self._owner._group = await self._group.__aenter__()
        return self._owner._group

    async def __aexit__(self, *about: Any) -> None:
        try:
            await self._group.__aexit__(*about)
        except BaseExceptionGroup as several:
            error: BaseException = several
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from error.__cause__


def _of_all(error: FanscribeError) -> bool:
    """Whether every other task of the stage will fail in the same way."""
    if isinstance(error, TaskFailedError):
        return not error.retryable and error.error.code not in _MEANT_FOR_ONE
    return isinstance(error, PlatformError) and not too_much(error)
