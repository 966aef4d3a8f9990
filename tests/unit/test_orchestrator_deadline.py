"""The deadlines of one request."""

from typing import Any

import pytest

from fanscribe_orchestrator.deadline import Deadline, reserve_of


def deadline(timeout_s: float, asked_s: float | None = None, policy: Any = None) -> Deadline:
    return Deadline(timeout_s, asked_s, policy, clock=lambda: 100.0)


def test_it_lies_before_the_platforms() -> None:
    found = deadline(600.0)
    assert found.allowed_s == 570.0
    assert 100.0 + 570.0 == found.soft < found.last < 700.0
    assert found.left_s == 570.0


def test_the_callers_own_counts_where_it_is_earlier() -> None:
    assert deadline(600.0, 20.0).allowed_s == 20.0
    assert deadline(600.0, 599.0).allowed_s == 570.0


@pytest.mark.parametrize("policy", [None, 7, {}, {"executionTimeout": "1"}, {"executionTimeout": True}])
def test_a_policy_that_says_nothing(policy: Any) -> None:
    assert deadline(600.0, policy=policy).allowed_s == 570.0


def test_the_jobs_policy_may_allow_less_but_never_more() -> None:
    assert deadline(600.0, policy={"executionTimeout": 100_000}).allowed_s == 92.0
    assert deadline(600.0, policy={"executionTimeout": 900_000}).allowed_s == 570.0


@pytest.mark.parametrize("timeout_s", [1.0, 5.0, 20.0, 600.0, 86_400.0])
def test_what_is_kept_back(timeout_s: float) -> None:
    kept = reserve_of(timeout_s)
    assert 0 < kept <= min(60.0, timeout_s / 2)
    assert deadline(timeout_s).last < 100.0 + timeout_s


def test_no_time_left_is_still_a_time() -> None:
    clock = iter([0.0, 99.0])
    assert Deadline(10.0, None, clock=lambda: next(clock)).left_s == 0.001


def test_what_is_left_for_passing_the_answer_on() -> None:
    clock = iter([0.0, 10.0, 99.0])
    found = Deadline(40.0, None, clock=lambda: next(clock))
    assert found.closing_s == found.last - 10.0
    assert found.closing_s == 0.5
