"""What the worker of a stage is asked for. Pure."""

from typing import Any

from fanscribe.contracts.task import DiarizeInput, Stage, TaskInput, Timestamps, TranscribeInput
from fanscribe.pipeline.engine_choice import asked_timestamps
from fanscribe.pipeline.plan import StagePlan
from fanscribe.pipeline.request import Request


def make_input(stage: StagePlan, request: Request, language: str | None, audio: dict[str, Any]) -> TaskInput:
    """The input of a task. `audio` are the fields that say where its sound is.

    A chunk of a recording need not hold all its speakers, so only their greatest number is passed on to it.
    """
    speakers = {
        "num_speakers": request.num_speakers,
        "min_speakers": request.min_speakers,
        "max_speakers": request.max_speakers,
    }
    if stage.divided:
        speakers = {"max_speakers": request.num_speakers or request.max_speakers}
    if stage.stage is Stage.DIARIZE:
        return DiarizeInput(**audio, **speakers)
    timestamps = asked_timestamps(request)
    if stage.aligners and not stage.endpoint.variant.capabilities.word_timestamps:
        timestamps = Timestamps.SEGMENT
    return TranscribeInput(
        **audio,
        **(speakers if stage.also_diarizes else {}),
        diarize=stage.also_diarizes,
        language=language,
        task=request.task,
        timestamps=timestamps,
        prompt=request.prompt,
        keyterms=list(request.keyterms),
    )
