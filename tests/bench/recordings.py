"""The recordings of the benchmarks: made conversations whose text and turns are known, and nothing repeats."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
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


def clips(references: list[Reference], longest_s: float) -> Iterator[tuple[NDArray[np.float32], str]]:
    """Single utterances of at most `longest_s` seconds that nobody interrupts, with their text."""
    for reference in references:
        samples = reference.samples()
        rows = (
            line.split(maxsplit=5) for line in reference.path.with_suffix(".stm").read_text().splitlines()
        )
        spans = sorted((float(row[3]), float(row[4]), row[5]) for row in rows)
        ends = chain([0.0], (end for _, end, _ in spans))
        starts = chain((start for start, _, _ in spans[1:]), [len(samples) / 16_000])
        for (start, end, text), before, after in zip(spans, ends, starts, strict=False):
            if end - start <= longest_s and before + 0.1 < start and end + 0.1 < after:
                yield samples[int((start - 0.1) * 16_000) : int((end + 0.1) * 16_000)], text
