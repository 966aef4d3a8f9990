"""Who is told of a run's answers as soon as they stay."""

from typing import Protocol

from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan


class Watcher(Protocol):
    """Told in the run's event loop; its methods must return at once."""

    def planned(self, plan: Plan) -> None:
        """What will be done."""

    def decoded(self, duration_s: float) -> None:
        """The recording is decoded, it is so many seconds long: no further span comes."""

    def settled(self, outcome: Outcome) -> None:
        """A task has ended for good: its answer will not change any more, or it is a gap."""


class Nobody:
    """The watcher of a caller who does not want to know."""

    def planned(self, plan: Plan) -> None:
        """Nothing happens."""

    def decoded(self, duration_s: float) -> None:
        """Nothing happens."""

    def settled(self, outcome: Outcome) -> None:
        """Nothing happens."""
