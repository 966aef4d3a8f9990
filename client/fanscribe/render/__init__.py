"""A transcript in every format of the wire. Pure."""

from typing import Any

from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.transcript import Transcript
from fanscribe.render import captions, openai, plain

__all__ = ["extension", "render"]


def render(transcript: Transcript, format: ResponseFormat, *, file_id: str = "audio") -> dict[str, Any] | str:
    """The transcript in `format`: an object for the JSON shapes, text for the others.

    `file_id` names the recording in RTTM. Gaps are stated in every format but RTTM, which has no place for
    text; an empty transcript is valid in each.
    """
    match format:
        case ResponseFormat.NATIVE:
            return transcript.to_dict()
        case ResponseFormat.JSON:
            return openai.json(transcript)
        case ResponseFormat.VERBOSE_JSON:
            return openai.verbose_json(transcript)
        case ResponseFormat.DIARIZED_JSON:
            return openai.diarized_json(transcript)
        case ResponseFormat.TEXT:
            return plain.text(transcript)
        case ResponseFormat.SRT:
            return captions.srt(transcript)
        case ResponseFormat.VTT:
            return captions.vtt(transcript)
        case ResponseFormat.RTTM:
            return plain.rttm(transcript, file_id)


def extension(format: ResponseFormat) -> str:
    """The ending of a file in this format, without the dot."""
    if format is ResponseFormat.TEXT:
        return "txt"
    return format.value if format.is_text else "json"
