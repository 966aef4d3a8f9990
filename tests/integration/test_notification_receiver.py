"""The example receiver of the documentation, run as it says there, and what really sends to it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests import example_receiver

from fanscribe.contracts.orchestration import Notify, NotifyEvent
from fanscribe_orchestrator.notification import SIGNATURE_HEADER, body_of, event_id, sign
from fanscribe_orchestrator.notify import DeliveryPolicy, Notifier

SECRET = "a-secret-of-some-length"


@dataclass
class Listening:
    url: str
    folder: Path
    process: subprocess.Popen[str]

    def events(self) -> list[dict[str, object]]:
        return [json.loads(each.read_bytes()) for each in sorted(self.folder.glob("evt_*.json"))]

    def post(self, body: bytes, signature: str) -> int:
        headers = {SIGNATURE_HEADER: signature}
        return httpx2.post(self.url, content=body, headers=headers, trust_env=False).status_code


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Listening]:
    folder = tmp_path / "events"
    process = subprocess.Popen(
        [sys.executable, str(example_receiver.FILE), "--port", "0", "--folder", str(folder)],
        env={**os.environ, "FANSCRIBE_NOTIFY_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:")
        yield Listening(url, folder, process)
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(10)


def notifier(secret: str, *origins: str) -> Notifier:
    return Notifier(secret, origins, DeliveryPolicy(attempts=2))


def test_a_notification_is_taken_once_however_often_it_comes(receiver: Listening) -> None:
    notify = Notify(url=f"{receiver.url}/any/path")
    output = {"text": "And so my fellow Americans", "durable": True}

    async def scene() -> list[str | None]:
        first, restarted = (notifier(SECRET, receiver.url) for _ in range(2))
        await first.check(notify)
        return [
            await each.tell(notify, NotifyEvent.COMPLETED, "job-7", {"output": output})
            for each in (first, first, restarted)
        ]

    assert asyncio.run(scene()) == [None, None, None]
    (event,) = receiver.events()
    assert (event["id"], event["event"]) == (event_id("job-7", NotifyEvent.COMPLETED), "completed")
    assert event["output"] == output
    assert abs(float(str(event["told_at"])) - time.time()) < 60


def test_the_loopback_is_refused_unless_its_origin_is_allowed(receiver: Listening) -> None:
    notify = Notify(url=receiver.url.replace("http:", "https:"))
    warning = asyncio.run(notifier(SECRET).tell(notify, NotifyEvent.COMPLETED, "job-8", {"output": {}}))
    assert warning is not None
    assert "private or reserved address" in warning
    assert receiver.events() == []


def test_what_others_sign_is_refused(receiver: Listening) -> None:
    notify = Notify(url=receiver.url)
    stranger = notifier("another-secret-of-some-length", receiver.url)
    warning = asyncio.run(stranger.tell(notify, NotifyEvent.COMPLETED, "job-9", {"output": {}}))
    assert warning == "the notification completed was not delivered to 127.0.0.1: HTTP 401"
    assert receiver.events() == []


def test_forged_old_and_broken_requests_are_refused(receiver: Listening) -> None:
    key, now = SECRET.encode(), int(time.time())
    body = body_of(NotifyEvent.FAILED, "job-10", now, {"error": {"code": "TIMEOUT"}}, 1000)
    good = sign(key, now, body)
    assert receiver.post(body + b" ", good) == 401
    assert receiver.post(body, sign(key, now - 3600, body)) == 401
    assert receiver.post(body, good.replace(f"t={now}", f"t={now + 1}")) == 401
    assert receiver.post(body, good.upper()) == 401
    assert receiver.post(body, "") == 401
    for strange in (b"[]", b"{}", b'{"id":"../../etc/passwd"}', b"not JSON"):
        assert receiver.post(strange, sign(key, now, strange)) == 400
    assert receiver.events() == []
    assert receiver.post(body, good) == 204
    assert receiver.post(body, good) == 204
    assert [each["event"] for each in receiver.events()] == ["failed"]


def test_a_receiver_that_is_away_comes_to_a_warning_soon(tmp_path: Path) -> None:
    notify = Notify(url="http://127.0.0.1:9/away")
    began = time.monotonic()
    warning = asyncio.run(
        notifier(SECRET, "http://127.0.0.1:9").tell(notify, NotifyEvent.COMPLETED, "job-11", {"output": {}})
    )
    assert warning is not None
    assert "no connection, after 2 attempts" in warning
    assert time.monotonic() - began < 10
