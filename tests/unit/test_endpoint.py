"""One endpoint over HTTP: which errors are raised, which calls are repeated."""

from collections.abc import Callable

import httpx2
import pytest

from fanscribe.contracts.errors import (
    AnswerError,
    AuthenticationError,
    FanscribeError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    RateLimitedError,
    TransportError,
)
from fanscribe.contracts.job import JobStatus
from fanscribe.endpoint import ATTEMPTS, REQUEST_LIMIT_BYTES, Endpoint, retry_after

Answers = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanscribe.endpoint._wait", lambda _state: 0.0)


def _endpoint(answers: Answers) -> Endpoint:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answers))
    return Endpoint(http, "http://platform/v2/", "ep", "secret")


def _once_then(first: httpx2.Response | Exception, log: list[httpx2.Request]) -> Answers:
    def answer(request: httpx2.Request) -> httpx2.Response:
        log.append(request)
        if len(log) > 1:
            return httpx2.Response(200, json={"id": "j", "status": "IN_QUEUE"})
        if isinstance(first, Exception):
            raise first
        return first

    return answer


async def test_a_job_is_submitted_with_key_and_policy() -> None:
    log: list[httpx2.Request] = []
    endpoint = _endpoint(_once_then(httpx2.Response(200, json={"id": "j", "status": "IN_QUEUE"}), log))
    state = await endpoint.submit({"audio": "x"}, {"ttl": 10_000})
    assert state.status is JobStatus.IN_QUEUE
    (request,) = log
    assert request.url == "http://platform/v2/ep/run"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.content == b'{"input":{"audio":"x"},"policy":{"ttl":10000}}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PlatformError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (413, PayloadTooLargeError),
        (429, RateLimitedError),
        (500, TransportError),
        (503, TransportError),
    ],
)
async def test_every_refusal_has_its_class_and_hides_the_key(status: int, kind: type[FanscribeError]) -> None:
    endpoint = _endpoint(lambda _request: httpx2.Response(status, text="no"))
    with pytest.raises(kind) as caught:
        await endpoint.status("j")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert "ep" in str(caught.value)


@pytest.mark.parametrize(
    "first",
    [httpx2.Response(500), httpx2.Response(429), httpx2.ReadTimeout("slow"), httpx2.ConnectError("refused")],
)
async def test_reading_is_repeated(first: httpx2.Response | Exception) -> None:
    log: list[httpx2.Request] = []
    assert (await _endpoint(_once_then(first, log)).status("j")).id == "j"
    assert len(log) == 2


@pytest.mark.parametrize(
    "first", [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"), httpx2.Response(429)]
)
async def test_a_submission_that_never_arrived_is_repeated(first: httpx2.Response | Exception) -> None:
    log: list[httpx2.Request] = []
    await _endpoint(_once_then(first, log)).submit({})
    assert len(log) == 2


@pytest.mark.parametrize("first", [httpx2.ReadTimeout("slow"), httpx2.ReadError("cut"), httpx2.Response(502)])
async def test_a_submission_that_may_have_arrived_is_not_repeated(first: httpx2.Response | Exception) -> None:
    log: list[httpx2.Request] = []
    with pytest.raises(TransportError):
        await _endpoint(_once_then(first, log)).submit({})
    assert len(log) == 1


async def test_repeating_has_an_end() -> None:
    calls: list[int] = []

    def answer(_request: httpx2.Request) -> httpx2.Response:
        calls.append(1)
        return httpx2.Response(503)

    with pytest.raises(TransportError):
        await _endpoint(answer).status("j")
    assert len(calls) == ATTEMPTS


async def test_too_large_a_request_is_refused_before_it_is_sent() -> None:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("nothing may be sent")

    with pytest.raises(PayloadTooLargeError):
        await _endpoint(answer).submit({"audio": "x" * REQUEST_LIMIT_BYTES})


@pytest.mark.parametrize("body", [b"<html>", b'{"status": "COMPLETED"}', b'{"id": "j", "status": "NEW"}'])
async def test_an_answer_that_is_no_job_state_is_an_error(body: bytes) -> None:
    with pytest.raises(AnswerError):
        await _endpoint(lambda _request: httpx2.Response(200, content=body)).status("j")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("3", 3.0),
        ("-3", 0.0),
        ("900", 60.0),
        ("Thu, 01 Jan 1970 00:00:50 GMT", 8.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=lambda: 42.0) == seconds
