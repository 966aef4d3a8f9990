"""Try a variant on this machine: its real handler is started once, by hand as it were, on a short recording.

The handler runs as the SDK's local test does: no platform, one job from `test_input.json`, then it ends.
"""

import ast
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Variant

SAMPLE = "sample.flac"
"""One sentence of the project's sample conversation, FLAC, 16 kHz, mono."""

SAMPLE_S = 4.15
SAMPLE_TEXT = "Good morning, Tom. Did you listen to the interviews from the harbour?"
SAMPLE_LANGUAGE = "en"

_RESULT = "Job result: "
_FAILURE = "failed with error: "
_SLACK_S = 0.5
"""How far times may lie outside of the sample, in seconds: engines pad the last frame."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How a self-test ended. `said` is what the engine answered, or why it did not. `code` is the handler's error."""

    variant: str
    passed: bool
    seconds: float
    said: str
    code: ErrorCode | None = None


def sample_input(variant: Variant) -> dict[str, Any]:
    """The input of the self-test's job, whose answer is short enough to stand in the SDK's log whole."""
    sound = (resources.files("fanscribe.engines") / SAMPLE).read_bytes()
    body: dict[str, Any] = {"audio": f"data:audio/flac;base64,{base64.b64encode(sound).decode()}"}
    languages = variant.capabilities.languages
    language = SAMPLE_LANGUAGE if languages == "all" or SAMPLE_LANGUAGE in languages else languages[0]
    match variant.stages[0]:
        case Stage.TRANSCRIBE:
            body |= {"language": language, "timestamps": "segment", "response_format": "verbose_json"}
        case Stage.ALIGN:
            segment = {"start": 0.0, "end": SAMPLE_S, "text": SAMPLE_TEXT}
            body |= {"language": language, "segments": [segment]}
        case _:
            body |= {"response_format": "rttm"}
    return body


def self_test(
    variant: Variant, environ: Mapping[str, str] = os.environ, timeout_s: float = 900.0
) -> SelfTest:
    """Start the variant's handler on the sample and judge its answer. `timeout_s` covers a download of the model."""
    environment = {name: value for name, value in environ.items() if not name.startswith("RUNPOD_")}
    environment["FANSCRIBE_VARIANT_JSON"] = json.dumps(variant.model_dump(mode="json", exclude_defaults=True))
    environment["RUNPOD_LOG_LEVEL"] = "INFO"
    command = [sys.executable, "-P", "-m", f"fanscribe_handlers.{variant.family}"]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fanscribe-") as folder:
        Path(folder, "test_input.json").write_text(
            json.dumps({"input": sample_input(variant)}), encoding="utf-8"
        )
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return SelfTest(variant.id, False, timeout_s, f"did not end within {timeout_s:.0f} s")
    seconds = time.monotonic() - begun
    return judge(variant, done.returncode, done.stdout, done.stderr, seconds)


def judge(variant: Variant, status: int, stdout: str, stderr: str, seconds: float) -> SelfTest:
    """What a handler that ended with `status` has shown."""
    lines = stdout.splitlines()
    for line in reversed(lines):
        if status == 0 and _RESULT in line:
            try:
                output = ast.literal_eval(line.partition(_RESULT)[2])["output"]
                said = _said(variant.stages[0], output)
            except (ValueError, SyntaxError, LookupError, TypeError) as error:
                return SelfTest(variant.id, False, seconds, f"its answer does not fit the contract: {error}")
            return SelfTest(variant.id, True, seconds, said)
        if status != 0 and _FAILURE in line:
            refused = TaskError.parse(line.partition(_FAILURE)[2])
            return SelfTest(variant.id, False, seconds, f"{refused.code}: {refused.message}", refused.code)
    last = [line.strip() for line in (*lines, *stderr.splitlines()) if line.strip()][-3:]
    return SelfTest(
        variant.id,
        False,
        seconds,
        f"its handler ended with status {status}: {' | '.join(last) or 'silently'}",
    )


def _said(stage: Stage, output: dict[str, Any]) -> str:
    """A line about an answer. Raises ValueError, LookupError or TypeError for one that cannot be."""
    if stage not in (Stage.TRANSCRIBE, Stage.ALIGN):
        turns = [line.split() for line in output["text"].splitlines()]
        _in_order([(float(turn[3]), float(turn[3]) + float(turn[4])) for turn in turns])
        return f"{len(turns)} turns, {len({turn[7] for turn in turns})} speakers"
    segments = output["segments"]
    timed = [word for part in segments for word in part["words"]] if stage is Stage.ALIGN else segments
    spans = [(each["start"], each["end"]) for each in timed]
    if stage is Stage.ALIGN and len(spans) < len(SAMPLE_TEXT.split()):
        raise ValueError(f"{len(spans)} of {len(SAMPLE_TEXT.split())} words have times")
    _in_order(spans)
    if stage is Stage.ALIGN:
        return f"{len(spans)} words timed"
    return repr(str(output["text"]).strip()) if str(output["text"]).strip() else "it heard no words"


def _in_order(spans: list[tuple[float, float]]) -> None:
    for start, end in spans:
        if not -_SLACK_S <= start <= end <= SAMPLE_S + _SLACK_S:
            raise ValueError(f"a span from {start} to {end} s in a recording of {SAMPLE_S} s")
    if spans != sorted(spans, key=lambda span: span[0]):
        raise ValueError("its times do not rise")
