"""Faults on purpose: rules that make the platform misbehave at a chosen rate, as the real one sometimes does."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

COLD_START = "cold_start"
KILL_WORKER = "kill_worker"
ERROR = "error"
LOST_RESULT = "lost_result"
SLOW_WORKER = "slow_worker"
LATE_RESULT = "late_result"
DUPLICATE_RESULT = "duplicate_result"
RESTART = "restart"
LOST_REPLY = "lost_reply"
STUCK_JOB = "stuck_job"
LOST_JOB = "lost_job"

CLIENT, WORKER, MANAGEMENT = "client", "worker", "management"

KINDS = {
    COLD_START: "a worker's process starts `seconds` later",
    KILL_WORKER: "a worker is killed `seconds` after it was given a job",
    ERROR: "a request of `calls` (client, worker or management) is answered with `status`",
    LOST_RESULT: "a worker's result is accepted and thrown away",
    SLOW_WORKER: "a worker's result is held back `seconds` while the worker waits",
    LATE_RESULT: "a worker's result is accepted at once and kept `seconds` later",
    DUPLICATE_RESULT: "a worker's result arrives twice",
    RESTART: "the platform goes away for `seconds`: workers end, requests get 502, jobs are read back",
    LOST_REPLY: "a management call is carried out, and `seconds` later answered with `status`",
    STUCK_JOB: "a submitted job waits in the queue for ever: no worker is given it",
    LOST_JOB: "a submitted job is forgotten: its id is not known any more",
}


class FaultError(ValueError):
    """A fault rule cannot be used; the message names the field."""


@dataclass(slots=True)
class FaultRule:
    """One rule. `times` left out means for ever; `hits` counts how often it struck.

    `operation` is a pattern for management calls (`PATCH /v2/serverless/{id}`, `saveEndpoint`) and, of `error`,
    for those of clients and workers (`run`, `status`, `job-done`). The first `skip` calls that a rule applies to
    are let pass.
    """

    kind: str
    endpoint: str = "*"
    rate: float = 1.0
    seconds: float = 0.0
    status: int = 500
    calls: str = CLIENT
    times: int | None = None
    operation: str = "*"
    skip: int = 0
    hits: int = 0
    passed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise FaultError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        for name, low, high in (("rate", 0.0, 1.0), ("seconds", 0.0, 86_400.0), ("status", 400, 599)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise FaultError(f"{name} must be {low:g} to {high:g}, not {value!r}")
        if self.calls not in (CLIENT, WORKER, MANAGEMENT):
            raise FaultError(f"calls must be client or worker or management, not {self.calls!r}")
        if not isinstance(self.skip, int) or isinstance(self.skip, bool) or self.skip < 0:
            raise FaultError(f"skip must be a whole number of 0 or more, not {self.skip!r}")
        if not isinstance(self.operation, str):
            raise FaultError("operation must be a pattern, or * for all")
        if self.times is not None and (not isinstance(self.times, int) or self.times < 1):
            raise FaultError(f"times must be a whole number of 1 or more, not {self.times!r}")
        if not isinstance(self.endpoint, str):
            raise FaultError("endpoint must be a name, or * for all")

    def to_json(self) -> dict[str, Any]:
        """The rule as status shows it."""
        return asdict(self)


class Faults:
    """The rules in force, and the dice."""

    def __init__(self, rules: Sequence[FaultRule] = (), dice: random.Random | None = None) -> None:
        self.rules = list(rules)
        # Not for secrets: which request a fault strikes.
        self._dice = dice or random.Random()  # noqa: S311

    def strike(self, kind: str, endpoint: str, calls: str = CLIENT, operation: str = "") -> FaultRule | None:
        """The rule that strikes this time, if any; it is counted."""
        for rule in self.rules:
            if rule.kind != kind or rule.endpoint not in ("*", endpoint):
                continue
            if kind == ERROR and rule.calls != calls:
                continue
            if not fnmatchcase(operation, rule.operation):
                continue
            if rule.passed < rule.skip:
                rule.passed += 1
                continue
            if rule.times is not None and rule.hits >= rule.times:
                continue
            if self._dice.random() < rule.rate:
                rule.hits += 1
                return rule
        return None


def rules_from_json(value: Any) -> list[FaultRule]:
    """Read a list of rules; raises FaultError naming the first fault."""
    if not isinstance(value, list):
        raise FaultError("fault rules are a JSON list of objects")
    known = {item.name for item in fields(FaultRule)} - {"hits", "passed"}
    rules = []
    for number, item in enumerate(value):
        if not isinstance(item, dict) or "kind" not in item:
            raise FaultError(f"fault rule {number}: must be an object with a `kind`")
        unknown = sorted(set(item) - known)
        if unknown:
            raise FaultError(f"fault rule {number}: unknown fields {', '.join(unknown)}")
        try:
            rules.append(FaultRule(**item))
        except FaultError as error:
            raise FaultError(f"fault rule {number}: {error}") from None
    return rules
