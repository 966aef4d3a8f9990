"""What an endpoint is: its command, its environment, its share of the machine, how it scales."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MIB = 1024 * 1024

QUEUE_DELAY = "QUEUE_DELAY"
REQUEST_COUNT = "REQUEST_COUNT"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# First path segments of the management API, which lives under the same /v2.
RESERVED_NAMES = frozenset(
    {"serverless", "templates", "pods", "network-volumes", "registries", "catalog", "billing", "account"}
    | {"clusters"}
)


class SpecError(ValueError):
    """An endpoint spec cannot be used; the message names every fault in it."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint. Sizes in bytes, times in seconds.

    Raises SpecError, naming every fault, when built with values that cannot be meant.
    """

    name: str
    """The endpoint's id in URLs."""
    command: tuple[str, ...] = ()
    """What starts one worker; empty for an endpoint that only workers started by somebody else serve."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the worker's environment; `{url}` and `{key}` in a value stand for the platform's own."""
    cwd: str | None = None
    """Working folder of the workers; the platform's own when left out."""
    ram_bytes: int = 512 * MIB
    vram_bytes: int = 0
    min_workers: int = 0
    max_workers: int = 1
    idle_timeout_s: float = 5.0
    scaler: str = QUEUE_DELAY
    scaler_value: float = 4.0
    """QUEUE_DELAY: seconds a job may wait before workers are added. REQUEST_COUNT: jobs per worker."""
    execution_timeout_s: float = 600.0
    ttl_s: float = 86_400.0
    init_timeout_s: float = 420.0
    """A worker that has not asked for a job after this long is ended as unhealthy."""
    stop_grace_s: float = 10.0
    """How long a worker may keep running a job that was cancelled or timed out before it is ended."""
    max_retries: int = 2
    """How often a job whose worker was lost is queued again before it fails."""
    crash_limit: int = 3
    """After so many workers in a row died before taking a job, waiting jobs fail; 0 leaves them waiting."""
    orchestrator: bool = False
    """Its jobs wait for jobs of other endpoints, so its workers take memory from a share of their own."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """For whoever made the spec; the platform only shows them in its status."""
    container_env: Mapping[str, str] = field(default_factory=dict)
    """As a container gets it: over `env`, under what the platform sets, `{{ RUNPOD_SECRET_name }}` replaced."""
    release: int = 1
    """Once a spec of another release takes this one's place, the workers of this one are replaced."""
    blocked: str = ""
    """Why no worker can be started for now; its jobs wait."""

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise SpecError(f"endpoint {self.name!r}: " + "; ".join(faults))

    def to_json(self) -> dict[str, Any]:
        """The spec as a JSON object that `from_json` reads back."""
        return {
            **asdict(self),
            "command": list(self.command),
            "env": dict(self.env),
            "labels": dict(self.labels),
            "container_env": dict(self.container_env),
        }

    @classmethod
    def from_json(cls, value: Any) -> "EndpointSpec":
        """Read one spec; raises SpecError for what is not an object, lacks a name, or has unknown fields."""
        if not isinstance(value, dict):
            raise SpecError(f"an endpoint spec is a JSON object, not {type(value).__name__}")
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(value) - known)
        name = value.get("name")
        if not isinstance(name, str):
            raise SpecError("an endpoint spec needs a `name`")
        if unknown:
            raise SpecError(f"endpoint {name!r}: unknown fields {', '.join(unknown)}")
        command = value.get("command", ())
        if not isinstance(command, list | tuple) or not all(isinstance(part, str) for part in command):
            raise SpecError(f"endpoint {name!r}: command must be a list of strings")
        return cls(**{**value, "command": tuple(command)})


def _faults(spec: EndpointSpec) -> list[str]:
    found = []
    if not _NAME.fullmatch(spec.name):
        found.append("name must be 1 to 63 letters, digits, ., - or _, and start with a letter or digit")
    if spec.name in RESERVED_NAMES:
        found.append("name is a word of the management API; choose another")
    for name in ("env", "labels", "container_env"):
        value = getattr(spec, name)
        if not isinstance(value, Mapping) or not all(isinstance(t, str) for t in (*value, *value.values())):
            found.append(f"{name} must map strings to strings")
    whole = ("ram_bytes", "vram_bytes", "min_workers", "max_workers", "max_retries", "crash_limit", "release")
    for name in whole:
        value = getattr(spec, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            found.append(f"{name} must be a whole number of 0 or more, not {value!r}")
    for name in ("idle_timeout_s", "stop_grace_s"):
        if not _number(getattr(spec, name)) or getattr(spec, name) < 0:
            found.append(f"{name} must be 0 or more seconds")
    for name in ("execution_timeout_s", "ttl_s", "init_timeout_s", "scaler_value"):
        if not _number(getattr(spec, name)) or getattr(spec, name) <= 0:
            found.append(f"{name} must be more than 0")
    if not found and spec.min_workers > spec.max_workers:
        found.append(f"min_workers {spec.min_workers} is more than max_workers {spec.max_workers}")
    if spec.scaler not in (QUEUE_DELAY, REQUEST_COUNT):
        found.append(f"scaler must be {QUEUE_DELAY} or {REQUEST_COUNT}, not {spec.scaler!r}")
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def check_names(specs: list[EndpointSpec]) -> None:
    """Raise SpecError when two specs share a name."""
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"endpoint names used twice: {', '.join(twice)}")
