"""The circuit breaker: five failures in a row, rests that grow, one trial after each."""

from fanscribe.pipeline.breaker import FAILURES, RESTS_S, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed()
    assert breaker.closed
    assert breaker.admit()
    breaker.failed()
    assert not breaker.closed
    assert not breaker.admit()


def test_after_a_rest_one_job_may_try() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert breaker.rest_s == RESTS_S[0]
    clock.now += RESTS_S[0] / 2
    assert not breaker.admit()
    clock.now += RESTS_S[0] / 2
    assert breaker.rest_s == 0
    assert breaker.admit()
    assert not breaker.admit(), "one job at a time"
    breaker.succeeded()
    assert breaker.closed
    assert breaker.admit()
    assert breaker.admit()


def test_the_rests_grow_and_have_an_end() -> None:
    clock = Clock()
    breaker = broken(clock)
    for number, rest_s in enumerate(RESTS_S):
        assert not breaker.given_up, number
        assert breaker.rest_s == rest_s
        clock.now += rest_s
        assert breaker.admit()
        breaker.failed()
    assert breaker.given_up
    clock.now += 1000.0
    assert not breaker.admit()


def test_jobs_that_were_out_before_it_opened_tell_nothing_new() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += RESTS_S[0] - 0.5
    breaker.failed()
    assert breaker.rest_s == 0.5
    clock.now += 0.5
    assert breaker.admit()


def test_a_late_success_closes_it() -> None:
    breaker = broken(Clock())
    breaker.succeeded()
    assert breaker.admit()


def test_a_trial_that_was_stopped_lets_another_try() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += RESTS_S[0]
    assert breaker.admit()
    breaker.released()
    assert breaker.admit()
