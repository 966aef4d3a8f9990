"""What it costs to diarize a long recording in chunks: DER of the linked speakers minus DER of one piece.

    python -m tests.bench.linked_diarization --work build/bench

Each conversation is diarized as one piece and in overlapping chunks of several lengths by the same engine, in one
process; the speakers of the chunks are linked and both answers are scored against what was really said. To tell
what linking adds from what the chunks had wrong already, the chunks are also joined by who really spoke.
"""

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.bench.engines import model_dir, variant
from tests.bench.recordings import Reference, recording
from tests.bench.timing import Row
from tools.score import Rate, Turns, der

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.pipeline.cuts import Chunk, Cut, chunks_of
from fanscribe.pipeline.merge import DiarizedPart, link
from fanscribe.pipeline.merge.link import THRESHOLD
from fanscribe.pipeline.plan import DIARIZE_OVERLAP_S
from fanscribe_handlers.diarize_onnx.engine import DiarizeOnnxEngine
from fanscribe_handlers.engine import Context, Task

CONVERSATIONS: tuple[tuple[float, int, str], ...] = (
    (12.0, 22, "tom,ines"),
    (12.0, 23, "ines,may,tom"),
)
"""(minutes, seed, voices) of recordings of two and of three speakers."""

SIZES_S = (310.0, 600.0)
"""The most that fits into a request, and the shortest chunks where the length alone decides."""

TARGET_POINTS = 0.5
THRESHOLDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(17))

_RATE = 16_000

Samples = NDArray[np.float32]
Diarize = Callable[[Samples], DiarizeResult]


def linked_diarization(diarize: Diarize, pool: Sequence[Reference]) -> list[Row]:
    """For each length of chunks the largest DER above one piece in percentage points, over all recordings."""
    whole = [_score(each, diarize(each.samples())) for each in pool]
    rows = []
    for size_s in SIZES_S:
        found: list[tuple[float, str]] = []
        for each, one in zip(pool, whole, strict=True):
            parts = list(diarized(diarize, each.samples(), size_s))
            if len(parts) < 2:
                continue
            linked = link(parts)
            above = _score(each, linked).percent - one.percent
            people = len({speaker for _, _, speaker in each.turns})
            by_linking = _score(each, linked).percent - _rate(each, _truly_joined(each, parts)).percent
            words = (
                f"{linked.num_speakers} of {people} speakers, {one.percent:.2f} % and {above:+.2f}, "
                f"{by_linking:+.2f} of it by linking"
            )
            found.append((above, words))
        detail = "; ".join(words for _, words in found)
        if found:
            name = f"linked diarization, chunks of at most {size_s:.0f} s: DER above one piece"
            rows.append(Row(name, max(above for above, _ in found), TARGET_POINTS, detail, "points"))
    return rows


def diarized(diarize: Diarize, samples: Samples, size_s: float) -> Iterator[DiarizedPart]:
    """The parts of a recording that is cut into the fewest chunks of one length that is at most `size_s`."""
    end_s = len(samples) / _RATE
    count = math.ceil(end_s / size_s)
    cuts = [Cut(end_s * number / count, DIARIZE_OVERLAP_S) for number in range(1, count)]
    for chunk in chunks_of(cuts, 0.0, end_s):
        heard = samples[round(chunk.heard_start * _RATE) : round(chunk.heard_end * _RATE)]
        yield DiarizedPart(
            _in_the_file(diarize(heard), chunk), chunk.start, chunk.end, chunk.heard_start, chunk.heard_end
        )


def threshold_ranges(diarize: Diarize, pool: Sequence[Reference]) -> Iterator[str]:
    """For each recording and length of chunks: the DER in percent at each threshold."""
    for each in pool:
        for size_s in SIZES_S:
            parts = list(diarized(diarize, each.samples(), size_s))
            if len(parts) < 2:
                continue
            figures = (
                f"{threshold:.2f} {_score(each, link(parts, threshold=threshold)).percent:.2f}"
                for threshold in (*THRESHOLDS, THRESHOLD)
            )
            yield f"{each.path.stem}, {size_s:.0f} s: {', '.join(figures)}"


def diarizer(threads: int) -> Diarize:
    """The embedded diarizer, loaded."""
    engine = DiarizeOnnxEngine(threads)
    chosen = variant("diarize_onnx", "diarize-onnx")
    engine.load(chosen, model_dir(chosen))
    task = DiarizeInput(audio="https://localhost/in-memory")  # the engine reads the samples

    def diarize(samples: Samples) -> DiarizeResult:
        return engine.run(Task(task, samples), Context(report=lambda share: None))

    return diarize


def _score(reference: Reference, result: DiarizeResult) -> Rate:
    return _rate(reference, [(turn.start, turn.end, turn.speaker) for turn in result.segments])


def _rate(reference: Reference, turns: Turns) -> Rate:
    return der(reference.turns, turns, len(reference.samples()) / _RATE)


def _truly_joined(reference: Reference, parts: Sequence[DiarizedPart]) -> Turns:
    """The chunks' turns, each speaker of a chunk named after the one who really speaks most in these turns."""
    joined: list[tuple[float, float, str]] = []
    for part in parts:
        spans: dict[str, list[tuple[float, float]]] = {}
        for turn in part.result.segments if part.result else ():
            start, end = max(turn.start, part.start), min(turn.end, part.end)
            if start < end:
                spans.setdefault(turn.speaker, []).append((start, end))
        for own in spans.values():
            held: dict[str, float] = {}
            for start, end, speaker in reference.turns:
                shared = sum(max(0.0, min(end, last) - max(start, first)) for first, last in own)
                held[speaker] = held.get(speaker, 0.0) + shared
            name = max(held, key=lambda speaker: held[speaker])
            joined += [(first, last, name) for first, last in own]
    return joined


def _in_the_file(result: DiarizeResult, chunk: Chunk) -> DiarizeResult:
    """Times counted from the start of the file, as workers give them for a clip."""

    def moved(turns: Sequence[Turn]) -> list[Turn]:
        return [
            Turn(turn.start + chunk.heard_start, turn.end + chunk.heard_start, turn.speaker) for turn in turns
        ]

    return result.model_copy(
        update={
            "segments": moved(result.segments),
            "exclusive_segments": moved(result.exclusive_segments),
        }
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the recordings")
    parser.add_argument("--thresholds", action="store_true", help="DER at each threshold instead")
    options = parser.parse_args()
    pool = [recording(each, options.work / "recordings") for each in CONVERSATIONS]
    diarize = diarizer(len(os.sched_getaffinity(0)))
    if options.thresholds:
        for line in threshold_ranges(diarize, pool):
            print(line, flush=True)
        return
    for row in linked_diarization(diarize, pool):
        print(f"{row.name}: {row.value:+.2f} {row.unit}, at most {row.target} ({row.detail})")


if __name__ == "__main__":
    main()
