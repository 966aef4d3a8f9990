"""One task asked for: what is kept of it, else what a job that an earlier run left gives, else what its own jobs do."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fanscribe.contracts.errors import FanscribeError
from fanscribe.contracts.task import Stage, TranscribeOutput
from fanscribe.logs import about
from fanscribe.pipeline.attempts import Answer, Means, Tally, Task, attached, kept_answer, perform
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.inputs import make_input
from fanscribe.pipeline.language import LanguageVote
from fanscribe.pipeline.outcome import Outcome, task_facts
from fanscribe.pipeline.plan import Plan, StagePlan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.route import Route
from fanscribe.pipeline.spans import Cargo, Span


class Asking:
    """Asks for the tasks of one request. `votes` on the language go by channel.

    `lost` holds, by stage, the error that all its tasks share: such a task is not sent any more.
    """

    def __init__(
        self, plan: Plan, platform: Platform, means: Means, votes: Mapping[int | None, LanguageVote]
    ) -> None:
        self.lost: dict[Stage, FanscribeError] = {}
        self._request = plan.request
        self._means = means
        self._votes = votes
        self._routes = _routes(plan, platform, means)

    async def outcome(
        self,
        stage: StagePlan,
        span: Span,
        cargo: Cargo,
        make: Callable[[str | None], Task] | None = None,
    ) -> Outcome:
        """The outcome of one task; `make` makes it for a language."""
        tally, clock = Tally(), self._means.calls.clock
        began = clock()

        def note(failure: BaseException | None) -> None:
            self._means.recorder.task(task_facts(stage, span, tally, began, clock(), failure))

        try:
            with about(task=f"{stage.id}-{span.number}"):
                make = make or partial(self._task, stage, span)
                outcome = await self._answered(stage, span, cargo, tally, make)
        except BaseException as error:
            note(error)
            raise
        note(outcome.error)
        return outcome

    async def _answered(
        self,
        stage: StagePlan,
        span: Span,
        cargo: Cargo,
        tally: Tally,
        make: Callable[[str | None], Task],
    ) -> Outcome:
        routes = [self._routes[each.name] for each in stage.endpoints]
        vote, listener = self._votes[span.channel], self._means.listener
        async with routes[0].slot():
            task = make(vote.decided)
            if stage.stage in self.lost:
                return Outcome(task.id, stage, span, None, self.lost[stage.stage], tally, vote.decided)
            try:
                tasks = {language: make(language) for language in self._languages(stage, vote)}
                answer, language = await self._earlier(tasks, vote, cargo, routes, tally)
                tally.reused = answer is not None and answer.state is None
                if answer is None:
                    # Asked again, since other answers may have come while we looked.
                    language = vote.decided
                    task = make(language)
                    answer = await perform(task, cargo, routes, tally, self._means)
            except FanscribeError as error:
                listener(Event(task.id, stage.stage, State.FAILED, message=str(error)))
                return Outcome(task.id, stage, span, None, error, tally, vote.decided)
        listener(Event(task.id, stage.stage, State.DONE, 1.0))
        return Outcome(task.id, stage, span, answer, None, tally, language)

    async def _earlier(
        self,
        tasks: Mapping[str | None, Task],
        vote: LanguageVote,
        cargo: Cargo,
        routes: Sequence[Route],
        tally: Tally,
    ) -> tuple[Answer | None, str | None]:
        """The answer that is kept, else that of a job which an earlier run left, and the language it was asked in."""
        means = self._means
        if not means.kept.active:
            return None, None
        for language, task in tasks.items():
            answer = await kept_answer(task, routes, tally, means.kept)
            if answer is not None and (language or not contradicted(vote, answer.output)):
                return answer, language
        for language, task in tasks.items():
            answer = await attached(task, cargo, routes, tally, means)
            if answer is not None and (language or not contradicted(vote, answer.output)):
                return answer, language
        return None, None

    def _task(self, stage: StagePlan, span: Span, language: str | None) -> Task:
        request = self._request

        def make(audio: dict[str, Any]) -> Any:
            return make_input(stage, request, language, audio)

        return Task(f"{stage.id}-{span.number}", stage.stage, span, make)

    def _languages(self, stage: StagePlan, vote: LanguageVote) -> list[str | None]:
        """The languages under which an answer may be kept: the one decided, and the worker's own finding."""
        if stage.stage is not Stage.TRANSCRIBE or self._request.language is not None:
            return [vote.decided]
        return list(dict.fromkeys((vote.decided, None)))


def contradicted(vote: LanguageVote, output: object) -> bool:
    """Whether an answer is a transcript in another language than the recording's."""
    return isinstance(output, TranscribeOutput) and vote.contradicts(output)


def _routes(plan: Plan, platform: Platform, means: Means) -> dict[str, Route]:
    """One route for each endpoint, which all stages that use it share."""
    wanted: dict[str, int] = {}
    endpoints = {each.name: each for stage in plan.stages for each in (*stage.endpoints, *stage.aligners)}
    for stage in plan.stages:
        division, most = stage.division, plan.situation.capacity(stage.endpoint).workers_max
        # Where no further worker can be started, one job more in the queue spares the caller's reaction.
        own = division.in_flight + (1 if division.width >= most else 0)
        wanted[stage.endpoint.name] = wanted.get(stage.endpoint.name, 0) + own
    routes, holder = {}, object()
    for name, endpoint in endpoints.items():
        capacity = plan.situation.capacity(endpoint)
        most = capacity.workers_max * (2 if capacity.prefetch else 1) + 1
        limit = min(wanted.get(name, most), most)
        pool = platform.sharing.pool(name, most) if platform.sharing is not None else None
        api = platform.endpoint(endpoint.id)
        routes[name] = Route(endpoint, api, capacity, limit, means.calls.clock, pool, holder)
    return routes
