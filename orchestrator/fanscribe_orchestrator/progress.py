"""How far a request is: from the events and settled outcomes of its run to the reports that callers see."""

from fanscribe.contracts.orchestration import OrchestratorProgress
from fanscribe.contracts.task import Stage
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.plan import Plan

TEXT_SHOWN = 10_000
"""Characters of the text so far in a report, at most: its end, since each report is sent as a whole."""

INTERVAL_S = 0.5
"""Seconds between two reports of a request, at least."""

REPORTS_PER_S = 50
"""Reports that a worker sends in a second for all its requests, about."""

_FETCHED, _RECOGNISED = 0.05, 0.97
"""The share of the whole request that is done when the audio is there, and when all tasks are."""

_STARTING = (State.SENDING, State.QUEUED, State.STARTING, State.FETCHING, State.LOADING)


class Account:
    """What is known of one request's progress. Never goes back."""

    def __init__(self) -> None:
        self._share = 0.0
        self._tasks: dict[str, float] = {}
        self._expected = 1
        self._latest: Event | None = None
        self._merging = False

    def fetched(self, share: float) -> None:
        """So much of the audio is there, 0 to 1."""
        self._reached(_FETCHED * share)

    def planned(self, plan: Plan) -> None:
        """So many tasks there will be, about."""
        self._expected = max(1, sum(len(each.division.sizes_s) for each in plan.stages))
        self._reached(_FETCHED)

    def event(self, event: Event) -> None:
        """A step of a task."""
        if event.stage is Stage.PREPARE:
            return
        self._latest = event
        done = {State.RUNNING: event.share, State.DONE: 1.0, State.FAILED: 1.0}.get(event.state, 0.0)
        self._tasks[event.task] = max(done, self._tasks.get(event.task, 0.0))
        part = sum(self._tasks.values()) / max(self._expected, len(self._tasks))
        self._reached(_FETCHED + (_RECOGNISED - _FETCHED) * part)

    def merging(self) -> None:
        """All tasks have ended."""
        self._merging = True
        self._reached(_RECOGNISED)

    def report(self, text: str) -> OrchestratorProgress:
        """How far it is, with the text so far."""
        said = OrchestratorProgress(phase="fetching", stage=Stage.PREPARE, share=round(self._share, 3))
        said.text = text[-TEXT_SHOWN:]
        if self._merging:
            said.phase, said.stage = "running", Stage.MERGE
        elif self._latest is not None:
            said.stage, said.message = self._latest.stage, self._latest.message
            said.phase = (
                "loading" if self._latest.state in _STARTING and not any(self._tasks.values()) else "running"
            )
        return said

    def _reached(self, share: float) -> None:
        self._share = min(max(self._share, share), 1.0)


def interval_s(requests: int) -> float:
    """Seconds between two reports of one request, where so many are under way on the worker."""
    return max(INTERVAL_S, requests / REPORTS_PER_S)
