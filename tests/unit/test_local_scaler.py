"""How many workers the two scaling rules want."""

import pytest

from fanscribe.local.scaler import Demand, restart_delay_s, wanted_workers
from fanscribe.local.spec import REQUEST_COUNT, EndpointSpec

DELAY = EndpointSpec("e", max_workers=5)
COUNT = EndpointSpec("e", max_workers=5, scaler=REQUEST_COUNT, scaler_value=2)


@pytest.mark.parametrize(
    ("spec", "demand", "wanted"),
    [
        pytest.param(DELAY, Demand(0, 0, 0, 0, 0), 0, id="nothing to do"),
        pytest.param(DELAY, Demand(1, 0, 0, 0, 0), 1, id="from zero at once"),
        pytest.param(DELAY, Demand(9, 0, 0, 1, 0), 1, id="one on its way, nobody waited long"),
        pytest.param(DELAY, Demand(1, 1, 0, 1, 0), 1, id="the one on its way will serve the late job"),
        pytest.param(DELAY, Demand(3, 2, 1, 1, 1), 3, id="one more for each late job"),
        pytest.param(DELAY, Demand(99, 5, 5, 5, 5), 5, id="never more than max"),
        pytest.param(DELAY, Demand(0, 0, 0, 3, 3), 3, id="never fewer than there are"),
        pytest.param(
            EndpointSpec("e", min_workers=2, max_workers=3), Demand(0, 0, 0, 0, 0), 2, id="the minimum"
        ),
        pytest.param(EndpointSpec("e", max_workers=0), Demand(4, 4, 0, 0, 0), 0, id="max 0 is switched off"),
        pytest.param(COUNT, Demand(3, 0, 2, 1, 1), 3, id="requests by two, rounded up"),
        pytest.param(COUNT, Demand(0, 0, 4, 1, 1), 1, id="running alone asks for no more"),
    ],
)
def test_wanted_workers(spec: EndpointSpec, demand: Demand, wanted: int) -> None:
    assert wanted_workers(spec, demand) == wanted


def test_restarts_wait_twice_as_long_each_time_up_to_half_a_minute() -> None:
    assert [restart_delay_s(crashes) for crashes in range(6)] == [0, 0.5, 1, 2, 4, 8]
    assert restart_delay_s(1000) == 30
