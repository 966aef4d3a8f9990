"""Score a transcript against what was really said.

    python tools/score.py TRANSCRIPT.json REFERENCE.stm [REFERENCE.rttm]

TRANSCRIPT.json is the native format of `fanscribe transcribe`. WER and cpWER need the `demo` extra; DER, which
is scored where an RTTM is given, needs the `dev` extra (pyannote.metrics).
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

Utterances = Sequence[tuple[str, str]]
"""(speaker, text) in order of time."""
Turns = Sequence[tuple[float, float, str]]
"""(start, end, speaker), seconds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Errors out of a total: words for WER and cpWER, seconds of speech for DER. Rates of files add up."""

    errors: float
    total: float

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.errors + other.errors, self.total + other.total)

    @property
    def percent(self) -> float:
        """100 × errors / total; 0 for nothing said and nothing heard, infinite for invented speech."""
        if self.total:
            return 100.0 * self.errors / self.total
        return float("inf") if self.errors else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """Rates of one recording; `der` is None where no turns were given."""

    wer: Rate
    cpwer: Rate
    der: Rate | None = None


def read_stm(path: Path) -> list[tuple[str, str]]:
    """The utterances of an STM file. Raises ValueError naming the line that has no text field."""
    rows: list[tuple[float, str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise ValueError(
                f"{path}, line {number}: expected 'file channel speaker start end text', got {line!r}"
            )
        text = fields[5] if len(fields) == 6 else ""
        label, closed, words = text.partition(">")
        rows.append((float(fields[3]), fields[2], words if closed and label.startswith("<") else text))
    return [(speaker, text) for _, speaker, text in sorted(rows, key=lambda row: row[0])]


def read_rttm(path: Path) -> list[tuple[float, float, str]]:
    """The turns of an RTTM file."""
    rows = (
        line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("SPEAKER")
    )
    return [(float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows]


@cache
def _normaliser() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


def words(text: str) -> list[str]:
    """The words that count: lower case, no punctuation or fillers, numbers and spellings made alike (Whisper's)."""
    return str(_normaliser()(text)).split()


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Substitutions + deletions + insertions of the best alignment."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    import jiwer

    counts = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return int(counts.substitutions + counts.deletions + counts.insertions)


def wer(reference: Utterances, hypothesis: Utterances) -> Rate:
    """Word error rate over the whole text in order of time, whoever said it."""
    said = words(" ".join(text for _, text in reference))
    return Rate(word_errors(said, words(" ".join(text for _, text in hypothesis))), len(said))


def cpwer(reference: Utterances, hypothesis: Utterances) -> Rate:
    """Concatenated minimum-permutation WER: each speaker's words joined, speakers paired for the fewest errors.

    Speakers without a partner count as deleted or inserted as a whole (Watanabe et al., CHiME-6, 2020).
    """
    from scipy.optimize import linear_sum_assignment

    said, heard = _by_speaker(reference), _by_speaker(hypothesis)
    size = max(len(said), len(heard))
    said += [[]] * (size - len(said))
    heard += [[]] * (size - len(heard))
    errors = [[word_errors(ours, theirs) for theirs in heard] for ours in said]
    rows, columns = linear_sum_assignment(errors) if size else ((), ())
    best = sum(errors[row][column] for row, column in zip(rows, columns, strict=True))
    return Rate(best, sum(map(len, said)))


def _by_speaker(utterances: Utterances) -> list[list[str]]:
    texts: dict[str, list[str]] = {}
    for speaker, text in utterances:
        texts.setdefault(speaker, []).append(text)
    return [words(" ".join(parts)) for parts in texts.values()]


def der(reference: Turns, hypothesis: Turns, duration_s: float | None = None) -> Rate:
    """Diarization error: seconds missed, invented and confused, of all seconds of speech; no collar."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: Turns) -> Any:
        made = Annotation()
        for number, (start, end, speaker) in enumerate(turns):
            made[Segment(start, end), number] = speaker
        return made

    last = max((end for _, end, _ in chain(reference, hypothesis)), default=0.0)
    scored = Timeline([Segment(0, max(last, duration_s or 0.0))])
    parts = DiarizationErrorRate()(annotation(reference), annotation(hypothesis), uem=scored, detailed=True)
    wrong = parts["missed detection"] + parts["false alarm"] + parts["confusion"]
    return Rate(float(wrong), float(parts["total"]))


def utterances_of(transcript: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The segments of a native transcript."""
    return [(segment.get("speaker") or "", segment["text"]) for segment in transcript["segments"]]


def turns_of(transcript: Mapping[str, Any]) -> list[tuple[float, float, str]]:
    """The diarizer's turns in a native transcript."""
    return [(turn["start"], turn["end"], turn["speaker"]) for turn in transcript["turns"]]


def score(transcript: Mapping[str, Any], reference: Utterances, turns: Turns | None = None) -> Score:
    """Score a native transcript, as JSON types, against utterances and, where there are any, turns."""
    heard = utterances_of(transcript)
    turn_errors = der(turns, turns_of(transcript), transcript.get("duration")) if turns is not None else None
    return Score(wer(reference, heard), cpwer(reference, heard), turn_errors)


def pooled(rates: Iterable[Rate]) -> Rate:
    """One rate over several recordings: errors and totals added up, so long recordings weigh more."""
    return sum(rates, start=Rate(0, 0))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("transcript", type=Path, help="native transcript, JSON")
    parser.add_argument("reference", type=Path, help="what was said, STM")
    parser.add_argument("turns", type=Path, nargs="?", help="who spoke when, RTTM")
    options = parser.parse_args(argv)
    transcript = json.loads(options.transcript.read_text(encoding="utf-8"))
    found = score(
        transcript, read_stm(options.reference), read_rttm(options.turns) if options.turns else None
    )
    print(f"WER   {found.wer.percent:5.1f} %  ({found.wer.errors:.0f} of {found.wer.total:.0f} words)")
    print(f"cpWER {found.cpwer.percent:5.1f} %  (words given to the wrong speaker count as errors)")
    if found.der:
        print(
            f"DER   {found.der.percent:5.1f} %  ({found.der.errors:.1f} of {found.der.total:.1f} s of speech)"
        )


if __name__ == "__main__":
    main()
