"""Under which key something is kept: digests of everything that it depends on, and of nothing else. Pure.

A key is `<kind>/<SHA-256 in hex>`. It tells nothing of the audio, and whoever lacks the audio cannot make it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from fanscribe.contracts.task import Stage, TaskInput
from fanscribe.contracts.variant import Variant
from fanscribe.contracts.version import CONTRACT_VERSION

_WHERE_NOT_WHAT = {"audio", "clip", "channel", "contract_version"}


class Kind(StrEnum):
    """What is kept under a key."""

    TASK = "task"
    CUTS = "cuts"
    ENGINE = "engine"
    JOB = "job"
    REQUEST = "request"


_KEY = re.compile(rf"({'|'.join(Kind)})/[0-9a-f]{{64}}")


def is_key(text: str) -> bool:
    """Whether `text` has the form of a key."""
    return _KEY.fullmatch(text) is not None


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits, read in blocks. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def task_key(span_digest: str, stage: Stage, variant: Variant, engine: str, task: TaskInput) -> str:
    """The key of a finished task.

    `span_digest` is that of the span's samples (see `pipeline.chunks.Piece`). `engine` is the name and version
    that the worker's answers carry (see `engine_key`). Of `task` everything counts that changes the answer; where
    the audio lies, and at which place of the recording the span stands, does not, so what is kept must have times
    that count from the span's start.
    """
    return _key(Kind.TASK, {**_work(span_digest, stage, variant, task), "engine": engine})


def job_key(span_digest: str, stage: Stage, variant: Variant, task: TaskInput) -> str:
    """The key under which the jobs are kept that were submitted for a task, so that a later run can attach to them.

    As in `task_key`, but for the engine's version: it is not known before the first answer.
    """
    return _key(Kind.JOB, _work(span_digest, stage, variant, task))


def _work(span_digest: str, stage: Stage, variant: Variant, task: TaskInput) -> dict[str, Any]:
    return {
        "span": span_digest,
        "stage": stage,
        "variant": _model(variant),
        "contract": CONTRACT_VERSION,
        "parameters": task.model_dump(mode="json", exclude=_WHERE_NOT_WHAT, exclude_defaults=True),
    }


def _model(variant: Variant) -> dict[str, Any]:
    """What the model is, not how it is called or how quick it is: figures may be corrected."""
    said = variant.model_dump(mode="json", include={"id", "family", "model", "options"})
    return said | ({"parts": [_model(part) for part in variant.parts]} if variant.parts else {})


def cuts_key(source_digest: str, request: Mapping[str, Any]) -> str:
    """The key of a list of cuts.

    `source_digest` is that of the whole recording; `request` holds the plain JSON values that the caller lets
    decide where cuts lie. Worker counts and learned factors do not belong there: a repeat must find its cuts
    after they have changed.
    """
    return _key(Kind.CUTS, {"source": source_digest, "request": dict(request)})


def engine_key(endpoint: str, variant: Variant) -> str:
    """The key under which the engine is kept that an endpoint last answered with.

    A task's key holds the engine's version, which only an answer tells: this is how a later run knows it
    before it asks. A redeployed engine is noticed at the first task that is not kept.
    """
    return _key(Kind.ENGINE, {"endpoint": endpoint, "variant": variant.id})


def request_key(about: Mapping[str, Any]) -> str:
    """The key of a whole request, by the plain JSON values that tell it from every other one."""
    return _key(Kind.REQUEST, dict(about))


def _key(kind: Kind, parts: Mapping[str, Any]) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{kind}/{hashlib.sha256(text.encode()).hexdigest()}"
