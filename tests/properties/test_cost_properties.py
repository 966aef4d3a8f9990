"""Whatever the endpoint: divisions cover the recording, keep the bounds, and more workers are never slower."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanscribe.pipeline.cost import Capacity, Optimize, forecast
from fanscribe.pipeline.division import Bounds, Work, divide, heard_s

capacities = st.builds(
    Capacity,
    rtf=st.floats(0.001, 2),
    overhead_s=st.floats(0, 3),
    load_s=st.floats(0, 60),
    start_s=st.floats(0, 20),
    scale_delay_s=st.floats(0, 5),
    workers_max=st.integers(1, 25),
    workers_warm=st.integers(0, 25),
    price_per_s=st.floats(0, 0.003),
    idle_timeout_s=st.floats(0, 60),
    prefetch=st.booleans(),
    supply_s=st.floats(0, 0.02),
)


@settings(max_examples=40, deadline=None)
@given(
    capacities,
    st.floats(1, 8_000),
    st.floats(60, 4000),
    st.floats(10, 100),
    st.floats(0, 20),
    st.sampled_from(Optimize),
)
def test_divisions_cover_the_recording_within_the_bounds(
    capacity: Capacity, duration: float, longest: float, shortest: float, overlap: float, optimize: Optimize
) -> None:
    bounds = Bounds(longest, shortest, overlap)
    found = divide(Work(duration, capacity, bounds), optimize)
    assert sum(found.sizes_s) == pytest.approx(duration)
    assert min(found.sizes_s) > 0
    assert max(heard_s(found.sizes_s, bounds)) <= longest + 1e-3
    assert len(found.wanted_s()) == len(found.sizes_s) - 1
    assert 1 <= found.width <= capacity.workers_max
    assert found.in_flight in (found.width, 2 * found.width)
    whole = capacity.task_s(sum(heard_s(found.sizes_s, bounds))) / found.width
    assert found.forecast.makespan_s >= whole - capacity.overhead_s - 1e-6
    assert found.forecast.paid_s >= sum(capacity.task_s(each) for each in found.sizes_s) - 1e-6


@settings(max_examples=40, deadline=None)
@given(capacities, st.floats(30, 8_000), st.floats(60, 1_000), st.floats(0, 20), st.floats(0, 2_000))
def test_what_is_not_forecast_would_not_have_been_chosen(
    capacity: Capacity, duration: float, longest: float, overlap: float, within: float
) -> None:
    work = Work(duration, capacity, Bounds(longest, overlap_s=overlap))
    found = divide(work, Optimize.LATENCY, within_s=within)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanscribe.pipeline.division._Option.least_s", lambda *_: 0.0)
        assert divide(work, Optimize.LATENCY, within_s=within) == found


@settings(max_examples=100, deadline=None)
@given(capacities, st.lists(st.floats(1, 300), min_size=1, max_size=60), st.integers(1, 25))
def test_forecasts_are_schedules_that_could_happen(
    capacity: Capacity, lengths: list[float], width: int
) -> None:
    found = forecast(lengths, capacity, width)
    assert len(found.tasks) == len(lengths)
    free: dict[int, float] = {}
    for each, audio in zip(found.tasks, lengths, strict=True):
        assert each.start_s >= each.sent_s - 1e-9
        assert each.end_s == pytest.approx(each.start_s + capacity.task_s(audio))
        assert each.start_s >= free.get(each.worker, 0.0) - 1e-9
        assert each.worker < min(width, capacity.workers_max)
        free[each.worker] = each.end_s + capacity.gap_s
    assert found.makespan_s == max(each.end_s for each in found.tasks)


@settings(max_examples=40, deadline=None)
@given(capacities, st.floats(30, 5_000), st.integers(1, 24))
def test_one_more_worker_is_never_a_worse_plan(capacity: Capacity, duration: float, width: int) -> None:
    work = Work(duration, capacity, Bounds(310))
    fewer, more = (divide(work, width=each).forecast.makespan_s for each in (width, width + 1))
    assert more <= 1.1 * fewer + 1
