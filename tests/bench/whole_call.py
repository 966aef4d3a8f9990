"""The whole call on a warm local platform, against the baseline and against our own engines in one process."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.baseline import Baseline
from tests.bench.engines import Engines
from tests.bench.recordings import Reference
from tests.bench.timing import Row, in_turn, seconds
from tools.score import Rate, der, pooled, utterances_of, wer

from fanscribe import Client, Transcript


@dataclass(slots=True)
class Call:
    """One call: seconds as the caller sees them, and the inference seconds of its busiest worker."""

    wall_s: float
    engine_s: float


def busiest_s(transcript: Transcript) -> float:
    """Inference seconds of the worker that had most of them."""
    busy: dict[str, float] = {}
    for task in transcript.tasks:
        busy[task.variant] = busy.get(task.variant, 0.0) + task.timings.get("inference", 0.0)
    return max(busy.values())


def speed(client: Client, baseline: Baseline, engines: Engines, long: Reference, runs: int) -> list[Row]:
    """Ratios of whole calls, and what the platform adds to its slower engine."""
    calls: list[Call] = []

    def call() -> None:
        given: list[Transcript] = []
        taken = seconds(lambda: given.append(client.transcribe(long.path, diarize=True, cache=False)))
        calls.append(Call(taken, busiest_s(given[0])))

    def libraries() -> None:
        samples = long.samples()
        baseline.transcribe(samples)
        baseline.diarize(samples)

    def own() -> None:
        samples = long.samples()
        engines.transcribe(samples)
        engines.diarize(samples)

    client.transcribe(long.path, diarize=True, cache=False)  # warm: workers started, models loaded
    calls.clear()
    medians = in_turn({"call": call, "libraries": libraries, "own": own}, runs)
    length_s = len(long.samples()) / 16_000
    added = statistics.median(each.wall_s - 1.05 * each.engine_s for each in calls)
    engine_s = statistics.median(each.engine_s for each in calls)
    took = medians["call"]
    return [
        Row(
            "whole call / faster-whisper + pyannote.audio",
            took / medians["libraries"],
            0.7,
            f"{took:.1f} s against {medians['libraries']:.1f} s for {length_s:.0f} s of audio",
        ),
        Row(
            "whole call / our two engines in one process",
            took / medians["own"],
            1.0,
            f"{took:.1f} s against {medians['own']:.1f} s",
        ),
        Row(
            "beyond the slower engine and 5 % of it",
            added,
            0.3,
            f"call {took:.2f} s, its slower engine {engine_s:.2f} s",
            unit="s",
        ),
    ]


def quality(client: Client, baseline: Baseline, pool: Sequence[Reference]) -> list[Row]:
    """Pooled WER and DER of both sides; the targets are the baseline's figures (DER: plus half a point)."""
    rates: dict[str, list[Rate]] = {"wer": [], "der": [], "their wer": [], "their der": []}
    for each in pool:
        samples = each.samples()
        length_s = len(samples) / 16_000
        transcript = client.transcribe(each.path, diarize=True, cache=False)
        turns = [(turn.start, turn.end, turn.speaker) for turn in transcript.turns]
        rates["wer"].append(wer(each.utterances, utterances_of(transcript.to_dict())))
        rates["der"].append(der(each.turns, turns, length_s))
        rates["their wer"].append(wer(each.utterances, baseline.transcribe(samples)))
        rates["their der"].append(der(each.turns, baseline.diarize(samples), length_s))
    percent = {name: pooled(each).percent for name, each in rates.items()}
    return [
        Row(
            "pooled WER",
            percent["wer"],
            percent["their wer"],
            f"{len(pool)} recordings, faster-whisper's is the target",
            "%",
        ),
        Row(
            "pooled DER",
            percent["der"],
            percent["their der"] + 0.5,
            f"pyannote.audio has {percent['their der']:.2f} %, no collar",
            "%",
        ),
    ]
