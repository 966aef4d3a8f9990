"""A conversation as sound: utterances placed in time, mixed in a room, with exact text and turns. Pure.

The turns are exact because every utterance is placed here: speech is where the clean, separate utterance
has energy, before noise and room are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

SAMPLE_RATE = 16_000
FRAME_S = 0.01
PAUSE_S = 0.5
"""A silence inside an utterance that is at least this long ends a turn, seconds."""

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Line:
    """What one speaker says. `gap_s` is the silence before it; below zero it starts that much too early."""

    speaker: str
    text: str
    gap_s: float = 0.3


@dataclass(frozen=True, slots=True)
class Placed:
    """A line at its place: `spans` are its turns in seconds from the start of the recording."""

    line: Line
    start: float
    end: float
    spans: tuple[tuple[float, float], ...]


def parse_script(text: str) -> list[Line]:
    """Read lines of `speaker gap text`; empty lines and lines that start with # are skipped.

    Raises ValueError naming the line that does not fit.
    """
    lines = []
    for number, row in enumerate(text.splitlines(), start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        try:
            speaker, gap, words = row.split(maxsplit=2)
            lines.append(Line(speaker, words.strip(), float(gap)))
        except ValueError as error:
            raise ValueError(f"Script line {number} is not 'speaker gap text': {row!r}") from error
    return lines


def speech_spans(spoken: Samples) -> list[tuple[float, float]]:
    """Where a clean utterance has speech, seconds: frames within 40 dB of its loudest, short pauses kept."""
    frame = round(FRAME_S * SAMPLE_RATE)
    frames = np.pad(spoken, (0, -len(spoken) % frame)).reshape(-1, frame)
    level = np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1))
    loud = np.flatnonzero(level > 0.01 * level.max(initial=1e-9))
    breaks = np.flatnonzero(np.diff(loud) * FRAME_S >= PAUSE_S)
    firsts = loud[np.concatenate(([0], breaks + 1))]
    lasts = loud[np.concatenate((breaks, [len(loud) - 1]))]
    return [(float(a) * FRAME_S, float(b + 1) * FRAME_S) for a, b in zip(firsts, lasts, strict=True)]


def place(lines: Sequence[Line], spoken: Sequence[Samples], lead_in_s: float = 0.8) -> list[Placed]:
    """Put one utterance after the other. Nobody starts before the previous speaker has said 0.2 s."""
    placed: list[Placed] = []
    cursor = lead_in_s
    for line, samples in zip(lines, spoken, strict=True):
        earliest = placed[-1].start + 0.2 if placed else 0.0
        own = max((p.end for p in placed if p.line.speaker == line.speaker), default=0.0)
        start = round(max(cursor + line.gap_s if placed else cursor, earliest, own), 3)
        spans = tuple((round(start + a, 3), round(start + b, 3)) for a, b in speech_spans(samples))
        placed.append(Placed(line, start, spans[-1][1], spans))
        cursor = max(cursor, spans[-1][1])
    return placed


def mix(
    placed: Sequence[Placed], spoken: Sequence[Samples], rng: np.random.Generator, noise_db: float
) -> Samples:
    """The recording, peak 0.5: each speaker with an own loudness and place in the room, over noise at `noise_db` dB."""
    total = round((max(p.end for p in placed) + 0.8) * SAMPLE_RATE)
    recording = _noise(total, rng, noise_db)
    speakers = list(dict.fromkeys(p.line.speaker for p in placed))
    rooms = {speaker: _room(rng) for speaker in speakers}
    loudness_db = {speaker: -6.0 * rank / max(1, len(speakers) - 1) for rank, speaker in enumerate(speakers)}
    for p, samples in zip(placed, spoken, strict=True):
        gain = 10 ** ((loudness_db[p.line.speaker] + rng.uniform(-1.5, 1.5)) / 20)
        heard = fftconvolve(samples, rooms[p.line.speaker]) * gain
        at = round(p.start * SAMPLE_RATE)
        heard = heard[: total - at]
        recording[at : at + len(heard)] += heard
    return np.asarray(recording * (0.5 / np.abs(recording).max()), dtype=np.float32)


def _room(rng: np.random.Generator) -> NDArray[np.float64]:
    """The way from a mouth to the microphone: the direct sound and 0.12 s of fading reflections at -22 dB."""
    length = round(0.12 * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.03 * SAMPLE_RATE))
    tail[: round(0.004 * SAMPLE_RATE)] = 0.0
    tail *= 0.08 / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return tail


def _noise(total: int, rng: np.random.Generator, noise_db: float) -> NDArray[np.float64]:
    """Low room noise: white noise through a one-pole low-pass, at an RMS of `noise_db` dBFS."""
    rumble = lfilter([1.0], [1.0, -0.9], rng.standard_normal(total))
    return np.asarray(rumble * (10 ** (noise_db / 20) / np.sqrt((rumble**2).mean())), dtype=np.float64)


def stm(name: str, placed: Sequence[Placed]) -> str:
    """One line an utterance: file, channel, speaker, start, end, text."""
    rows = (f"{name} 1 {p.line.speaker} {p.start:.3f} {p.end:.3f} {p.line.text}\n" for p in placed)
    return "".join(rows)


def rttm(name: str, placed: Sequence[Placed]) -> str:
    """One line a turn, in order of time."""
    turns = sorted((a, b, p.line.speaker) for p in placed for a, b in p.spans)
    return "".join(
        f"SPEAKER {name} 1 {a:.3f} {b - a:.3f} <NA> <NA> {speaker} <NA> <NA>\n" for a, b, speaker in turns
    )
