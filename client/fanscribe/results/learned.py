"""How far an endpoint's real times lie from its variant's figures: one small file, used by the next plan."""

import contextlib
import fcntl
import json
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

LOWEST, HIGHEST = 0.1, 10.0
"""A factor never leaves this range: what lies outside is an accident, not a property of the endpoint."""

NEWEST_WEIGHT = 0.2
"""The least weight of a new observation, so that an endpoint that changed is known after about five."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured time beside its prediction, in seconds. `what` names the time: inference, load, queue, …"""

    endpoint: str
    what: str
    predicted_s: float
    observed_s: float


@dataclass(frozen=True, slots=True)
class Factor:
    """Observed over predicted, as a geometric mean that favours the newest, and how many were seen."""

    value: float = 1.0
    count: int = 0

    def after(self, ratio: float) -> "Factor":
        """This factor with one more observation. The mean is taken of logarithms: 2 and 0.5 make 1."""
        weight = max(NEWEST_WEIGHT, 1 / (self.count + 1))
        bounded = min(max(ratio, LOWEST), HIGHEST)
        value = math.exp((1 - weight) * math.log(self.value) + weight * math.log(bounded))
        return Factor(min(max(value, LOWEST), HIGHEST), self.count + 1)


class LearnedFactors:
    """The factors in `file`. A file that is missing or damaged means that nothing was learned yet."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def factor(self, endpoint: str, what: str) -> Factor:
        """What was learned of one time of an endpoint; 1.0 from no observation when nothing was."""
        return self.factors().get((endpoint, what), Factor())

    def factors(self) -> dict[tuple[str, str], Factor]:
        """Everything that was learned, by endpoint and time, read at once."""
        try:
            kept = json.loads(self._file.read_bytes())
            return {
                (endpoint, what): _factor(entry)
                for endpoint, times in kept.items()
                for what, entry in times.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def learn(self, observations: Iterable[Observation]) -> None:
        """Take in a run's observations. Those without a meaning (a prediction or a time of 0) are left out.

        A file that cannot be written is logged and otherwise ignored: the next plan is a little worse.
        """
        usable = [each for each in observations if each.predicted_s > 0 and each.observed_s > 0]
        if not usable:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                factors = self.factors()
                for each in usable:
                    about = each.endpoint, each.what
                    factors[about] = factors.get(about, Factor()).after(each.observed_s / each.predicted_s)
                self._write(factors)
        except OSError as error:
            _log.warning("%s cannot be written (%s): nothing is learned", self._file, error.strerror or error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time reads and writes back."""
        with open(f"{self._file}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, factors: dict[tuple[str, str], Factor]) -> None:
        kept: dict[str, dict[str, Any]] = {}
        for (endpoint, what), factor in sorted(factors.items()):
            kept.setdefault(endpoint, {})[what] = {"factor": round(factor.value, 4), "count": factor.count}
        descriptor, part = tempfile.mkstemp(dir=self._file.parent)
        try:
            with open(descriptor, "w") as opened:
                json.dump(kept, opened, indent=1)
            os.replace(part, self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise


def _factor(entry: dict[str, Any]) -> Factor:
    value, count = float(entry["factor"]), int(entry["count"])
    if not (LOWEST <= value <= HIGHEST and count >= 0):
        raise ValueError("out of range")
    return Factor(value, count)
