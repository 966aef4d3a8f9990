"""Make a recording of running speech together with the times of its words, as the synthesiser reports them.

    python -m tools.make_timed_speech --out tests/data/timed_speech

Writes `speech.flac` and `words.json`: segments of several sentences, and for each word its text and the second at
which espeak-ng began to say it; null for a word that it says in one breath with the next ("of the"). Needs the
`samples` extra, whose espeak-ng (package espeakng-loader) is the synthesiser; its breath is noise, so that two runs
give the same times and not quite the same sound.
"""

import argparse
import ctypes
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly
from tools.make_conversation import write_flac

SAMPLE_RATE = 16_000  # Hz
PAUSE_S = 0.35
"""Silence between two segments, seconds."""

PARAGRAPHS: Sequence[tuple[str, str]] = (
    (
        "en-us+f3",
        "The weather was fine this morning, so we walked along the river. Nobody had told the children that the "
        "bridge was closed, and they ran ahead to look at it.",
    ),
    (
        "en-us",
        "My brother's dog wanted to turn around at once. After 42 minutes we came to a small village with an old "
        "stone church.",
    ),
    (
        "en-gb-scotland+f2",
        "A well-known baker called Brintzenhofer was working in her garden. She offered us cold water, and said: "
        "the next train leaves in less than an hour!",
    ),
)

_STEP = 128
"""Samples (16 bits) are rounded to multiples of this, which FLAC does not store: the file gets less than half as
large, and the error lies about 40 dB under the speech, like the noise of a room."""

_SYNCHRONOUS = 2  # speak_lib.h: AUDIO_OUTPUT_SYNCHRONOUS
_CHARACTERS, _UTF8 = 1, 1
_EVENT_END, _EVENT_WORD = 0, 1  # speak_lib.h: espeakEVENT_LIST_TERMINATED, espeakEVENT_WORD
_RATE = 1  # speak_lib.h: espeakRATE
_WORDS_PER_MINUTE = 165


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """speak_lib.h: espeak_EVENT. Positions in the text count characters from 1, in the audio milliseconds."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """Samples (float32, 16 kHz), and the second at which each said character position of the text begins."""

    samples: NDArray[np.float32]
    starts: dict[int, float]


class Espeak:
    """The synthesiser, as a library in this process."""

    def __init__(self) -> None:
        self._library: Any = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self._rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self._rate <= 0:
            raise OSError(f"espeak-ng cannot start with its data in {data.decode()}")
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def speak(self, voice: str, text: str) -> Spoken:
        """`text` in this voice. Raises ValueError for a voice that espeak-ng lacks."""
        blocks: list[NDArray[np.int16]] = []
        starts: dict[int, float] = {}

        def take(samples: Any, count: int, events: Any) -> int:
            if samples and count:
                blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            at = 0
            while events[at].type != _EVENT_END:
                if events[at].type == _EVENT_WORD:
                    starts[events[at].text_position - 1] = events[at].audio_position / 1000
                at += 1
            return 0

        callback = _Callback(take)
        self._library.espeak_SetSynthCallback(callback)
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(_RATE, _WORDS_PER_MINUTE, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        whole = np.concatenate(blocks).astype(np.float32) / 32_768
        common = np.gcd(SAMPLE_RATE, self._rate)
        samples = resample_poly(whole, SAMPLE_RATE // common, self._rate // common).astype(np.float32)
        return Spoken(samples, starts)


def make(paragraphs: Sequence[tuple[str, str]], out: Path) -> None:
    """Write speech.flac and words.json into `out`."""
    espeak = Espeak()
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), dtype=np.float32)
    sound: list[NDArray[np.float32]] = []
    segments: list[dict[str, Any]] = []
    begin_s = 0.0
    for voice, text in paragraphs:
        spoken = espeak.speak(voice, text)
        words = [
            {"text": word.group(), "start": _in_file(spoken.starts.get(word.start()), begin_s)}
            for word in re.finditer(r"\S+", text)
        ]
        end_s = begin_s + len(spoken.samples) / SAMPLE_RATE
        segments.append(
            {"start": round(begin_s, 3), "end": round(end_s, 3), "text": text, "voice": voice, "words": words}
        )
        sound += [spoken.samples, pause]
        begin_s = end_s + PAUSE_S
    out.mkdir(parents=True, exist_ok=True)
    write_flac(out / "speech.flac", _rounded(np.concatenate(sound)))
    (out / "words.json").write_text(json.dumps(segments, indent=1) + "\n", encoding="utf-8")


def _rounded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """At half of full scale, in steps; the conversion to 16 bits cuts off what is behind the point."""
    steps = np.round(samples / np.abs(samples).max() * 16_384 / _STEP) * _STEP
    return np.asarray((steps + np.sign(steps) * 0.25) / 32_767, dtype=np.float32)


def _in_file(start_s: float | None, begin_s: float) -> float | None:
    return None if start_s is None else round(begin_s + start_s, 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make speech with known word times.")
    parser.add_argument("--out", type=Path, required=True, help="folder for speech.flac and words.json")
    make(PARAGRAPHS, parser.parse_args(arguments).out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
