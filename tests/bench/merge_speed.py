"""How fast words get their speakers: against whisperX, and from one to ten hours of words.

    python tests/bench/merge_speed.py [--whisperx FOLDER]

FOLDER is an unpacked whisperX wheel (`pip download --no-deps whisperx==3.8.6`). Its `assign_word_speakers`
runs unchanged, read from the file so that torch and pyannote need not be installed; it needs numpy and
pandas. Both sides get the same words and turns and give complete result objects; the medians of several
runs, taken in turn, are compared.
"""

import argparse
import ast
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge import Part, assign_speakers, merge

WORDS_AN_HOUR = 10_000
SEGMENT_WORDS = 12


def conversation(count: int, turn_count: int) -> tuple[list[Segment], list[Turn]]:
    """Words at the pace of speech, and turns of four speakers over the same time; the same every time."""
    draw = random.Random(7)
    words: list[Word] = []
    at = 0.0
    for number in range(count):
        length = 0.1 + 0.4 * draw.random()
        words.append(Word(f"word{number % 997}" + ("." if number % 11 == 0 else ""), at, at + length, 0.9))
        at += length + 0.15 * draw.random()
    segments = [
        Segment(own[0].start, own[-1].end, " ".join(word.text for word in own), words=own)
        for own in (words[first : first + SEGMENT_WORDS] for first in range(0, count, SEGMENT_WORDS))
    ]
    borders = sorted(draw.uniform(0, at) for _ in range(turn_count))
    turns = [
        Turn(start, end + 0.2 * draw.random(), f"SPEAKER_{draw.randrange(4):02d}")
        for start, end in zip(borders, [*borders[1:], at], strict=True)
    ]
    return segments, turns


def exclusive(turns: list[Turn]) -> list[Turn]:
    """The turns, each ending where the next begins."""
    ends = [following.start for following in turns[1:]] + [turns[-1].end]
    return [Turn(turn.start, min(turn.end, end), turn.speaker) for turn, end in zip(turns, ends, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: all of this runs in one thread, and other work on the machine is left out."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def whisperx_assign(folder: Path) -> Callable[..., Any]:
    """The function and the class it uses, out of whisperX's file, without its imports of torch."""
    import numpy
    import pandas  # type: ignore[import-untyped]

    source = ast.parse((folder / "whisperx" / "diarize.py").read_text())
    wanted = [
        node
        for node in source.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and node.name in ("IntervalTree", "assign_word_speakers")
    ]
    # Annotations name types of packages that are not loaded here.
    future: list[ast.stmt] = [*ast.parse("from __future__ import annotations").body]
    names: dict[str, Any] = {"np": numpy, "pd": pandas}
    exec(compile(ast.Module([*future, *wanted], []), "whisperx/diarize.py", "exec"), names)
    assign: Callable[..., Any] = names["assign_word_speakers"]
    return assign


def against_whisperx(folder: Path, runs: int) -> dict[str, float]:
    """Seconds of both for 100,000 words and 10,000 turns, and the ratio of the medians."""
    import pandas

    assign = whisperx_assign(folder)
    segments, turns = conversation(100_000, 10_000)
    disjoint = exclusive(turns)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(runs):
        # Theirs writes into what it is given, so each run gets fresh dictionaries.
        given = {
            "segments": [
                {
                    "start": segment.start,
                    "end": segment.end,
                    "text": segment.text,
                    "words": [
                        {"word": w.text, "start": w.start, "end": w.end, "score": 0.9} for w in segment.words
                    ],
                }
                for segment in segments
            ]
        }
        frame = pandas.DataFrame(
            [(t.start, t.end, t.speaker) for t in turns], columns=["start", "end", "speaker"]
        )
        theirs.append(seconds(lambda frame=frame, given=given: assign(frame, given)))  # type: ignore[misc]
        ours.append(seconds(lambda: assign_speakers(segments, turns, disjoint)))
    return {
        "fanscribe_s": statistics.median(ours),
        "whisperx_s": statistics.median(theirs),
        "ratio": statistics.median(theirs) / statistics.median(ours),
    }


def by_hours(hours: int, runs: int) -> dict[str, float]:
    """Seconds of the whole merge (stitch, speakers, text) for so many hours of words."""
    segments, turns = conversation(hours * WORDS_AN_HOUR, hours * WORDS_AN_HOUR // 10)
    end = max(segments[-1].end, turns[-1].end)
    diarization = DiarizeResult(segments=turns, exclusive_segments=exclusive(turns))
    parts = [Part(0.0, end, segments)]
    median = statistics.median(
        seconds(lambda: merge(parts, duration=end, diarization=diarization)) for _ in range(runs)
    )
    return {"hours": hours, "merge_s": median, "us_per_word": median / (hours * WORDS_AN_HOUR) * 1e6}


def measure(whisperx: Path | None, runs: int = 5) -> dict[str, Any]:
    """Every figure of this benchmark."""
    figures: dict[str, Any] = {"hours": [by_hours(hours, runs) for hours in (1, 2, 5, 10)]}
    if whisperx is not None:
        figures["whisperx"] = against_whisperx(whisperx, runs)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--whisperx", type=Path, help="folder of an unpacked whisperX wheel")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(measure(options.whisperx, options.runs), indent=2))


if __name__ == "__main__":
    main()
