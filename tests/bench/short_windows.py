"""Whisper's short windows on short clips against the library's 30 s windows: less work, the same words."""

from collections.abc import Sequence

from tests.bench.baseline import Baseline
from tests.bench.engines import Engines
from tests.bench.recordings import Clip, Reference, clips, endings
from tests.bench.timing import Row, in_turn
from tools.score import pooled, wer


def short_windows(engines: Engines, baseline: Baseline, pool: Sequence[Reference], runs: int) -> list[Row]:
    """WER of both over all clips of the pool, seconds over each fourth of them; the language is detected."""
    short = [clip for each in pool for clip in clips(each, 9.0)]
    last = [clip for each in pool for clip in endings(each, (2, 3, 5))]
    rows = _compare("short clips", engines, baseline, short, runs)
    return rows + _compare("last chunks", engines, baseline, last, runs)


def _compare(name: str, engines: Engines, baseline: Baseline, clips: list[Clip], runs: int) -> list[Row]:
    def ours(some: list[Clip]) -> list[str]:
        return [engines.transcribe(samples).text for samples, _ in some]

    def theirs(some: list[Clip]) -> list[str]:
        return [" ".join(text for _, text in baseline.transcribe(samples)) for samples, _ in some]

    def percent(heard: list[str]) -> float:
        return pooled(
            wer([("", said)], [("", text)]) for (_, said), text in zip(clips, heard, strict=True)
        ).percent

    timed = clips[::4]
    medians = in_turn({"ours": lambda: ours(timed), "theirs": lambda: theirs(timed)}, runs)
    mean_s = sum(len(samples) for samples, _ in clips) / len(clips) / 16_000
    detail = (
        f"{medians['ours']:.1f} s against {medians['theirs']:.1f} s, {len(timed)} clips of {mean_s:.1f} s"
    )
    words = f"{len(clips)} clips; the 30 s windows' is the target"
    return [
        Row(f"{name}: our windows / 30 s windows", medians["ours"] / medians["theirs"], 1.0, detail),
        Row(f"{name}: WER", percent(ours(clips)), percent(theirs(clips)), words, "%"),
    ]
