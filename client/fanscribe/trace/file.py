"""Traces as a file of JSON lines, one a span: private, bounded, readable while others write."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fanscribe.contracts.errors import UsageError
from fanscribe.line_file import append
from fanscribe.trace.facts import Status
from fanscribe.trace.spans import Kind, Scalar, Span

TRACES_VARIABLE = "FANSCRIBE_TRACES"
"""Environment variable that names the folder for traces."""

FILE_NAME = "traces.jsonl"

MAX_BYTES = 32 * 1024 * 1024
"""How large the file becomes before its older half is dropped: the traces of some ten thousand jobs."""

READABLE_BYTES = 512 * 1024 * 1024
"""A larger file is not one of ours."""

_LATEST = 253_402_300_799  # the last second of the year 9999
_LONGEST_S = 1e9  # thirty years


class _Line(BaseModel):
    """One line: a span. Fields that are not known are passed over, so that older readers read newer files."""

    model_config = ConfigDict(allow_inf_nan=False)

    trace: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    span: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    parent: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    kind: Kind
    name: Annotated[str, Field(max_length=500)]
    at: Annotated[float, Field(ge=0, le=_LATEST)]
    start_s: Annotated[float, Field(ge=0, le=_LONGEST_S)]
    duration_s: Annotated[float, Field(ge=0, le=_LONGEST_S)]
    status: Status = Status.OK
    error: Annotated[str, Field(max_length=500)] = ""
    attributes: dict[str, Scalar] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """One request of a file; `spans` are in the order of the file, `root` is the first of them, the request itself."""

    root: Span
    spans: list[Span]


@dataclass(slots=True)
class TraceFile:
    """What was found in a file: traces, the one that ended last at the end, and what had to be passed over."""

    traces: list[Trace] = field(default_factory=list)
    damaged_lines: list[int] = field(default_factory=list)
    rootless: list[str] = field(default_factory=list)
    """Ids of traces of which the line of the request itself is missing."""


def traces_file(environment: Mapping[str, str]) -> Path | None:
    """Where FANSCRIBE_TRACES wants traces; None where it is not set. Raises UsageError for what is no folder."""
    named = environment.get(TRACES_VARIABLE)
    if not named or named == "off":
        return None
    if "://" in named:
        raise UsageError(
            f"{TRACES_VARIABLE}={named}: traces are written to a folder; name one, on a worker one of a volume"
        )
    folder = Path(named).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{TRACES_VARIABLE}={named}: is a file; name the folder that holds {FILE_NAME}")
    return folder / FILE_NAME


def write(file: Path, spans: Iterable[Span]) -> None:
    """Add a trace to a file. Raises OSError."""
    append(file, "".join(_line(each) for each in spans), MAX_BYTES)


def to_json(span: Span) -> dict[str, Any]:
    """A span in plain JSON types: what its line holds. What is empty is left out."""
    about: dict[str, Any] = {"trace": span.trace, "span": span.id}
    if span.parent is not None:
        about["parent"] = span.parent
    about |= {"kind": span.kind.value, "name": span.name, "at": round(span.at, 6)}
    start_s = round(span.start_s, 6)
    about |= {"start_s": start_s, "duration_s": round(round(span.end_s, 6) - start_s, 6)}
    if span.status is not Status.OK:
        about["status"] = span.status.value
    if span.error:
        about["error"] = span.error
    if span.attributes:
        about["attributes"] = dict(span.attributes)
    return about


def read(file: Path) -> TraceFile:
    """Every trace of a file, or of the file in a folder. Raises UsageError where it cannot be read."""
    found, latest = TraceFile(), dict[str, list[Span]]()
    try:
        file = file / FILE_NAME if file.is_dir() else file
        if file.stat().st_size > READABLE_BYTES:
            raise UsageError(f"{file}: is larger than a trace file of fanscribe becomes; name another one")
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                span = _span(line)
                if span is not None:
                    _sort_in(span, latest, found)
                elif line.strip():
                    found.damaged_lines.append(number)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    return found


def _sort_in(span: Span, latest: dict[str, list[Span]], found: TraceFile) -> None:
    """Add a span to its trace. A caller's trace may hold several requests of ours: each begins with its own line."""
    if span.kind is Kind.REQUEST:
        latest[span.trace] = [span]
        found.traces.append(Trace(span, latest[span.trace]))
    elif span.trace in latest:
        latest[span.trace].append(span)
    elif span.trace not in found.rootless:
        found.rootless.append(span.trace)


def _line(span: Span) -> str:
    return json.dumps(to_json(span), ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _span(line: str) -> Span | None:
    try:
        read = _Line.model_validate_json(line)
    except ValidationError:
        return None
    return Span(
        read.trace,
        read.span,
        read.parent,
        read.kind,
        read.name,
        read.at,
        read.start_s,
        read.start_s + read.duration_s,
        read.status,
        read.error,
        read.attributes,
    )
