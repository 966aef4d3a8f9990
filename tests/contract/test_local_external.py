"""A worker in a container of its own: joins a platform elsewhere, and takes leave of it when it is told to end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.local import external
from fanscribe.local.embedded_metrics import embedded_metrics
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec

WORKERS = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "workers.py"


def until(found: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return value


@pytest.fixture
def platform() -> Iterator[RunningPlatform]:
    with start([EndpointSpec("ours")], key="the-key") as running:
        yield running


@pytest.fixture
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=60) as client:
        yield client


@pytest.fixture
def joined(platform: RunningPlatform, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FANSCRIBE_LOCAL_KEY": platform.key}
    command = [sys.executable, "-m", "fanscribe.local.external", "--url", platform.url, "--endpoint", "ours"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, sys.executable, str(WORKERS), "concurrent"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(lambda: workers(platform))
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def workers(platform: RunningPlatform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.status()["endpoints"][0]["workers"]
    return found


def test_it_joins_and_serves(
    joined: "subprocess.Popen[bytes]", platform: RunningPlatform, http: httpx2.Client
) -> None:
    body = http.post("/v2/ours/runsync", json={"input": {}}).json()
    (worker,) = workers(platform)
    assert (body["status"], body["workerId"], worker["external"]) == ("COMPLETED", worker["id"], True)


def test_an_idle_one_that_is_told_to_end_is_gone_at_once(
    joined: "subprocess.Popen[bytes]", platform: RunningPlatform, http: httpx2.Client
) -> None:
    until(lambda: workers(platform)[0]["state"] == "idle")
    joined.terminate()
    until(lambda: workers(platform)[0]["state"] == "draining")
    job = http.post("/v2/ours/run", json={"input": {}}).json()["id"]
    assert joined.wait(10) == 0, "the SDK alone would hold its request for half a minute"
    status = http.get(f"/v2/ours/status/{job}").json()
    assert status["status"] == "IN_QUEUE", "it waits for another worker, and was not dropped by this one"


def test_a_busy_one_finishes_its_job_and_takes_no_other(
    joined: "subprocess.Popen[bytes]", platform: RunningPlatform, http: httpx2.Client
) -> None:
    first = http.post("/v2/ours/run", json={"input": {"sleep_s": 2}}).json()["id"]
    until(lambda: http.get(f"/v2/ours/status/{first}").json()["status"] == "IN_PROGRESS")
    joined.terminate()
    until(lambda: workers(platform)[0]["state"] == "draining")
    second = http.post("/v2/ours/run", json={"input": {}}).json()["id"]
    assert joined.wait(20) == 0
    assert http.get(f"/v2/ours/status/{first}").json()["status"] == "COMPLETED"
    assert http.get(f"/v2/ours/status/{second}").json()["status"] == "IN_QUEUE"


def test_a_leave_of_nobody_is_nothing(platform: RunningPlatform, http: httpx2.Client) -> None:
    assert http.post("/v2/ours/job-leave/nobody").status_code == 200
    assert http.post("/v2/ours/job-leave/nobody", headers={"Authorization": "wrong"}).status_code == 401
    assert workers(platform) == []


def test_its_exit_code_is_the_workers(platform: RunningPlatform) -> None:
    command = [sys.executable, "-m", "fanscribe.local.external", "--url", platform.url, "--endpoint", "ours"]
    done = subprocess.run([*command, sys.executable, "-c", "raise SystemExit(7)"], timeout=30)
    assert done.returncode == 7
    for wrong in (
        ["--url", "platform:8008", "--endpoint", "ours", "x"],
        ["--url", platform.url, "--endpoint", "ours"],
    ):
        assert subprocess.run([*command[:3], *wrong], capture_output=True, timeout=30).returncode == 2


def test_the_workers_environment_holds_the_key_under_the_sdks_names_only() -> None:
    made = external.environment({"FANSCRIBE_LOCAL_KEY": "k", "HF_TOKEN": "t"}, "http://p:1", "e", "w", "k")
    assert "FANSCRIBE_LOCAL_KEY" not in made
    assert (made["RUNPOD_AI_API_KEY"], made["RUNPOD_POD_ID"], made["HF_TOKEN"]) == ("k", "w", "t")
    assert made["RUNPOD_WEBHOOK_GET_JOB"] == "http://p:1/v2/e/job-take/$ID?gpu=local"


def test_it_waits_for_a_platform_that_is_not_there_yet(capsys: pytest.CaptureFixture[str]) -> None:
    told, waits = threading.Event(), []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            told.set()
        return told.is_set()

    assert external.wait_until_up("http://127.0.0.1:9", told, wait) is False
    assert waits == [1.0, 1.0, 1.0]
    assert capsys.readouterr().err.count("waiting for the platform at http://127.0.0.1:9") == 1
    assert external.take_leave("http://127.0.0.1:9", "e", "w", "k") is False


def test_the_queue_is_published_as_cloudwatch_reads_it(tmp_path: Path) -> None:
    specs = tmp_path / "specs.json"
    specs.write_text(json.dumps([{"name": "ours", "ram_bytes": 0}]))
    command = [
        sys.executable,
        "-m",
        "fanscribe.local",
        "--specs",
        str(specs),
        "--url",
        "http://platform:8008/",
    ]
    process = subprocess.Popen(
        [*command, "--cloudwatch", "fanscribe/calls", "--log-level", "error"],
        stdout=subprocess.PIPE,
        env={**os.environ, "FANSCRIBE_LOCAL_KEY": "k"},
    )
    try:
        assert process.stdout is not None
        said = [json.loads(process.stdout.readline()) for _ in range(2)]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close() if process.stdout else None
    (line,) = [each for each in said if "_aws" in each]
    (ready,) = [each for each in said if "_aws" not in each]
    assert ready["url"] == "http://platform:8008"
    assert (line["Endpoint"], line["JobsQueued"], line["Jobs"], line["Workers"]) == ("ours", 0, 0, 0)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "fanscribe/calls"
    assert directive["Dimensions"] == [["Endpoint"]]
    assert all(isinstance(line[each["Name"]], int) for each in directive["Metrics"])


def test_a_metric_counts_what_waits_and_what_runs() -> None:
    endpoint = {"name": "e", "queued": 2, "running": 3, "workers": [{"state": "idle"}, {"state": "draining"}]}
    (line,) = embedded_metrics({"endpoints": [endpoint]}, "n", 5)
    assert (line["JobsQueued"], line["Jobs"], line["Workers"], line["_aws"]["Timestamp"]) == (2, 5, 1, 5)
