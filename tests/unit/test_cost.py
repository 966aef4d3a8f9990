"""The cost model against figures worked out by hand."""

import pytest

from fanscribe.catalogue import DeployedEndpoint, Workers
from fanscribe.contracts.variant import Variant
from fanscribe.gpu_pools import FLEX_USD_PER_S, price_per_s
from fanscribe.pipeline.cost import Capacity, Factors, capacity_of, forecast, hedge_after_s

WARM = Capacity(rtf=0.1, overhead_s=0.5, workers_max=4, workers_warm=4, price_per_s=0.001, idle_timeout_s=5)


def test_one_chunk_a_worker_ends_together() -> None:
    found = forecast([100, 100, 100, 100], WARM, 4)
    assert found.makespan_s == pytest.approx(10.5)
    assert found.workers == 4
    assert found.paid_s == 4 * 16  # 10.5 s of work and 5 s idle, in whole seconds
    assert found.price_usd == pytest.approx(0.064)


def test_a_second_chunk_on_a_plain_worker_costs_the_gap() -> None:
    assert forecast([100, 100], WARM, 1).makespan_s == pytest.approx(10.5 + 1 + 10.5)


def test_a_worker_that_prefetches_has_no_gap() -> None:
    capacity = Capacity(rtf=0.1, overhead_s=0.5, workers_max=1, workers_warm=1, prefetch=True)
    assert forecast([100, 100], capacity, 1, in_flight=2).makespan_s == pytest.approx(21)
    assert forecast([100, 100], capacity, 1, in_flight=1).makespan_s == pytest.approx(21.3)


def test_prefetching_workers_take_what_waits_for_those_that_start() -> None:
    cold = Capacity(rtf=0.1, start_s=8, workers_max=2, prefetch=True)
    assert forecast([100, 100], cold, 2).makespan_s == pytest.approx(28)
    plain = Capacity(rtf=0.1, start_s=8, workers_max=2)
    assert forecast([100, 100], plain, 2).makespan_s == pytest.approx(18)


def test_no_worker_is_started_for_what_warm_ones_fetch_ahead() -> None:
    capacity = Capacity(
        rtf=0.1, start_s=3, scale_delay_s=4, workers_max=4, workers_warm=2, idle_timeout_s=5, prefetch=True
    )
    few = forecast([100] * 4, capacity, 4)
    assert few.workers == 2
    assert few.makespan_s == pytest.approx(20)
    # The fifth waits for longer than the platform looks on: a worker is up 7 s after it was sent.
    more = forecast([100] * 5, capacity, 4, in_flight=5)
    assert more.workers == 3
    assert more.makespan_s == pytest.approx(20)
    assert more.tasks[4].start_s == pytest.approx(7)


def test_of_two_orders_in_which_jobs_may_be_fetched_ahead_the_worse_one_counts() -> None:
    capacity = Capacity(rtf=0.1, workers_max=2, workers_warm=2, prefetch=True, supply_s=0.01)
    # The third chunk can go to either worker; the fourth is sent when the first is done, and may go there again.
    assert forecast([100] * 4, capacity, 2, in_flight=3).makespan_s == pytest.approx(31)
    assert forecast([100] * 4, capacity, 2, in_flight=4).makespan_s == pytest.approx(22)


def test_cold_workers_join_later_and_their_start_is_paid() -> None:
    capacity = Capacity(rtf=0.1, load_s=3, start_s=5, scale_delay_s=4, workers_max=2, workers_warm=1)
    found = forecast([200, 200], capacity, 2)
    assert [(each.start_s, each.cold) for each in found.tasks] == [(0, False), (12, True)]
    assert found.makespan_s == pytest.approx(32)
    assert found.paid_s == 20 + 8 + 20


def test_audio_that_is_decoded_slowly_delays_the_later_chunks() -> None:
    capacity = Capacity(rtf=0.1, workers_max=2, workers_warm=2, supply_s=0.05)
    found = forecast([100, 100], capacity, 2)
    assert [each.start_s for each in found.tasks] == [5, 10]
    assert found.makespan_s == 20


def test_what_was_learned_scales_the_prediction() -> None:
    capacity = Capacity(rtf=0.1, overhead_s=0.5, start_s=8, factors=Factors(run=2, start=0.5))
    assert capacity.task_s(100) == pytest.approx(21)
    assert capacity.cold_s == pytest.approx(4)
    assert forecast([100], capacity, 1).makespan_s == pytest.approx(25)


def test_nothing_to_do_takes_nothing() -> None:
    found = forecast([], WARM, 4)
    assert (found.makespan_s, found.paid_s, found.workers, found.tasks) == (0, 0, 0, ())


def test_a_straggler_is_judged_by_its_peers() -> None:
    assert hedge_after_s(20, []) == pytest.approx(28)
    assert hedge_after_s(20, [2, 2, 2.2, 9]) == pytest.approx(20 * 2.1 * 1.4)
    assert hedge_after_s(1, [1, 1, 1]) == pytest.approx(3)  # short tasks are not worth a second job so soon


def variant() -> Variant:
    fact = {"source": "a test"}
    return Variant.model_validate(
        {
            "schema_version": 1,
            "id": "some-model",
            "family": "whisper",
            "stages": ["transcribe"],
            "name": "Some model",
            "model": {"source": "bundled", "licence": "mit"},
            "hardware": {"min_ram_gb": 1},
            "performance": {
                "load_s": {"value": 6, **fact},
                "overhead_s": {"value": 0.3, **fact},
                "rtf": {"ada_24": {"value": 0.02, **fact}, "cpu_2": {"value": 0.5, **fact}},
            },
        }
    )


def test_a_capacity_comes_from_variant_pool_and_endpoint() -> None:
    endpoint = DeployedEndpoint("asr", "abc", variant(), Workers(min=0, max=3), idle_timeout_s=7)
    found = capacity_of(endpoint, "ADA_24", warm=9, start_s=2)
    assert (found.rtf, found.load_s, found.overhead_s) == (0.02, 6, 0.3)
    assert (found.workers_max, found.workers_warm, found.idle_timeout_s) == (3, 3, 7)
    assert found.price_per_s == FLEX_USD_PER_S["ADA_24"]
    assert found.cold_s == pytest.approx(4 + 2 + 6)


def test_a_pool_without_figures_counts_as_the_slowest_and_costs_nothing() -> None:
    endpoint = DeployedEndpoint("asr", "abc", variant())
    found = capacity_of(endpoint, "ADA_32_PRO")
    assert (found.rtf, found.price_per_s) == (0.5, 0)
    assert price_per_s("ADA_32_PRO") is None
    assert price_per_s("ada_24") == price_per_s("ADA_24") == 0.00031
