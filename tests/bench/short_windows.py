"""Whisper's short windows on short clips against the library's 30 s windows: less work, the same words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tests.bench.baseline import Baseline
from tests.bench.engines import Engines
from tests.bench.timing import Row, in_turn
from tools.score import pooled, wer

Clip = tuple[NDArray[np.float32], str]


def last_chunks(samples: NDArray[np.float32], seconds: Sequence[float]) -> list[NDArray[np.float32]]:
    """What remains at the end of a recording after whole 30 s windows, for several such remainders."""
    return [samples[-int(length * 16_000) :] for length in seconds]


def short_windows(engines: Engines, baseline: Baseline, clips: Sequence[Clip], runs: int) -> list[Row]:
    """Seconds and WER of both over all clips; the language is detected on both sides."""

    def ours() -> list[str]:
        return [engines.transcribe(samples).text for samples, _ in clips]

    def theirs() -> list[str]:
        return [" ".join(text for _, text in baseline.transcribe(samples)) for samples, _ in clips]

    rates = {
        name: pooled(
            wer([("", said)], [("", heard)]) for (_, said), heard in zip(clips, texts, strict=True)
        ).percent
        for name, texts in (("ours", ours()), ("theirs", theirs()))
    }
    medians = in_turn({"ours": ours, "theirs": theirs}, runs)
    mean_s = sum(len(samples) for samples, _ in clips) / len(clips) / 16_000
    detail = (
        f"{medians['ours']:.1f} s against {medians['theirs']:.1f} s, {len(clips)} clips of {mean_s:.1f} s"
    )
    return [
        Row("short clips: our windows / 30 s windows", medians["ours"] / medians["theirs"], 1.0, detail),
        Row("short clips: WER", rates["ours"], rates["theirs"], "the 30 s windows' is the target", "%"),
    ]
