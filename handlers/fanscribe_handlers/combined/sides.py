"""What engines that work side by side on one task are told and tell: their share of the whole, a stop of their own."""

import threading
from collections.abc import Sequence

from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, Reporter


class Share:
    """The share of the whole that is done, out of those of its sides. Safe to use from several threads."""

    def __init__(self, report: Reporter, weights: Sequence[float]) -> None:
        whole = sum(weights)
        self._report = report
        self._weights = [weight / whole if whole > 0 else 1 / len(weights) for weight in weights]
        self._done = [0.0] * len(weights)
        self._lock = threading.Lock()

    def side(self, number: int) -> Reporter:
        """Takes the share that one side has done, 0 to 1; one that goes back counts for nothing."""

        def report(share: float) -> None:
            with self._lock:
                self._done[number] = max(self._done[number], min(1.0, share))
                whole = sum(weight * done for weight, done in zip(self._weights, self._done, strict=True))
                self._report(min(1.0, whole))  # weights may add up to a little more

        return report


def weights_of(variants: Sequence[Variant]) -> list[float]:
    """How much of the work each does: its slowest real-time factor, since where it runs is not known here."""
    return [max(fact.value for fact in variant.performance.rtf.values()) for variant in variants]


class SideContext(Context):
    """The context of one side: it stops when the job does, or when `stop` was called. Warnings are the job's."""

    def __init__(self, whole: Context, report: Reporter) -> None:
        super().__init__(report=report, warnings=whole.warnings)
        self._whole = whole

    def stop(self) -> None:
        """Have this side raise Cancelled at its next look."""
        self.cancelled.set()

    def check(self) -> None:
        """Raise Cancelled if the job was cancelled, or this side stopped."""
        self._whole.check()
        super().check()
