"""The platform's smaller parts, each alone: rates, faults, webhooks, objects, machine, metrics, reaper."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fanscribe.local import reaper
from fanscribe.local.endpoint import Endpoint
from fanscribe.local.faults import ERROR, KINDS, LOST_RESULT, FaultError, FaultRule, Faults, rules_from_json
from fanscribe.local.job import Job, Policy, Status
from fanscribe.local.launcher import Launcher
from fanscribe.local.machine import memory_limits, parse_size, usable_ram_bytes
from fanscribe.local.memory import overrun
from fanscribe.local.metrics import exposition
from fanscribe.local.objects import ObjectLimits, ObjectStore
from fanscribe.local.polls import Polls
from fanscribe.local.queue import Retention
from fanscribe.local.rates import PLATFORM_LIMITS, RateLimit, RateLimiter, TooManyRequestsError
from fanscribe.local.spec import MIB, EndpointSpec
from fanscribe.local.watch import gpu_memory, memory_of_groups
from fanscribe.local.webhooks import WebhookPolicy, Webhooks
from fanscribe.local.worker import Worker

POLICY = Policy(100.0, 1000.0)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_limit_counts_a_window_and_what_is_open_by_endpoint() -> None:
    clock = Clock()
    limiter = RateLimiter(clock, {"run": RateLimit(3, 2)})
    with limiter.request("a", "run"), limiter.request("a", "run"):
        with (
            pytest.raises(TooManyRequestsError, match="2 run requests at a time"),
            limiter.request("a", "run"),
        ):
            pass
        with limiter.request("b", "run"), limiter.request("a", "health"):
            pass
    with limiter.request("a", "run"):
        pass
    clock.now += 4
    with pytest.raises(TooManyRequestsError, match="more than 3") as caught, limiter.request("a", "run"):
        pass
    assert caught.value.retry_after_s == 6
    clock.now += 6
    with limiter.request("a", "run"):
        pass


def test_the_platforms_own_limits() -> None:
    assert PLATFORM_LIMITS["run"] == RateLimit(1000, 200)
    assert PLATFORM_LIMITS["status"] == RateLimit(2000, 400)
    assert PLATFORM_LIMITS["purge-queue"] == RateLimit(2, None)


def test_a_rule_strikes_at_its_rate_as_often_as_it_may() -> None:
    faults = Faults([FaultRule(LOST_RESULT, rate=0.25)], random.Random(1))
    struck = sum(faults.strike(LOST_RESULT, "e") is not None for _ in range(1000))
    assert 200 < struck < 300
    assert faults.rules[0].hits == struck
    once = Faults([FaultRule(ERROR, endpoint="e", times=1, calls="worker")])
    assert once.strike(ERROR, "other", "worker") is None
    assert once.strike(ERROR, "e", "client") is None
    assert once.strike(ERROR, "e", "worker") is once.rules[0]
    assert once.strike(ERROR, "e", "worker") is None


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({}, "JSON list"),
        ([1], "rule 0"),
        ([{"kind": "gremlin"}], "kind must be one of"),
        ([{"kind": []}], "kind must be one of"),
        ([{"kind": "error", "seconds": 10**400}], "seconds"),
        ([{"kind": "error"}, {"kind": "error", "rat": 1}], "rule 1: unknown fields rat"),
        ([{"kind": "error", "rate": True}], "rate"),
        ([{"kind": "error", "status": 200}], "status must be 400 to 599"),
        ([{"kind": "error", "calls": "nobody"}], "client or worker"),
        ([{"kind": "error", "times": 0}], "times"),
        ([{"kind": "error", "seconds": -1}], "seconds"),
        ([{"kind": "error", "hits": 3}], "unknown fields hits"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(value: Any, word: str) -> None:
    with pytest.raises(FaultError, match=word):
        rules_from_json(value)


def test_every_kind_of_fault_can_be_read() -> None:
    assert [rule.kind for rule in rules_from_json([{"kind": kind} for kind in KINDS])] == list(KINDS)


class Receiver(BaseHTTPRequestHandler):
    """Answers webhooks with the codes it is given."""

    codes: list[int]
    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.codes.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("OneReceiver", (Receiver,), {"codes": [], "bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", kind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("codes", "sent", "delivered"), [([200], 1, 1), ([500, 204, 200], 3, 1), ([500, 500, 500], 3, 0)]
)
def test_a_webhook_is_sent_up_to_three_times_until_it_gets_a_200(
    receiver: tuple[str, type[Receiver]], codes: list[int], sent: int, delivered: int
) -> None:
    url, kind = receiver
    kind.codes = list(codes)

    async def send() -> Webhooks:
        webhooks = Webhooks(WebhookPolicy(pause_s=0.01))
        webhooks.send(Job("a", b'{"x":1}', POLICY, 0.0, webhook=url, status=Status.FAILED, error="no"))
        while webhooks.delivered + webhooks.given_up == 0:
            await asyncio.sleep(0.01)
        await webhooks.close()
        return webhooks

    webhooks = asyncio.run(send())
    assert WebhookPolicy() == WebhookPolicy(attempts=3, pause_s=10.0, timeout_s=10.0)
    assert (len(kind.bodies), webhooks.delivered, webhooks.given_up) == (sent, delivered, 1 - delivered)
    assert kind.bodies[0] == {"id": "a", "status": "FAILED", "error": "no", "webhook": url, "input": {"x": 1}}


def upload(*parts: bytes, length: int | None = None) -> Request:
    rest = list(parts)

    async def receive() -> dict[str, Any]:
        part = rest.pop(0) if rest else b""
        return {"type": "http.request", "body": part, "more_body": bool(rest)}

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "PUT", "headers": headers}, receive)


def test_objects_are_capped_one_by_one_and_together_and_expire(tmp_path: Path) -> None:
    clock = Clock()
    store = ObjectStore(tmp_path, ObjectLimits(object_bytes=10, total_bytes=15, lifetime_s=60), clock)

    def put(*parts: bytes, length: int | None = None) -> tuple[str, int, float]:
        return asyncio.run(store.put(upload(*parts, length=length)))

    name, size, until = put(b"12345", b"67890")
    assert (size, until, store.used_bytes) == (10, 160.0, 10)
    path = store.path(name)
    assert path is not None
    assert path.read_bytes() == b"1234567890"
    for parts, length, code in (((b"x" * 11,), None, 413), ((b"",), 11, 413), ((b"x" * 6,), None, 507)):
        with pytest.raises(HTTPException) as caught:
            put(*parts, length=length)
        assert caught.value.status_code == code
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert store.used_bytes == 10
    clock.now += 61
    assert store.path(name) is None
    store.expire()
    assert list(tmp_path.iterdir()) == []
    assert (store.used_bytes, len(store)) == (0, 0)
    assert not store.delete(name)


def test_objects_of_an_earlier_life_are_kept_for_the_rest_of_their_time(tmp_path: Path) -> None:
    limits = ObjectLimits(object_bytes=10, total_bytes=15, lifetime_s=60)
    name, _, _ = asyncio.run(ObjectStore(tmp_path, limits).put(upload(b"1234567890")))
    (tmp_path / "cut-off.part").write_bytes(b"12")
    written = (tmp_path / name).stat().st_mtime
    clock = Clock()
    clock.now = written + 50
    store = ObjectStore(tmp_path, limits, clock)
    assert store.path(name) == tmp_path / name
    assert (len(store), store.used_bytes) == (1, 10)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    clock.now = written + 61
    assert len(ObjectStore(tmp_path, limits, clock)) == 0
    assert list(tmp_path.iterdir()) == []


def test_fifty_logs_of_past_workers_are_kept_by_endpoint_and_those_of_live_ones(tmp_path: Path) -> None:
    async def run() -> set[str]:
        launcher = Launcher(tmp_path, key=None)
        worker = Worker("live", "e", external=False, started_at=0.0)
        gone = asyncio.Event()
        launcher.start(EndpointSpec("e", ("sleep", "60")), worker, lambda worker, code: gone.set())
        while worker.pid is None:
            await asyncio.sleep(0.01)
        os.utime(launcher.log_file(worker), (1, 1))
        for name, count in (("e", 60), ("f.2", 3)):
            for number in range(count):
                path = launcher.logs / f"{name}.{number:03}.log"
                path.write_text("x")
                os.utime(path, (1000 + number, 1000 + number))
        (launcher.logs / "platform.log").write_text("x")
        launcher.trim_logs()
        left = {path.name for path in launcher.logs.iterdir()}
        launcher.end(worker, 0.0)
        await gone.wait()
        return left

    expected = {f"e.{number:03}.log" for number in range(10, 60)} | {f"f.2.{n:03}.log" for n in range(3)}
    assert asyncio.run(run()) == expected | {"e.live.log", "platform.log"}


def test_homes_of_workers_that_a_killed_platform_left_are_removed(tmp_path: Path) -> None:
    (tmp_path / "workers" / "old" / "tmp").mkdir(parents=True)

    async def run() -> None:
        launcher = Launcher(tmp_path, key=None)
        launcher.open(temporary=False)
        await launcher.close()

    asyncio.run(run())
    assert not (tmp_path / "workers").exists()


def test_sizes_are_read_with_their_units() -> None:
    assert [parse_size(text) for text in ("1024", "2K", "1.5G", "3 MiB", "1t")] == [
        1024,
        2048,
        1536 * MIB,
        3 * MIB,
        1024**4,
    ]
    for text in ("", "G", "-1", "1X", "1e9"):
        with pytest.raises(ValueError, match="write it like 12G"):
            parse_size(text)


def test_the_limit_of_the_control_group_counts(tmp_path: Path) -> None:
    whole = usable_ram_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_ram_bytes(tmp_path) == whole
    (tmp_path / "memory.max").write_text("1000000\n")
    assert usable_ram_bytes(tmp_path) == 1_000_000


def test_limits_given_win_over_those_found() -> None:
    limits = memory_limits(5 * MIB, 7 * MIB, [])
    assert (limits.ram_bytes, limits.vram_bytes) == (5 * MIB, 7 * MIB)
    assert memory_limits(None, None, []).vram_bytes == 0


def test_far_more_means_half_as_much_again_and_256_mib() -> None:
    assert not overrun(1000 * MIB, 1400 * MIB)
    assert overrun(1000 * MIB, 1600 * MIB)
    assert not overrun(100 * MIB, 350 * MIB)
    assert overrun(0, 300 * MIB)


def test_the_memory_of_a_group_is_that_of_all_in_it() -> None:
    hold = "x = b'x' * (60 * 1024 * 1024); print(len(x), flush=True); import time; time.sleep(60)"
    program = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', {hold!r}])\n{hold}"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        for _ in range(2):
            process.stdout.readline()
        taken = memory_of_groups({process.pid})
        assert set(taken) == {process.pid}
        assert taken[process.pid] > 115 * MIB
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()
    assert memory_of_groups(set()) == {}


def test_gpu_memory_is_summed_by_group_and_strangers_left_out() -> None:
    group = os.getpgid(os.getpid())
    said = f"{os.getpid()}, 300\n{os.getpid()}, 200\n1, 4000\n999999999, 5\nnonsense\n{os.getpid()}, [N/A]\n"
    assert gpu_memory(said, {group}) == {group: 500 * MIB}


def test_the_reaper_knows_which_groups_are_left_and_who_carries_a_mark(tmp_path: Path) -> None:
    assert reaper.groups_left(["+10\n", "+11\n", "-10\n", "-12\n"]) == {11}
    for pid, text in (("12", b"A=1\0MARK=me\0"), ("13", b"MARK=me2\0"), ("self", b"MARK=me\0")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "environ").write_bytes(text)
    (tmp_path / "14").mkdir()
    assert list(reaper.carrying("MARK=me", tmp_path)) == [12]


def endpoint(clock: Clock) -> Endpoint:
    return Endpoint(
        EndpointSpec("e", ("x",)),
        clock,
        retention=Retention(),
        ended=lambda job: None,
        lengthened=lambda: None,
        stop_ordered=lambda worker: None,
    )


def test_jobs_go_to_the_least_loaded_worker_and_then_to_the_one_used_last() -> None:
    clock = Clock()
    served = endpoint(clock)

    async def hand_out() -> list[str]:
        polls = Polls(clock)
        workers = [served.add_worker(name, external=True) for name in ("old", "new", "busy")]
        for worker in workers:
            clock.now += 1
            served.polled(worker, in_progress=None)
        served.queue.submit("first", b"1", POLICY)
        served.take(workers[2], 1)
        held = [polls.open(served, worker, 1) for worker in workers]
        for name in ("a", "b", "c", "d"):
            served.queue.submit(name, b"1", POLICY)
        polls.hand_out(served)
        return [poll.answer.result()[0].id for poll in held]

    assert asyncio.run(hand_out()) == ["b", "a", "c"]
    assert list(served.queue.waiting) == ["d"]


def test_metrics_escape_what_they_quote() -> None:
    state = {
        "uptime_s": 1.5,
        "memory": {"ram_limit": 10},
        "faults": [{"kind": "error", "hits": 2}],
        "endpoints": [
            {
                "name": 'a"b\\',
                "queued": 3,
                "running": 0,
                "throttled": True,
                "delay_s": 0.5,
                "execution_s": 1234567.125,
                "timed_jobs": 7,
                "totals": {"COMPLETED": 1234567},
                "workers": [
                    {"id": "w", "state": "idle", "rss": 5},
                    {"id": "v", "state": "idle", "rss": None},
                ],
            }
        ],
    }
    lines = exposition(state).splitlines()
    assert 'fanscribe_local_jobs_queued{endpoint="a\\"b\\\\"} 3' in lines
    assert 'fanscribe_local_jobs_total{endpoint="a\\"b\\\\",event="completed"} 1234567' in lines
    assert 'fanscribe_local_job_execution_seconds_sum{endpoint="a\\"b\\\\"} 1234567.125' in lines
    assert 'fanscribe_local_job_execution_seconds_count{endpoint="a\\"b\\\\"} 7' in lines
    assert "# TYPE fanscribe_local_job_execution_seconds summary" in lines
    assert 'fanscribe_local_workers{endpoint="a\\"b\\\\",state="idle"} 2' in lines
    assert "fanscribe_local_memory_ram_limit_bytes 10" in lines
    assert sum("worker_memory_bytes{" in line for line in lines) == 1
