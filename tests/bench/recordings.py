"""The recordings of the benchmarks: made conversations whose text and turns are known, and nothing repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tools.make_conversation import main as make_conversation
from tools.score import Turns, Utterances, read_rttm, read_stm

from fanscribe.media import decode

POOL: tuple[tuple[float, int, str], ...] = (
    (2.0, 1, "ines,tom"),
    (1.5, 2, "olga,victor"),
    (1.5, 3, "may,tom"),
    (1.5, 4, "victor,ines"),
    (1.5, 5, "ines,olga"),
)
"""(minutes, seed, voices) of the recordings whose WER and DER are pooled."""

LONG: tuple[float, int, str] = (5.5, 10, "tom,ines")
"""The recording on which whole calls are timed; speech fills all but the pauses of these minutes."""


Clip = tuple[NDArray[np.float32], str]
"""Samples and what is said in them."""

_RATE = 16_000
_EDGE_S = 0.1  # kept on each side of a clip


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording with what was said and who spoke when."""

    path: Path
    utterances: Utterances
    turns: Turns

    def samples(self) -> NDArray[np.float32]:
        """Mono, 16 kHz, decoded anew at each call: whole calls are timed from the file."""
        return decode(self.path, self.path.name).samples


def recording(recipe: tuple[float, int, str], folder: Path) -> Reference:
    """The recording of a recipe; made on first use, which takes about 0.4 of its length."""
    minutes, seed, voices = recipe
    stem = folder / f"conversation-{seed}-{minutes * 60:.0f}s-{voices.replace(',', '-')}"
    if not stem.with_suffix(".rttm").exists():
        where = ["--name", stem.name, "--out", str(folder), "--cache", str(folder / "spoken")]
        make_conversation(
            ["--minutes", f"{minutes}", "--seed", f"{seed}", "--voices", voices, *where],
        )
    stm, rttm = stem.with_suffix(".stm"), stem.with_suffix(".rttm")
    return Reference(stem.with_suffix(".flac"), read_stm(stm), read_rttm(rttm))


def clips(reference: Reference, longest_s: float) -> list[Clip]:
    """Single utterances of at most `longest_s` seconds that nobody interrupts."""
    samples, lines = reference.samples(), _lines(reference)
    ends = [0.0, *(end for _, end, _ in lines)]
    starts = [*(start for start, _, _ in lines[1:]), len(samples) / _RATE]
    return [
        _clip(samples, start, end, text)
        for (start, end, text), before, after in zip(lines, ends[:-1], starts, strict=True)
        if end - start <= longest_s and before + _EDGE_S < start and end + _EDGE_S < after
    ]


def endings(reference: Reference, counts: Sequence[int]) -> list[Clip]:
    """The last chunk of a recording, as it is left over after whole windows: its last so many utterances."""
    samples, lines = reference.samples(), _lines(reference)
    length_s = len(samples) / _RATE
    return [
        _clip(samples, lines[-count][0], length_s, " ".join(text for _, _, text in lines[-count:]))
        for count in counts
        if lines[-count - 1][1] + _EDGE_S < lines[-count][0]
    ]


def _lines(reference: Reference) -> list[tuple[float, float, str]]:
    rows = (row.split(maxsplit=5) for row in reference.path.with_suffix(".stm").read_text().splitlines())
    return sorted((float(row[3]), float(row[4]), row[5]) for row in rows)


def _clip(samples: NDArray[np.float32], start: float, end: float, text: str) -> Clip:
    return samples[int((start - _EDGE_S) * _RATE) : int((end + _EDGE_S) * _RATE)], text
