"""What tasks took and cost, kept from run to run for `fanscribe stats`. No text, no names of files."""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fanscribe.contracts.transcript import TaskRecord
from fanscribe.line_file import append

MAX_BYTES = 16 * 1024 * 1024
"""How large the file becomes before its older half is dropped: some ten thousand tasks."""

RECORDS_VARIABLE = "FANSCRIBE_RECORDS"
"""Environment variable that names another file for run records, or `off`."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One task of one run. `at`: seconds since 1970; `audio_s`: the seconds of audio that it was about; `timings` in
    seconds by name, as in `TaskRecord`; `failed`: it ended without an answer."""

    at: float
    endpoint: str
    variant: str
    stage: str
    audio_s: float
    timings: Mapping[str, float]
    cold_start: bool
    attempts: int
    hedges: int
    unconfirmed: int
    reused: bool
    cost_usd: float
    failed: bool
    platform: str = ""


def record_of(task: TaskRecord, at: float, platform: str = "") -> RunRecord:
    """What is kept of a task that was done at `at`, seconds since 1970, on `platform` (runpod, local)."""
    return RunRecord(
        at=at,
        endpoint=task.endpoint,
        variant=task.variant,
        stage=task.stage,
        audio_s=max(0.0, task.end - task.start),
        timings=dict(task.timings),
        cold_start=task.cold_start,
        attempts=task.attempts,
        hedges=task.hedges,
        unconfirmed=task.unconfirmed,
        reused=task.reused,
        cost_usd=task.cost_usd,
        failed=task.error is not None,
        platform=platform,
    )


def records_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where run records are kept; None where the user wants none."""
    named = environment.get(RECORDS_VARIABLE)
    if named == "off":
        return None
    if named:
        return Path(named).expanduser()
    from platformdirs import user_state_path

    return user_state_path("fanscribe") / "runs.jsonl"


def keep(file: Path, records: Iterable[RunRecord]) -> None:
    """Add records to a file. One that cannot be written is logged and otherwise ignored: it is only for statistics."""
    text = "".join(json.dumps(asdict(each), separators=(",", ":")) + "\n" for each in records)
    if not text:
        return
    try:
        append(file, text, MAX_BYTES)
    except OSError as error:
        _log.warning("%s cannot be written (%s): no run records are kept", file, error.strerror or error)


def read(file: Path, since: float = 0.0) -> Iterator[RunRecord]:
    """The records from `since` on, in seconds since 1970; lines that are not records are passed over."""
    with contextlib.suppress(FileNotFoundError), file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            record = _parsed(line)
            if record is not None and record.at >= since:
                yield record


def _parsed(line: str) -> RunRecord | None:
    try:
        found: dict[str, Any] = json.loads(line)
        return RunRecord(**{**found, "timings": {str(k): float(v) for k, v in found["timings"].items()}})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
