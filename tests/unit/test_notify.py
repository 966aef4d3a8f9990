"""Notifications: who is told, what is signed, what is tried again, and which addresses are refused."""

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from fanscribe.contracts.errors import ErrorCode, TaskError, UsageError
from fanscribe.contracts.orchestration import Notify, NotifyEvent
from fanscribe.worker_environment import SettingsError
from fanscribe_orchestrator.fate import Fate
from fanscribe_orchestrator.notification import SIGNATURE_HEADER, body_of, event_id, sign
from fanscribe_orchestrator.notify import (
    ORIGINS_VARIABLE,
    SECRET_VARIABLE,
    SHORTEST_SECRET,
    DeliveryPolicy,
    Notifier,
)

SECRET = "a-secret-of-some-length"
PUBLIC = "93.184.215.14"
URL = "https://hooks.example.com/told/by-token?key=private"
NOW = 1_700_000_000


class Receiver(httpx2.AsyncBaseTransport):
    """Answers with these statuses one after the other, an exception is raised; the last one stays."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer, headers={"Location": "https://elsewhere.example.com/"})


class Waits:
    """Sleeps that take no time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def notifier(
    receiver: httpx2.AsyncBaseTransport,
    resolver: Callable[[str, int], list[str]] = lambda host, port: [PUBLIC],
    *,
    secret: str | None = SECRET,
    origins: tuple[str, ...] = (),
    policy: DeliveryPolicy | None = None,
    sleep: Waits | None = None,
) -> Notifier:
    return Notifier(
        secret,
        origins,
        policy,
        resolver=resolver,
        transport=receiver,
        now=lambda: NOW,
        sleep=sleep or Waits(),
    )


def tell(who: Notifier, url: str = URL, event: NotifyEvent = NotifyEvent.COMPLETED) -> str | None:
    return asyncio.run(who.tell(Notify(url=url), event, "job-1", {"output": {"text": "hello"}}))


def test_the_signature_is_over_time_and_body() -> None:
    digest = hmac.new(b"key", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign(b"key", NOW, b'{"a":1}') == f"t=1700000000,v0={digest}"


def test_an_event_keeps_its_id_and_each_has_its_own() -> None:
    told = {event_id(job, event) for job in ("a", "b") for event in NotifyEvent}
    assert len(told) == 2 * len(NotifyEvent)
    assert event_id("a", NotifyEvent.FAILED) == event_id("a", NotifyEvent.FAILED)


def test_a_large_output_is_left_out_and_its_size_is_said() -> None:
    more = {"output": {"text": "x" * 100}}
    whole = json.loads(body_of(NotifyEvent.COMPLETED, "j", NOW, more, 1000))
    assert whole["output"] == {"text": "x" * 100}
    cut = json.loads(body_of(NotifyEvent.COMPLETED, "j", NOW, more, 100))
    assert (cut["output"], cut["output_bytes"]) == (None, 111)
    assert more == {"output": {"text": "x" * 100}}, "the answer itself stays whole"


def test_a_notification_as_it_arrives() -> None:
    receiver = Receiver(204)
    assert tell(notifier(receiver)) is None
    (request,) = receiver.requests
    assert request.url.host == PUBLIC, "the address that was checked, not a second look-up"
    assert request.headers["Host"] == "hooks.example.com"
    assert request.extensions["sni_hostname"] == "hooks.example.com"
    assert request.url.raw_path == b"/told/by-token?key=private"
    assert request.headers[SIGNATURE_HEADER] == sign(SECRET.encode(), NOW, request.content)
    assert json.loads(request.content) == {
        "id": event_id("job-1", NotifyEvent.COMPLETED),
        "event": "completed",
        "job_id": "job-1",
        "told_at": NOW,
        "output": {"text": "hello"},
    }


def test_only_events_that_are_asked_for_are_told() -> None:
    receiver = Receiver(204)
    who = notifier(receiver)
    assert asyncio.run(who.tell(None, NotifyEvent.COMPLETED, "j")) is None
    asked = Notify(url=URL, events=[NotifyEvent.STARTED])
    assert asyncio.run(who.tell(asked, NotifyEvent.COMPLETED, "j")) is None
    assert receiver.requests == []
    assert asyncio.run(who.tell(asked, NotifyEvent.STARTED, "j")) is None
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "first", [500, 503, 429, 408, httpx2.ReadError("gone"), httpx2.ConnectError("refused")]
)
def test_what_may_pass_is_tried_again_with_the_same_event(first: int | Exception) -> None:
    receiver, waits = Receiver(first, first, 200), Waits()
    assert tell(notifier(receiver, sleep=waits)) is None
    assert len({json.loads(each.content)["id"] for each in receiver.requests}) == 1
    assert len(receiver.requests) == 3
    assert len(waits.seconds) == 2


@pytest.mark.parametrize("first", [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("silent")])
def test_an_address_that_takes_no_connection_leaves_the_others(first: Exception) -> None:
    receiver, waits = Receiver(first, 200), Waits()
    who = notifier(receiver, lambda host, port: ["2606:2800:21f:cb07::1", PUBLIC], sleep=waits)
    assert tell(who) is None
    assert [each.url.host for each in receiver.requests] == ["2606:2800:21f:cb07::1", PUBLIC]
    assert waits.seconds == []
    first_s = receiver.requests[0].extensions["timeout"]["connect"]
    assert 2 * first_s < DeliveryPolicy().attempt_timeout_s


def test_an_at_sign_behind_the_host_is_no_user() -> None:
    assert Notify(url="https://hooks.example.com?of=a@b.example").url.endswith("@b.example")
    for url in ("https://user@hooks.example.com/x", "https://user:word@hooks.example.com?x=1"):
        with pytest.raises(ValueError, match="must not hold a user or password"):
            Notify(url=url)


@pytest.mark.parametrize(
    ("status", "said"), [(400, "HTTP 400"), (410, "HTTP 410"), (302, "redirects are not followed")]
)
def test_a_refusal_is_final_and_no_redirect_is_followed(status: int, said: str) -> None:
    receiver = Receiver(status)
    warning = tell(notifier(receiver))
    assert warning is not None
    assert said in warning
    assert len(receiver.requests) == 1


def test_a_receiver_that_stays_down_is_given_up_with_a_warning_that_hides_its_path() -> None:
    receiver = Receiver(500)
    warning = tell(notifier(receiver, policy=DeliveryPolicy(attempts=3)))
    assert warning == (
        "the notification completed was not delivered to hooks.example.com: HTTP 500, after 3 attempts"
    )


def test_a_receiver_that_never_answers_costs_a_bounded_time() -> None:
    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    one = tell(notifier(Silent(), policy=DeliveryPolicy(attempts=2, attempt_timeout_s=0.01)))
    assert one is not None
    assert "no answer in 0.01 s, after 2 attempts" in one
    all_ = tell(notifier(Silent(), policy=DeliveryPolicy(attempt_timeout_s=60, total_timeout_s=0.01)))
    assert all_ is not None
    assert "within 0.01 s" in all_


def test_anything_else_is_a_warning_too() -> None:
    warning = tell(notifier(Receiver(RuntimeError("boom"))))
    assert warning is not None
    assert "RuntimeError" in warning


def test_the_next_address_is_tried_where_the_first_has_no_connection() -> None:
    receiver = Receiver(httpx2.ConnectError("refused"), 200)
    assert tell(notifier(receiver, lambda host, port: ["2606:4700::1", PUBLIC])) is None
    assert [each.url.host for each in receiver.requests] == ["2606:4700::1", PUBLIC]


def test_a_certificate_that_cannot_be_trusted_is_final() -> None:
    receiver = Receiver(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] no"))
    warning = tell(notifier(receiver))
    assert warning is not None
    assert "certificate" in warning
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://127.0.0.1/x", []),
        ("https://169.254.169.254/latest/meta-data", []),
        ("https://[::1]/x", []),
        ("https://[::ffff:10.0.0.1]/x", []),
        ("https://internal.example.com/x", ["10.0.0.7"]),
        ("https://half.example.com/x", [PUBLIC, "192.168.0.3"]),
    ],
)
def test_private_addresses_are_refused_at_submission_and_at_delivery(url: str, addresses: list[str]) -> None:
    receiver = Receiver(200)
    who = notifier(receiver, lambda host, port: addresses)
    with pytest.raises(UsageError, match=r"field notify.url: leads to a private or reserved address"):
        asyncio.run(who.check(Notify(url=url)))
    warning = tell(who, url)
    assert warning is not None
    assert "private or reserved" in warning
    assert receiver.requests == []


def test_a_name_that_turns_private_between_two_attempts_is_not_followed() -> None:
    answers = [[PUBLIC], [PUBLIC], ["127.0.0.1"]]
    receiver = Receiver(503)
    who = notifier(receiver, lambda host, port: answers.pop(0))
    asyncio.run(who.check(Notify(url=URL)))
    warning = tell(who)
    assert warning is not None
    assert "private" in warning
    assert len(receiver.requests) == 1


def test_plain_http_and_private_addresses_go_by_allowed_origin_alone() -> None:
    receiver = Receiver(200)
    who = notifier(receiver, origins=("http://10.0.0.5:8080",))
    asyncio.run(who.check(Notify(url="http://10.0.0.5:8080/hook")))
    assert tell(who, "http://10.0.0.5:8080/hook") is None
    with pytest.raises(UsageError, match="is plain http; give an https URL"):
        asyncio.run(who.check(Notify(url="http://hooks.example.com/x")))
    with pytest.raises(UsageError, match="is plain http"):
        asyncio.run(who.check(Notify(url="http://10.0.0.5:8081/hook")))


def test_a_name_without_an_address_is_refused() -> None:
    def nothing(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(UsageError, match=r"notify.url: the name cannot be resolved"):
        asyncio.run(notifier(Receiver(200), nothing).check(Notify(url=URL)))


def test_without_a_secret_a_request_that_asks_is_refused_and_others_are_not() -> None:
    who = notifier(Receiver(200), secret=None)
    asyncio.run(who.check(None))
    with pytest.raises(UsageError, match=r"field notify: .* set FANSCRIBE_NOTIFY_SECRET"):
        asyncio.run(who.check(Notify(url=URL)))


def test_the_environment_says_secret_and_origins() -> None:
    who = Notifier.from_env(
        {"FANSCRIBE_NOTIFY_SECRET": SECRET, "FANSCRIBE_NOTIFY_ORIGINS": "http://127.0.0.1:9, http://10.0.0.1"}
    )
    asyncio.run(who.check(Notify(url="http://127.0.0.1:9/x")))
    asyncio.run(who.check(Notify(url="http://10.0.0.1/x")))
    with pytest.raises(SettingsError, match=r"FANSCRIBE_NOTIFY_SECRET has fewer than 16") as caught:
        Notifier.from_env({"FANSCRIBE_NOTIFY_SECRET": "short"})
    assert "'short'" not in str(caught.value)
    with pytest.raises(SettingsError, match="FANSCRIBE_NOTIFY_ORIGINS"):
        Notifier.from_env({"FANSCRIBE_NOTIFY_ORIGINS": "http://a:b:c"})


def test_what_is_told_in_the_background_arrives() -> None:
    receiver = Receiver(200)

    async def scene() -> None:
        notifier(receiver).tell_in_background(
            Notify(url=URL, events=[NotifyEvent.STARTED]), NotifyEvent.STARTED, "j"
        )
        while not receiver.requests:
            await asyncio.sleep(0.001)

    asyncio.run(scene())
    assert json.loads(receiver.requests[0].content)["event"] == "started"


def fate_of(receiver: Receiver, *events: NotifyEvent, left_s: float = 60.0) -> Fate:
    def said(error: Exception) -> TaskError:
        return TaskError(code=ErrorCode.MODEL_ERROR, message=str(error))

    who = notifier(receiver, policy=DeliveryPolicy(attempts=2))
    return Fate(who, Notify(url=URL, events=list(events)), "job-1", lambda: left_s, said)


def events_of(receiver: Receiver) -> list[str]:
    return [json.loads(each.content)["event"] for each in receiver.requests]


async def test_a_request_that_is_done_is_told_of_from_start_to_end() -> None:
    receiver = Receiver(200)
    fate = fate_of(receiver, *NotifyEvent)
    output = {"text": "hello"}
    async with fate.followed():
        while not receiver.requests:
            await asyncio.sleep(0.001)
        await fate.completed(output)
    assert events_of(receiver) == ["started", "completed"]
    assert output == {"text": "hello"}


async def test_a_failure_is_told_before_it_is_raised() -> None:
    receiver = Receiver(200)
    with pytest.raises(ValueError, match="out of paper"):
        async with fate_of(receiver, NotifyEvent.COMPLETED, NotifyEvent.FAILED).followed():
            raise ValueError("out of paper")
    assert events_of(receiver) == ["failed"]
    error = json.loads(receiver.requests[0].content)["error"]
    assert error == {"code": "MODEL_ERROR", "message": "out of paper", "retryable": False}


async def test_a_cancellation_is_told_without_holding_it_up() -> None:
    receiver = Receiver(200)

    async def request() -> None:
        async with fate_of(receiver, NotifyEvent.CANCELLED).followed():
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while not receiver.requests:
        await asyncio.sleep(0.001)
    assert events_of(receiver) == ["cancelled"]


async def test_an_answer_says_that_its_receiver_was_not_reached() -> None:
    fate = fate_of(Receiver(500), NotifyEvent.COMPLETED)
    output: dict[str, object] = {"text": "hello", "warnings": ["quiet"]}
    async with fate.followed():
        await fate.completed(output)
    assert output["warnings"] == [
        "quiet",
        "the notification completed was not delivered to hooks.example.com: HTTP 500, after 2 attempts",
    ]


async def test_a_request_that_may_not_be_told_of_never_begins() -> None:
    fate = Fate(
        notifier(Receiver(200), secret=None),
        Notify(url=URL),
        "job-1",
        lambda: 60.0,
        lambda error: TaskError(code=ErrorCode.MODEL_ERROR, message=""),
    )
    with pytest.raises(UsageError, match="field notify"):
        async with fate.followed():
            raise AssertionError("the work began")


def test_the_page_on_notifications_keeps_up() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)[: len(NotifyEvent)] == list(NotifyEvent)
    for word in (SIGNATURE_HEADER, SECRET_VARIABLE, ORIGINS_VARIABLE, f"{SHORTEST_SECRET} characters"):
        assert word in page
    policy = DeliveryPolicy()
    told = (policy.attempts, policy.attempt_timeout_s, policy.total_timeout_s, policy.largest_output_bytes)
    assert told == (5, 10, 30, 1_000_000), (
        "five attempts, ten seconds, thirty seconds, 1 MB: the page says so"
    )
    assert set(Notify(url=URL).events) == set(NotifyEvent) - {NotifyEvent.STARTED}, "all but started"
