"""Windows hold all of the audio within their limit; words are in order and inside what was heard."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanscribe_handlers.parakeet.windows import MARGIN_S, Window, batches, windows
from fanscribe_handlers.parakeet.words import Token, words_of

RATE = 16_000


@settings(deadline=None, max_examples=50)  # making the samples takes the time
@given(
    total_s=st.floats(0.1, 60),
    longest_s=st.floats(4 * MARGIN_S + 0.1, 40),
    seed=st.integers(0, 9),
    skip_silence=st.booleans(),
)
def test_windows_hold_all_that_sounds(
    total_s: float, longest_s: float, seed: int, skip_silence: bool
) -> None:
    samples = np.random.default_rng(seed).uniform(0.01, 0.1, round(total_s * RATE)).astype(np.float32)
    found = windows(samples, longest_s, skip_silence=skip_silence)
    assert found[0].start == 0
    assert found[-1].end == pytest.approx(len(samples) / RATE)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert all(window.heard_s <= longest_s + 1e-6 for window in found)
    assert all(window.heard_start <= window.start < window.end <= window.heard_end for window in found)


@given(lengths=st.lists(st.floats(0.1, 100), max_size=30), budget_s=st.floats(5, 200), most=st.integers(1, 8))
def test_batches_hold_each_window_once(lengths: list[float], budget_s: float, most: int) -> None:
    found = [Window(0, length, 0, length) for length in lengths]
    made = batches(found, budget_s, most)
    assert sorted(number for batch in made for number in batch) == list(range(len(found)))
    for batch in made:
        padded_s = len(batch) * max(found[number].heard_s for number in batch)
        assert len(batch) == 1 or (len(batch) <= most and padded_s <= budget_s)


PIECES = st.sampled_from([" a", " be", "ce", " ", ".", " ,", " ¿", "?", "<unk>", " d", "é"])


@given(
    pieces=st.lists(st.tuples(PIECES, st.integers(-2, 60), st.integers(0, 4)), max_size=40),
    offset_s=st.floats(0, 1000),
    duration_s=st.floats(0, 4),
)
def test_words_are_in_order_and_inside(
    pieces: list[tuple[str, int, int]], offset_s: float, duration_s: float
) -> None:
    tokens = [Token(text, at * 0.08, (at + length) * 0.08, 0.5) for text, at, length in pieces]
    words = words_of(tokens, offset_s, duration_s)
    assert all(a.end <= b.start for a, b in pairwise(words))
    assert all(offset_s <= word.start <= word.end <= offset_s + duration_s + 1e-9 for word in words)
    assert all(word.text and word.text == word.text.strip() for word in words)
    letters = "".join(text.strip() for text, _, _ in pieces if text.strip() != "<unk>")
    assert "".join(word.text for word in words) == letters
