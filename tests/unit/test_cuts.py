"""Cuts: in pauses where there are any, with an overlap elsewhere, and always a tiling."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe import media
from fanscribe.pipeline.cuts import Chunk, Cut, CutFinder, KnownCuts, chunks_of, every

RATE = media.SAMPLE_RATE
Samples = NDArray[np.float32]


def noise(seconds: float, level: float, seed: int = 1) -> Samples:
    draw = np.random.default_rng(seed)
    return (draw.standard_normal(round(seconds * RATE)) * level).astype(np.float32)


def speech(
    pauses: list[tuple[float, float]], seconds: float, *, loud: float = 0.1, quiet: float = 0.001
) -> Samples:
    """Noise in place of speech, quieter in the pauses (start, end)."""
    samples = noise(seconds, loud)
    for start, end in pauses:
        first, last = round(start * RATE), round(end * RATE)
        samples[first:last] = noise(end - start, quiet)[: last - first]
    return samples


def cut(samples: Samples, finder: CutFinder, block: int = RATE) -> list[Chunk]:
    chunks = [
        chunk
        for place in range(0, len(samples), block)
        for chunk in finder.feed(samples[place : place + block])
    ]
    return chunks + finder.finish()


def test_a_cut_goes_to_the_middle_of_the_pause_near_it() -> None:
    finder = CutFinder([30.0], limit_s=100)
    chunks = cut(speech([(12, 13), (33, 33.4), (50, 51)], 60), finder)
    assert [each.overlap_s for each in finder.cuts] == [0]
    assert finder.cuts[0].at_s == pytest.approx(33.2, abs=0.05)
    assert [(each.start, each.end) for each in chunks] == [
        (0, finder.cuts[0].at_s),
        (finder.cuts[0].at_s, 60),
    ]


def test_of_two_pauses_the_clearly_longer_one_is_taken_though_it_is_farther() -> None:
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(29, 29.25), (33, 33.9)], 60), finder)
    assert 33 < finder.cuts[0].at_s < 33.9


def test_of_two_like_pauses_the_nearer_one_is_taken() -> None:
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(25, 25.4), (31, 31.4)], 60), finder)
    assert 31 < finder.cuts[0].at_s < 31.4


def test_a_long_silence_is_cut_where_the_cut_is_wanted() -> None:
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(20, 45)], 60), finder)
    assert finder.cuts == [Cut(30.0, 0.0)]


def test_without_a_pause_both_sides_hear_the_other() -> None:
    finder = CutFinder([30.0], limit_s=100, overlap_s=1.5)
    first, second = cut(speech([], 60), finder)
    assert finder.cuts[0].overlap_s == 1.5
    assert 24 <= first.end <= 36
    assert first.heard_end == first.end + 1.5
    assert second.heard_start == second.start - 1.5
    assert (first.heard_start, second.heard_end) == (0, 60)


def test_without_a_pause_the_cut_stays_near_unless_it_is_clearly_quieter_elsewhere() -> None:
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(25, 26)], 60, loud=0.1, quiet=0.085), finder)  # 1.4 dB: no reason to go so far
    assert finder.cuts[0].overlap_s > 0
    assert finder.cuts[0].at_s == pytest.approx(30, abs=1.5)
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(25, 26)], 60, loud=0.1, quiet=0.05), finder)  # 6 dB, and still no pause
    assert finder.cuts[0].overlap_s > 0
    assert 25 < finder.cuts[0].at_s < 26


def test_a_closure_inside_a_word_is_no_pause() -> None:
    finder = CutFinder([30.0], limit_s=100)
    cut(speech([(30, 30.12)], 60), finder)
    assert finder.cuts[0].overlap_s == 1.5


@pytest.mark.parametrize("gain", [1.0, 0.01])
@pytest.mark.parametrize("noise_level", [0.0, 0.0003, 0.02])
def test_pauses_are_found_at_any_gain_and_in_noise(gain: float, noise_level: float) -> None:
    samples = speech([(10, 10.6), (31, 31.6), (50, 50.5)], 60, quiet=noise_level) * np.float32(gain)
    finder = CutFinder([30.0], limit_s=100)
    cut(samples, finder)
    assert finder.cuts[0].overlap_s == 0
    assert 31 < finder.cuts[0].at_s < 31.6


def test_a_hum_as_loud_as_the_speech_does_not_hide_the_pause() -> None:
    samples = speech([(10, 10.6), (31, 31.6), (50, 50.5)], 60, loud=0.05)
    hum = (0.07 * np.sin(2 * np.pi * 50 * np.arange(len(samples)) / RATE)).astype(np.float32)
    finder = CutFinder([30.0], limit_s=100)
    cut(samples + hum, finder)
    assert finder.cuts[0].overlap_s == 0
    assert 31 < finder.cuts[0].at_s < 31.6


def test_chunks_are_given_out_while_the_rest_is_still_to_come() -> None:
    samples = speech([(29.8, 30.4)], 60)
    finder = CutFinder([30.0], limit_s=100)
    done_at = next(
        place / RATE for place in range(0, len(samples), RATE) if finder.feed(samples[place : place + RATE])
    )
    assert done_at < 40


def test_an_unknown_length_is_cut_on_and_on_within_the_limit() -> None:
    chunks = cut(noise(200, 0.1), CutFinder(every(60), limit_s=45))
    assert max(each.heard_end - each.heard_start for each in chunks) <= 45
    assert len(chunks) >= 5


def test_a_rest_of_under_a_second_stays_with_the_chunk_before_it() -> None:
    finder = CutFinder([30.0], limit_s=100, window_s=0, overlap_s=0.5)
    assert cut(noise(30.9, 0.1), finder) == [Chunk(0, 0.0, 30.9, 0.0, 30.9)]
    assert finder.cuts == []


def test_a_window_of_zero_cuts_exactly_there() -> None:
    finder = CutFinder([20.0, 40.0], limit_s=100, window_s=0, overlap_s=3)
    chunks = cut(speech([(19, 21)], 60), finder)
    assert [(each.heard_start, each.start, each.end, each.heard_end) for each in chunks] == [
        (0, 0, 20, 23),
        (17, 20, 40, 43),
        (37, 40, 60, 60),
    ]


def test_times_of_a_clip_are_those_of_the_file() -> None:
    finder = CutFinder([130.0], limit_s=100, start_s=100.0)
    chunks = cut(speech([(31, 31.6)], 60), finder)
    assert 131 < chunks[0].end < 131.6
    assert (chunks[0].start, chunks[1].end) == (100, 160)


def test_a_hastened_cut_comes_soon_and_never_before_what_was_settled() -> None:
    finder = CutFinder([], limit_s=1000)
    samples = noise(120, 0.1)
    settled = 0.0
    for second in range(120):
        finder.feed(samples[second * RATE : (second + 1) * RATE])
        if second == 50:
            settled = min(finder.settled_s, 51.0)
            finder.hasten()
    assert 51 < finder.cuts[0].at_s < 70
    assert finder.cuts[0].at_s - finder.cuts[0].overlap_s >= settled


def test_a_limit_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 10 s or more"):
        CutFinder([30.0], limit_s=5)


def test_known_cuts_give_the_same_chunks_in_other_blocks() -> None:
    samples = speech([(31, 31.6)], 100)
    finder = CutFinder([30.0, 60.0], limit_s=100)
    chunks = cut(samples, finder)
    known = KnownCuts(finder.cuts)
    assert [*known.feed(samples[:777]), *known.feed(samples[777:]), *known.finish()] == chunks
    assert chunks_of(finder.cuts, 0.0, 100.0) == chunks
    assert json.loads(json.dumps(finder.cuts[1].at_s)) == finder.cuts[1].at_s


def test_known_cuts_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match=r"between the cuts at 10 s and 11 s"):
        KnownCuts([Cut(10.0, 1.0), Cut(11.0, 0.0)])


@pytest.mark.speech
def test_cuts_of_a_reading_lie_between_words(speech_dir: Path) -> None:
    """Judged by the plain level, not by the finder's own measure: 25 dB under the speech around it, or lower."""
    samples = media.decode(speech_dir / "two_cities.flac", "two_cities.flac").samples
    power = np.convolve(samples.astype(np.float64) ** 2, np.ones(800) / 800, mode="same")
    speech_db = 10 * np.log10(np.percentile(power, 90))
    quiet = 0
    for spacing in range(5, 15):
        finder = CutFinder(every(float(spacing)), limit_s=60, window_s=4)
        chunks = cut(samples, finder)
        assert all(left.end == right.start for left, right in pairwise(chunks))
        for each in finder.cuts:
            if each.overlap_s == 0:
                quiet += 1
                around = power[round(each.at_s * RATE) - 800 : round(each.at_s * RATE) + 800]
                assert 10 * np.log10(around.mean() + 1e-12) < speech_db - 25, each
    assert quiet >= 30
