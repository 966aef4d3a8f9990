"""OpenAI's answer shapes (openai SDK 3.52.0: Transcription, TranscriptionVerbose, TranscriptionDiarized).

What those shapes have no field for (gaps, warnings) comes in further fields, present only when there is
something to say; OpenAI's client keeps fields it does not know.
"""

import math
import re
import zlib
from typing import Any

from fanscribe.contracts.transcript import Segment, Transcript
from fanscribe.render.languages import language_name

_NUMBERED = re.compile(r"(SPEAKER|CHANNEL)_\d+")


def json(transcript: Transcript) -> dict[str, Any]:
    """The shape of `json`: the text."""
    return {"text": transcript.text, **_common(transcript)}


def verbose_json(transcript: Transcript) -> dict[str, Any]:
    """The shape of `verbose_json`; segments and words also carry `speaker` where one is known."""
    words = [
        {"word": word.text, "start": word.start, "end": word.end, **_speaker(word.speaker)}
        for word in transcript.words
    ]
    return {
        "task": "transcribe",
        "language": language_name(transcript.language),
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": [_verbose(number, segment) for number, segment in enumerate(transcript.segments)],
        **({"words": words} if words else {}),
        **_common(transcript),
    }


def diarized_json(transcript: Transcript) -> dict[str, Any]:
    """The shape of `diarized_json`: numbered speakers become A, B, …; names given by the user stay."""
    letters = _letters(transcript)
    return {
        "task": "transcribe",
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": [
            {
                "id": f"seg_{number}",
                "type": "transcript.text.segment",
                "start": segment.start,
                "end": segment.end,
                "speaker": letters[segment.speaker],
                "text": segment.text,
            }
            for number, segment in enumerate(transcript.segments)
        ],
        **_common(transcript),
    }


def _common(transcript: Transcript) -> dict[str, Any]:
    fields: dict[str, Any] = {"usage": {"type": "duration", "seconds": transcript.duration}}
    if transcript.gaps:
        fields["gaps"] = [
            {"start": gap.start, "end": gap.end, "stage": gap.stage, "reason": gap.reason}
            for gap in transcript.gaps
        ]
    if transcript.warnings:
        fields["warnings"] = list(transcript.warnings)
    return fields


def _speaker(speaker: str | None) -> dict[str, str]:
    return {} if speaker is None else {"speaker": speaker}


def _verbose(number: int, segment: Segment) -> dict[str, Any]:
    """One segment. `seek`, `tokens`, `temperature` and `no_speech_prob` are Whisper's inner state, which no
    engine reports: they hold the neutral value. `avg_logprob` is taken over words, not tokens."""
    known = [max(word.confidence, 1e-10) for word in segment.words if word.confidence is not None]
    raw = segment.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": sum(map(math.log, known)) / len(known) if known else 0.0,
        "compression_ratio": len(raw) / len(zlib.compress(raw)),
        "no_speech_prob": 0.0,
        **_speaker(segment.speaker),
    }


def _letters(transcript: Transcript) -> dict[str | None, str]:
    """Label -> letter, in order of first speech, past the letters that are somebody's name."""
    spoken = [segment.speaker for segment in transcript.segments]
    labels: list[str | None] = [name for name in transcript.speakers if name in set(spoken)]
    labels = list(dict.fromkeys([*labels, *spoken]))
    given: dict[str | None, str] = {
        label: label for label in labels if label is not None and not _NUMBERED.fullmatch(label)
    }
    taken = set(given.values())
    number = 0
    for label in labels:
        if label in given:
            continue
        while _letter(number) in taken:
            number += 1
        given[label] = _letter(number)
        number += 1
    return given


def _letter(number: int) -> str:
    """A, B, …, Z, AA, AB, … as in the columns of a spreadsheet."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
