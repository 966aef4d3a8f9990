"""What cutting costs: WER of the fan-out minus WER of one piece, and whether errors gather at the cuts."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray
from tests.bench.engines import Engines
from tests.bench.recordings import LONG, POOL, recording
from tests.bench.timing import Row
from tools.score import Utterances, wer, words

from fanscribe.contracts.transcript import Word
from fanscribe.media import decode
from fanscribe.pipeline import merge
from fanscribe.pipeline.cuts import OVERLAP_S, WINDOW_S, CutFinder, every
from fanscribe.pipeline.plan import TRANSCRIBE_SHORTEST_S

Samples = NDArray[np.float32]

SPACING_S = TRANSCRIBE_SHORTEST_S
"""The shortest chunks that the planner makes: the most cuts that a recording can get."""

LIMIT_S = 310.0
NEAR_S = 2.0
DRAWS = 1000
_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording and what is said in it."""

    samples: Samples
    said: Utterances


@dataclass(slots=True)
class Heard:
    """One way to transcribe all recordings: errors, words, and how many errors lie near cuts and near other points."""

    errors: float = 0.0
    total: float = 0.0
    cuts: int = 0
    overlapped: int = 0
    near: int = 0
    elsewhere: list[int] | None = None

    @property
    def percent(self) -> float:
        """WER."""
        return 100.0 * self.errors / self.total


READINGS = {
    "jfk.flac": "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your "
    "country.",
    "two_cities.flac": "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was "
    "the season of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we "
    "had nothing before us, we were all going direct to Heaven, we were all going direct the other way. In short, the "
    "period was so far like the present period, that some of its noisiest authorities insisted on its being received, "
    "for good or for evil, in the superlative degree of comparison only.",
}
"""Real readings (Kennedy 1961, Dickens 1859) beside the checkout, and what is read."""


def spoken(recordings: Path, speech: Path) -> list[Spoken]:
    """All the speech there is: the made conversations, and real readings where they lie beside the checkout."""
    made = [recording(each, recordings) for each in (*POOL, LONG)]
    found = [Spoken(each.samples(), each.utterances) for each in made]
    for name, text in READINGS.items():
        if (speech / name).exists():
            found.append(Spoken(decode(speech / name, name).samples, [("", text)]))
    return found


def stitch_cost(engines: Engines, recordings: Sequence[Spoken]) -> list[Row]:
    """One piece, chunks cut in pauses, and chunks cut wherever the cut falls: the last are inside of words too."""
    found = {"one piece": Heard(), "pauses": Heard(), "forced": Heard()}
    for number, each in enumerate(recordings):
        _add(found["one piece"], each, _whole(engines, each.samples), [])
        for name, window_s in (("pauses", WINDOW_S), ("forced", 0.0)):
            finder = CutFinder(every(SPACING_S), limit_s=LIMIT_S, window_s=window_s, overlap_s=OVERLAP_S)
            heard = _in_chunks(engines, each.samples, finder)
            _add(found[name], each, heard, [cut.at_s for cut in finder.cuts], seed=number)
            found[name].overlapped += sum(cut.overlap_s > 0 for cut in finder.cuts)
    length_s = sum(len(each.samples) for each in recordings) / _RATE
    one = found["one piece"]
    rows = []
    for name in ("pauses", "forced"):
        other = found[name]
        rows.append(
            Row(
                f"stitch cost, cuts {'in pauses' if name == 'pauses' else 'forced, also inside words'}",
                other.percent - one.percent,
                0.3,
                f"WER {other.percent:.2f} % in chunks of {SPACING_S:.0f} s, {one.percent:.2f} % in one piece; "
                f"{length_s / 60:.1f} minutes, {other.cuts} cuts, {other.overlapped} of them with overlap",
                "points",
            )
        )
        assert other.elsewhere is not None
        usual = float(np.mean(other.elsewhere))
        rows.append(
            Row(
                f"errors within {NEAR_S:.0f} s of a cut / of random points ({name})",
                other.near / usual if usual else float(other.near > 0),
                float(np.percentile(other.elsewhere, 95)) / usual if usual else 0.0,
                f"{other.near} errors near {other.cuts} cuts; {DRAWS} draws of as many other points have "
                f"{usual:.1f} on average, 95 % of them at most {np.percentile(other.elsewhere, 95):.0f}",
            )
        )
    return rows


def _whole(engines: Engines, samples: Samples) -> list[Word]:
    result = engines.transcribe(samples, "en")
    return [word for segment in result.segments for word in segment.words]


def _in_chunks(engines: Engines, samples: Samples, finder: CutFinder) -> list[Word]:
    parts = []
    for chunk in [*finder.feed(samples), *finder.finish()]:
        first, last = round(chunk.heard_start * _RATE), round(chunk.heard_end * _RATE)
        result = engines.transcribe(samples[first:last], "en")
        merge.shift(result, chunk.heard_start)
        parts.append(merge.part_of(result, chunk.start, chunk.end, chunk.heard_start, chunk.heard_end))
    return [word for segment in merge.stitch(parts) for word in segment.words]


def _add(to: Heard, spoken: Spoken, heard: Sequence[Word], cuts: Sequence[float], seed: int = 0) -> None:
    rate = wer(spoken.said, [("", " ".join(word.text for word in heard))])
    to.errors, to.total = to.errors + rate.errors, to.total + rate.total
    to.cuts += len(cuts)
    if not cuts:
        return
    errors = np.array(sorted(_error_times(spoken.said, heard)))
    length_s = len(spoken.samples) / _RATE
    to.near += _near(errors, cuts)
    chance = random.Random(seed)
    drawn = [_near(errors, _elsewhere(chance, cuts, length_s)) for _ in range(DRAWS)]
    before = to.elsewhere or [0] * DRAWS
    to.elsewhere = [a + b for a, b in zip(before, drawn, strict=True)]


def _elsewhere(chance: random.Random, cuts: Sequence[float], length_s: float) -> list[float]:
    """As many points, none of them near a cut."""
    points: list[float] = []
    while len(points) < len(cuts):
        point = chance.uniform(0, length_s)
        if all(abs(point - cut) >= 2 * NEAR_S for cut in cuts):
            points.append(point)
    return points


def _near(errors: NDArray[np.float64], points: Sequence[float]) -> int:
    return sum(int(((errors >= point - NEAR_S) & (errors < point + NEAR_S)).sum()) for point in points)


def _error_times(said: Utterances, heard: Sequence[Word]) -> Iterator[float]:
    """When each word error happens: at the wrong word, or for a missing one at the next that was heard."""
    timed = [(token, (word.start + word.end) / 2) for word in heard for token in words(word.text)]
    reference = words(" ".join(text for _, text in said))
    if not timed or not reference:
        return
    found = jiwer.process_words(" ".join(reference), " ".join(token for token, _ in timed))
    for chunk in found.alignments[0]:
        if chunk.type == "equal":
            continue
        length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for step in range(length):
            place = min(chunk.hyp_start_idx + step, max(chunk.hyp_end_idx - 1, chunk.hyp_start_idx))
            yield timed[min(place, len(timed) - 1)][1]
