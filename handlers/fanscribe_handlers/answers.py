"""From a job's input to a task, and from an engine's result or a failure to a job's output. No I/O."""

import json
from typing import Any

from pydantic import BaseModel

from fanscribe.contracts.errors import RETRYABLE_CODES, ErrorCode, TaskError
from fanscribe.contracts.task import (
    INPUTS,
    OUTPUTS,
    AlignOutput,
    DiarizeOutput,
    Provenance,
    ResponseFormat,
    Stage,
    TaskInput,
    TranscribeInput,
    TranscribeOutput,
    TranscribeResult,
)
from fanscribe.contracts.variant import Variant
from fanscribe.job_input import Refused, checked
from fanscribe.pipeline.merge import assign_speakers, transcript_of
from fanscribe.render import render

MAX_RESULT_BYTES = 10_000_000
"""The platform refuses a larger result (and then loses it), so the worker says so itself."""


def failure(code: ErrorCode, message: str) -> dict[str, Any]:
    """What the handler returns for a refused or failed task."""
    error = TaskError(code=code, message=message, retryable=code in RETRYABLE_CODES)
    return {"error": error.model_dump_json()}


def read_input(stage: Stage, body: object) -> TaskInput:
    """The checked input of a job of a stage. Raises Refused."""
    return checked(INPUTS[stage], body, "worker")


def refuse_unserved(task: TaskInput, variant: Variant) -> None:
    """Raise Refused where a task asks for a further stage that the variant does not do in its pass."""
    if isinstance(task, TranscribeInput) and task.diarize and Stage.DIARIZE not in variant.stages:
        raise Refused(
            ErrorCode.INVALID_INPUT,
            f"field diarize: {variant.id} does not diarize: use a variant that has the stage diarize, or send a "
            "diarizer's turns as diarization_segments",
        )


def answer(
    stage: Stage, task: TaskInput, result: BaseModel, provenance: Provenance, warnings: list[str]
) -> dict[str, Any]:
    """The job's output in the format that the task asks for. Raises Refused when it is too large to travel.

    Words get the speakers of the turns that came with the task, or of the diarization in the result where the engine
    has not named them itself.
    """
    if isinstance(task, TranscribeInput) and isinstance(result, TranscribeResult):
        if task.diarization_segments:
            result.segments = assign_speakers(result.segments, task.diarization_segments)
        elif (found := result.diarization) and not all(segment.speaker for segment in result.segments):
            result.segments = assign_speakers(result.segments, found.segments, found.exclusive_segments)
    about = {name: getattr(provenance, name) for name in Provenance.model_fields}
    fields = {name: getattr(result, name) for name in type(result).model_fields}
    whole = OUTPUTS[stage].model_validate({**fields, **about, "warnings": warnings})
    assert isinstance(whole, TranscribeOutput | DiarizeOutput | AlignOutput)
    if task.response_format is ResponseFormat.NATIVE:
        output = whole.model_dump(mode="json")
    else:
        shown = render(transcript_of(whole), task.response_format)
        output = provenance.model_dump(mode="json") | ({"text": shown} if isinstance(shown, str) else shown)
    size = len(json.dumps(output, ensure_ascii=False).encode())
    if size > MAX_RESULT_BYTES:
        raise Refused(
            ErrorCode.RESULT_TOO_LARGE,
            f"the answer has {size} bytes, the platform takes {MAX_RESULT_BYTES}: send a shorter clip, or ask for "
            "timestamps: segment",
        )
    return output
