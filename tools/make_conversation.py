"""Make a recording of a conversation with its text (STM) and its turns (RTTM), the same for the same seed.

    python -m tools.make_conversation --minutes 10 --seed 1 --out DIR --cache DIR
    python -m tools.make_conversation --script docs/samples/interview.txt --out docs/samples --cache DIR

Needs the `samples` extra (`pip install -e '.[samples]'`). Without --script the text comes from
`tools.dialogue` and no sentence occurs twice.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
from tools.conversation import SAMPLE_RATE, Line, Samples, mix, parse_script, place, rttm, stm
from tools.dialogue import Dialogue
from tools.voices import VOICES, Voices


def write_flac(path: Path, samples: Samples) -> None:
    """Write mono samples as 16-bit FLAC at 16 kHz."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        stream.codec_context.format = "s16"
        stream.options = {"compression_level": "12"}
        for start in range(0, len(pcm), 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def speak_until(lines: Iterable[Line], voices: Voices, total_s: float) -> tuple[list[Line], list[Samples]]:
    """Speak lines until they fill `total_s` seconds."""
    said: list[Line] = []
    spoken: list[Samples] = []
    filled = 0.0
    for line in lines:
        if filled >= total_s:
            break
        said.append(line)
        spoken.append(voices.speak(VOICES[line.speaker], line.text))
        filled += len(spoken[-1]) / SAMPLE_RATE + line.gap_s
        if sys.stderr.isatty():
            print(f"\r{filled:6.0f} s spoken", end="", file=sys.stderr)
    print(f"\r{filled:6.0f} s spoken", file=sys.stderr)
    return said, spoken


def make(
    lines: Iterable[Line], total_s: float, name: str, out: Path, cache: Path, seed: int, noise_db: float
) -> Path:
    """Write `name`.flac, .stm and .rttm into `out`; gives the path of the recording."""
    said, spoken = speak_until(lines, Voices(cache), total_s)
    placed = place(said, spoken)
    out.mkdir(parents=True, exist_ok=True)
    recording = out / f"{name}.flac"
    write_flac(recording, mix(placed, spoken, np.random.default_rng(seed), noise_db))
    (out / f"{name}.stm").write_text(stm(name, placed), encoding="utf-8")
    (out / f"{name}.rttm").write_text(rttm(name, placed), encoding="utf-8")
    return recording


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps every spoken sentence")
    parser.add_argument(
        "--script", type=Path, help="lines of 'speaker gap text' instead of a generated dialogue"
    )
    parser.add_argument("--name", help="file name without suffix (default: the script's, or from the seed)")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of a generated dialogue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--voices", default="ines,tom", help=f"2 to 4 of {', '.join(VOICES)}")
    parser.add_argument(
        "--noise-db", type=float, default=-64.0, help="RMS of the room noise, dB of full scale"
    )
    options = parser.parse_args(argv)
    if options.script:
        lines: Iterable[Line] = parse_script(options.script.read_text(encoding="utf-8"))
        name, total_s = options.name or options.script.stem, float("inf")
    else:
        names = options.voices.split(",")
        if not 2 <= len(set(names)) == len(names) <= 4 or not set(names) <= set(VOICES):
            parser.error(
                f"--voices takes 2 to 4 different names of {', '.join(VOICES)}, not {options.voices!r}"
            )
        lines = Dialogue(names, options.seed)
        name, total_s = options.name or f"conversation-{options.seed}", options.minutes * 60
    print(make(lines, total_s, name, options.out, options.cache, options.seed, options.noise_db))


if __name__ == "__main__":
    main()
