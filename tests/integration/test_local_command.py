"""`fanscribe local up | status | logs | down` as a user types them."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from rich.console import Console

from fanscribe.cli.local import down, overview, up
from fanscribe.local.process import find, start
from fanscribe.local.spec import MIB, EndpointSpec

SMALL = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "small.py"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fanscribe.cli", "local", *words]


def called(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def detached(environment: dict[str, str]) -> Iterator[str]:
    done = called(environment, "up", "--detach", "--port", "0")
    assert done.returncode == 0, done.stderr
    found = re.search(r"http://127\.0\.0\.1:\d+", done.stdout)
    assert found is not None
    try:
        yield found[0]
    finally:
        assert called(environment, "down").returncode == 0


def until(found: Callable[[], Any], limit_s: float = 15.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


def test_up_status_and_down(environment: dict[str, str], detached: str, tmp_path: Path) -> None:
    state = json.loads(called(environment, "status", "--json").stdout)
    assert state["url"] == detached
    names = [each["name"] for each in state["endpoints"]]
    assert {"whisper-base", "orchestrator"} <= set(names)
    shown = called(environment, "status").stdout
    assert all(name in shown for name in names)
    again = called(environment, "up", "--detach", "--port", "0")
    assert again.returncode == 1
    assert "running already" in again.stderr
    assert (
        httpx2.get(f"{detached}/v2/whisper-base/health", headers={"Authorization": "any"}).status_code == 200
    )
    assert called(environment, "down").stdout.startswith("stopped")
    assert (
        not psutil.pid_exists(state["pid"]) or psutil.Process(state["pid"]).status() == psutil.STATUS_ZOMBIE
    )
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_platform_every_command_says_how_to_start_one(environment: dict[str, str]) -> None:
    for words in (["status"], ["status", "--json"], ["logs"], ["status", "--watch"]):
        done = called(environment, *words)
        assert done.returncode == 1
        assert "fanscribe local up" in done.stderr
        assert "Traceback" not in done.stderr
    down = called(environment, "down")
    assert (down.returncode, down.stdout.strip()) == (0, "no local platform is running")


def test_wrong_options_are_usage_errors(environment: dict[str, str], tmp_path: Path) -> None:
    assert called(environment, "up", "--port", "70000").returncode == 2
    missing = called(environment, "up", "--detach", "--endpoints", str(tmp_path / "none.toml"))
    assert missing.returncode == 2
    assert "none.toml" in missing.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        in_use = called(environment, "up", "--detach", "--port", port)
    assert in_use.returncode == 1
    assert f"port {port} is in use" in in_use.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_up_is_the_end_of_the_platform(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        command("up", "--port", "0"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        found = re.search(r"\(process (\d+)\)", process.stdout.readline())
        assert found is not None
        platform = psutil.Process(int(found[1]))
        process.send_signal(number)
        code = process.wait(10)
        if number == signal.SIGINT:
            assert code == 0
        until(lambda: not platform.is_running() or platform.status() == psutil.STATUS_ZOMBIE)
    until(lambda: list((tmp_path / "tmp").iterdir()) == [])
    assert called(environment, "status").returncode == 1


@pytest.fixture
def working(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A platform with a worker that has something to say."""
    talk = (
        "import os, time\nprint('hello from', os.environ['RUNPOD_ENDPOINT_ID'], flush=True)\ntime.sleep(60)"
    )
    specs = [
        EndpointSpec(name, (sys.executable, "-S", "-c", talk), ram_bytes=50 * MIB, min_workers=1)
        for name in ("one", "two.5")
    ]
    platform = start(specs, detach=True)
    try:
        until(lambda: sum("hello" in Path(log["path"]).read_text() for log in platform.logs()) == 2)
        yield platform.url, platform.key
    finally:
        platform.stop()


def test_logs_are_shown_by_endpoint_and_followed(
    environment: dict[str, str], working: tuple[str, str]
) -> None:
    everything = called(environment, "logs").stdout
    assert "hello from one" in everything
    assert "hello from two.5" in everything
    one = called(environment, "logs", "two.5").stdout
    assert "hello from two.5" in one
    assert "hello from one" not in one
    unknown = called(environment, "logs", "three")
    assert unknown.returncode == 2
    assert "one, two.5" in unknown.stderr
    with subprocess.Popen(
        command("logs", "--follow", "one"), env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "hello from one" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_following_logs_ends_with_the_platform(environment: dict[str, str], working: tuple[str, str]) -> None:
    with subprocess.Popen(
        command("logs", "--follow", "one"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "hello from one" in process.stdout.readline()
        running = find()
        assert running is not None
        running.stop()
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_of_two_that_start_at_once_one_says_that_the_other_runs(environment: dict[str, str]) -> None:
    both = [
        subprocess.Popen(
            command("up", "--detach", "--port", "0"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=30) for process in both]
    try:
        assert sorted(process.returncode for process in both) == [0, 1]
        assert "running already" in "".join(errors for _, errors in said)
    finally:
        for output, _ in said:
            if found := re.search(r"\(process (\d+)\)", output):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(found[1]), signal.SIGTERM)
    until(lambda: find() is None)


def test_a_platform_that_does_not_answer_is_named_and_can_be_ended(
    environment: dict[str, str], working: tuple[str, str]
) -> None:
    running = find()
    assert running is not None
    os.kill(running.pid, signal.SIGSTOP)
    for words in (["status"], ["up", "--detach", "--port", "0"]):
        done = called(environment, *words)
        assert done.returncode == 1
        assert "runs but does not answer" in done.stderr
    down = called(environment, "down")
    assert down.returncode == 0
    assert down.stdout.startswith("stopped")
    assert "does not answer" in down.stderr
    assert not running.alive


def test_nothing_is_left_after_up_and_down_twenty_times(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [EndpointSpec("small", (sys.executable, str(SMALL)), ram_bytes=100 * MIB)]
    monkeypatch.setattr("fanscribe.deploy.local.local_specs", lambda *_, **__: specs)
    for number in range(20):
        up(detach=True, port=0, endpoints=None)
        running = find()
        assert running is not None
        if number % 5 == 0:
            body = httpx2.post(
                f"{running.url}/v2/small/runsync",
                json={"input": {}},
                headers={"Authorization": running.key},
                timeout=20,
            ).json()
            assert body["status"] == "COMPLETED"
        down()
        assert not running.alive
        assert find() is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_status_watch_shows_the_state_until_ctrl_c(
    environment: dict[str, str], working: tuple[str, str]
) -> None:
    with subprocess.Popen(
        command("status", "--watch"), env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=10)
        assert process.returncode == 0
    assert "two.5" in shown
    assert "initializing" in shown


def test_the_overview_names_what_is_wrong() -> None:
    endpoint = {
        "name": "e",
        "queued": 1,
        "running": 0,
        "totals": {"COMPLETED": 2, "FAILED": 1, "TIMED_OUT": 1},
        "throttled": True,
        "fault": "worker w ended with exit code 1",
        "workers": [],
    }
    state = {
        "url": "http://127.0.0.1:1",
        "uptime_s": 61.0,
        "memory": {"ram_reserved": 100 * MIB, "ram_limit": 200 * MIB},
        "endpoints": [endpoint],
        "faults": [{"kind": "error", "endpoint": "*", "rate": 0.5, "hits": 3}],
    }
    console = Console(width=160)
    with console.capture() as printed:
        console.print(overview(state))
    text = printed.get()
    assert "RAM 100 MiB of 200 MiB reserved" in text
    assert "waits for memory" in text
    assert "e: worker w ended with exit code 1" in text
    assert "error on *, rate 0.5, 3 hits" in text
