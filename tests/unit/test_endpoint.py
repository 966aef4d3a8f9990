"""One endpoint over HTTP: which errors are raised, which calls are repeated."""

from collections.abc import Callable

import httpx
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

Answers = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanscribe.endpoint._wait", lambda _state: 0.0)


def _endpoint(answers: Answers) -> Endpoint:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    return Endpoint(http, "http://platform/v2/", "ep", "secret")


def _once_then(first: httpx.Response | Exception, log: list[httpx.Request]) -> Answers:
    def answer(request: httpx.Request) -> httpx.Response:
        log.append(request)
        if len(log) > 1:
            return httpx.Response(200, json={"id": "j", "status": "IN_QUEUE"})
        if isinstance(first, Exception):
            raise first
        return first

    return answer


async def test_a_job_is_submitted_with_key_and_policy() -> None:
    log: list[httpx.Request] = []
    endpoint = _endpoint(_once_then(httpx.Response(200, json={"id": "j", "status": "IN_QUEUE"}), log))
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
    endpoint = _endpoint(lambda _request: httpx.Response(status, text="no"))
    with pytest.raises(kind) as caught:
        await endpoint.status("j")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert "ep" in str(caught.value)


@pytest.mark.parametrize(
    "first",
    [httpx.Response(500), httpx.Response(429), httpx.ReadTimeout("slow"), httpx.ConnectError("refused")],
)
async def test_reading_is_repeated(first: httpx.Response | Exception) -> None:
    log: list[httpx.Request] = []
    assert (await _endpoint(_once_then(first, log)).status("j")).id == "j"
    assert len(log) == 2


@pytest.mark.parametrize(
    "first", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.Response(429)]
)
async def test_a_submission_that_never_arrived_is_repeated(first: httpx.Response | Exception) -> None:
    log: list[httpx.Request] = []
    await _endpoint(_once_then(first, log)).submit({})
    assert len(log) == 2


@pytest.mark.parametrize("first", [httpx.ReadTimeout("slow"), httpx.ReadError("cut"), httpx.Response(502)])
async def test_a_submission_that_may_have_arrived_is_not_repeated(first: httpx.Response | Exception) -> None:
    log: list[httpx.Request] = []
    with pytest.raises(TransportError):
        await _endpoint(_once_then(first, log)).submit({})
    assert len(log) == 1


async def test_repeating_has_an_end() -> None:
    calls: list[int] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(503)

    with pytest.raises(TransportError):
        await _endpoint(answer).status("j")
    assert len(calls) == ATTEMPTS


async def test_too_large_a_request_is_refused_before_it_is_sent() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    with pytest.raises(PayloadTooLargeError):
        await _endpoint(answer).submit({"audio": "x" * REQUEST_LIMIT_BYTES})


@pytest.mark.parametrize("body", [b"<html>", b'{"status": "COMPLETED"}', b'{"id": "j", "status": "NEW"}'])
async def test_an_answer_that_is_no_job_state_is_an_error(body: bytes) -> None:
    with pytest.raises(AnswerError):
        await _endpoint(lambda _request: httpx.Response(200, content=body)).status("j")


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
