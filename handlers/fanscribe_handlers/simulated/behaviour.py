"""How long simulated work takes and when it fails: what a variant file says, and seeded draws. Pure."""

import random
from dataclasses import MISSING, dataclass, fields
from typing import Any

from fanscribe.contracts.variant import Variant

MARK = "simulated"
"""The option that every variant of this family sets, so that no other is mistaken for it."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What the draw of one job says: its time is `factor` times the usual; it fails or it does not."""

    factor: float = 1.0
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The facts of a variant, and by its options how a worker departs from them.

    Times in seconds; `rtf` is seconds of work per second of audio. The facts are what a plan reckons with.
    """

    load_s: float
    rtf: float
    overhead_s: float
    pace: float = 1.0
    """Real time over the stated one, for everything but the load."""
    jitter: float = 0.0
    """Each job's time is drawn evenly from 1 - jitter to 1 + jitter times the usual; 0 to 1."""
    straggler_share: float = 0.0
    """The share of jobs that take `straggler_factor` times as long."""
    straggler_factor: float = 10.0
    failure_share: float = 0.0
    """The share of jobs that fail when `failure_after` of their time has gone; another attempt draws anew."""
    failure_after: float = 0.5
    fails_on_word: int = -1
    """Every job whose span has this word fails, at each attempt; -1 for none."""
    memory_s: float = 0.0
    """A job with more seconds of audio runs out of memory; 0 for no such limit."""
    burns: bool = False
    """Whether the time is spent computing (one core's CPU time) rather than asleep."""
    deaf: bool = False
    """Whether audio is neither fetched nor read: a job takes the time of its clip and gives no words. For load tests
    of callers, where twenty workers that decode would take the processor from what is measured."""
    seed: int = 0

    def work_s(self, duration_s: float, fate: Fate) -> float:
        """The time of one job over `duration_s` seconds of audio, were it to succeed."""
        return (self.overhead_s + self.rtf * duration_s) * self.pace * fate.factor

    def fits(self, duration_s: float) -> bool:
        """Whether so many seconds of audio fit into the simulated memory."""
        return not self.memory_s or duration_s <= self.memory_s


def read_behaviour(variant: Variant) -> Behaviour:
    """What the variant file says. Raises ValueError that names the option which is unknown or cannot be meant."""
    options: dict[str, Any] = dict(variant.options)
    if options.pop(MARK, None) is not True:
        raise ValueError(f"{variant.id}: options.{MARK} must be true in a variant of the family simulated")
    performance = variant.performance
    if not performance.rtf:
        raise ValueError(f"{variant.id}: performance.rtf is empty: give one figure")
    known = {each.name: each.default for each in fields(Behaviour) if each.default is not MISSING}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{variant.id}: options.{name} is unknown; known are {', '.join(sorted(known))}")
        wanted = bool if isinstance(known[name], bool) else int if isinstance(known[name], int) else float
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, (wanted, int)):
            raise ValueError(f"{variant.id}: options.{name} must be a {wanted.__name__}, not {value!r}")
    behaviour = Behaviour(
        load_s=performance.load_s.value,
        rtf=next(iter(performance.rtf.values())).value,
        overhead_s=performance.overhead_s.value,
        **options,
    )
    for name in ("jitter", "straggler_share", "failure_share", "failure_after"):
        if not 0 <= getattr(behaviour, name) <= 1:
            raise ValueError(f"{variant.id}: options.{name} must be 0 to 1, not {getattr(behaviour, name)}")
    for name in ("pace", "straggler_factor"):
        if not getattr(behaviour, name) > 0:
            raise ValueError(f"{variant.id}: options.{name} must be above 0, not {getattr(behaviour, name)}")
    return behaviour


class Draws:
    """The fates of one job after the other. The same seed and `name` give the same ones."""

    def __init__(self, behaviour: Behaviour, name: str = "") -> None:
        self._behaviour = behaviour
        self._random = random.Random(f"{behaviour.seed} {name}")  # noqa: S311 - chance, not secrets

    def next(self) -> Fate:
        """The next job's fate."""
        # Each job takes three draws whatever the shares, so that one option does not move another's luck.
        even, straggles, fails = (self._random.random() for _ in range(3))
        factor = 1.0 + self._behaviour.jitter * (2 * even - 1)
        if straggles < self._behaviour.straggler_share:
            factor *= self._behaviour.straggler_factor
        return Fate(factor, fails < self._behaviour.failure_share)
