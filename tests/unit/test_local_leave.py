"""A worker that has taken leave: it gets no more jobs, keeps what it has, and is forgotten once it is silent."""

from fanscribe.local.fleet import Fleet
from fanscribe.local.memory import Limits
from fanscribe.local.spec import EndpointSpec


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_forgotten_once_it_is_silent() -> None:
    clock = Clock()
    fleet = Fleet(
        [EndpointSpec("e", ram_bytes=0)],
        Limits(0),
        clock,
        new_worker_id=lambda: "w",
        ended=lambda endpoint, job: None,
        lengthened=lambda endpoint: None,
        stop_ordered=lambda worker: None,
    )
    endpoint = fleet.endpoints["e"]
    worker = endpoint.add_worker("container", external=True)
    worker.seen(clock())
    endpoint.end_worker(worker, "it has taken leave")
    fleet.decide()
    assert list(endpoint.workers) == ["container"], "it may still have a result to give"
    assert endpoint.take(worker, 1) == []
    clock.now += 31
    fleet.decide()
    assert not endpoint.workers
    assert endpoint.fault is None
