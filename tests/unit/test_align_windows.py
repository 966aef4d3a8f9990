import itertools

import pytest

from fanscribe_handlers.align.windows import HOP, Window, batches, cut

RATE = 16_000


def test_a_short_segment_is_one_window_and_takes_a_frame_more() -> None:
    (window,) = cut([(1.0, 3.0)], 10 * RATE, RATE)
    assert (window.first, window.last) == (50, 150)
    assert (window.heard_first, window.heard_last) == (50, 151)


def test_a_long_segment_is_heard_in_windows_that_meet() -> None:
    windows = cut([(10.0, 90.0)], 100 * RATE, RATE)
    assert (windows[0].first, windows[-1].last) == (500, 4500)
    assert len(windows) == 3
    for before, after in itertools.pairwise(windows):
        assert before.last == after.first
        assert before.heard_last - before.last == after.first - after.heard_first == 50


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.1), (9.98, 10.0), (9.9, 12.0), (5.0, 5.3)])
def test_windows_stay_in_the_recording(start: float, end: float) -> None:
    (window,) = cut([(start, end)], 10 * RATE, RATE)
    assert 0 <= window.heard_first <= window.first < window.last <= window.heard_last <= 10 * RATE // HOP


def test_what_has_no_sound_has_no_window() -> None:
    assert cut([(0.0, 0.0), (10.0, 10.0), (12.0, 11.0)], 10 * RATE, RATE) == []
    assert cut([(0.0, 0.03)], 500, RATE) == []


def test_a_batch_has_windows_of_one_length_within_its_limit() -> None:
    windows = cut([(0, 20), (21, 24), (24, 31), (31, 50), (99.5, 100)], 100 * RATE, RATE)
    made = batches(windows, 2100, 100 * RATE // HOP)
    assert sorted(each.wanted for batch in made for each in batch) == sorted(each.wanted for each in windows)
    for batch in made:
        assert len({each.length for each in batch}) == 1
        assert len(batch) == 1 or sum(each.length for each in batch) <= 2100
        for each in batch:
            assert 0 <= each.heard_first <= each.first
            assert each.last <= each.heard_last <= 100 * RATE // HOP
    assert len(made) < len(windows)


def test_a_window_above_the_limit_goes_alone() -> None:
    window = Window(0, 0, 1000, 0, 1001)
    assert batches([window, window], 500, 2000) == [[window], [window]]
