"""The local platform under the official SDK, unmodified, on both sides: its workers and its clients."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
import runpod

from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec

WORKERS = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "workers.py"


def spec(kind: str, **options: Any) -> EndpointSpec:
    return EndpointSpec(name=kind, command=(sys.executable, str(WORKERS), kind), **options)


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    specs = [
        spec("plain", idle_timeout_s=60),
        spec("concurrent", idle_timeout_s=60),
        spec("generator", idle_timeout_s=60),
        spec("async-generator", idle_timeout_s=60),
        spec("refreshing", idle_timeout_s=60),
        spec("crash-at-import", crash_limit=2),
        spec("unfit", crash_limit=1, env={"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}),
    ]
    with start(specs) as running:
        yield running


@pytest.fixture(scope="module")
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=100) as client:
        yield client


@pytest.fixture
def sdk(platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.setattr(runpod, "endpoint_url_base", f"{platform.url}/v2")
    return lambda name: runpod.Endpoint(name, api_key=platform.key)


def ran(http: httpx2.Client, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(f"/v2/{name}/runsync", json={"input": asked})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def until(found: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


def status(http: httpx2.Client, name: str, job_id: str) -> dict[str, Any]:
    body: dict[str, Any] = http.get(f"/v2/{name}/status/{job_id}").json()
    return body


def endpoint_state(platform: RunningPlatform, name: str) -> dict[str, Any]:
    return next(each for each in platform.status()["endpoints"] if each["name"] == name)


def test_a_plain_worker_starts_from_zero_and_answers(http: httpx2.Client) -> None:
    body = ran(http, "plain", {"a": [1, "ü", None]})
    assert body["status"] == "COMPLETED"
    assert body["output"]["echo"] == {"a": [1, "ü", None]}
    assert body["id"].startswith("sync-")
    assert body["delayTime"] > 0
    assert body["executionTime"] >= 0
    assert body["workerId"]


def test_a_job_on_a_warm_worker_takes_milliseconds(http: httpx2.Client) -> None:
    ran(http, "plain", {})
    times = []
    for _ in range(3):
        # The SDK sleeps a second after each job before it asks again.
        time.sleep(1.2)
        began = time.monotonic()
        ran(http, "plain", {})
        times.append(time.monotonic() - began)
    # Its own loop looks at its queue every 0.1 s.
    assert min(times) < 0.12


def test_an_exception_fails_the_job_with_the_sdks_error_text(http: httpx2.Client) -> None:
    body = ran(http, "plain", {"fail": "no such voice"})
    assert body["status"] == "FAILED"
    error = json.loads(body["error"])
    assert error["error_type"] == "<class 'ValueError'>"
    assert error["error_message"] == "no such voice"
    assert error["worker_id"] == body["workerId"]


def test_an_error_that_a_handler_returns_fails_the_job(http: httpx2.Client) -> None:
    body = ran(http, "plain", {"refuse": "not today"})
    assert (body["status"], body["error"]) == ("FAILED", "not today")
    assert "output" not in body


def test_progress_shows_as_output_while_the_job_runs(http: httpx2.Client) -> None:
    job_id = http.post("/v2/plain/run", json={"input": {"progress": {"done": 0.5}, "sleep_s": 1.0}}).json()[
        "id"
    ]
    shown = until(lambda: (body := status(http, "plain", job_id)).get("output") and body)
    assert (shown["status"], shown["output"]) == ("IN_PROGRESS", {"done": 0.5})
    done = http.get(f"/v2/plain/status-sync/{job_id}").json()
    assert done["status"] == "COMPLETED"
    assert done["output"]["echo"]["sleep_s"] == 1.0
    assert http.post(f"/v2/plain/status/{job_id}").json() == done


def test_a_worker_that_crashes_in_a_job_is_replaced_and_the_job_runs_again(
    http: httpx2.Client, platform: RunningPlatform, tmp_path: Path
) -> None:
    body = ran(http, "plain", {"crash_once": str(tmp_path / "crashed")})
    assert body["status"] == "COMPLETED"
    assert body["retries"] == 1
    assert http.get("/v2/plain/health").json()["jobs"]["retried"] >= 1


def test_a_job_that_kills_every_worker_fails_with_their_last_words(http: httpx2.Client) -> None:
    body = ran(http, "plain", {"crash": True})
    assert body["status"] == "FAILED"
    assert "exit code 7" in body["error"]
    assert "tried 3 times" in body["error"]


def test_a_refused_result_fails_the_job_and_names_the_limit(http: httpx2.Client) -> None:
    body = ran(http, "plain", {"big": 21 * 1024 * 1024})
    assert body["status"] == "FAILED"
    assert "20 MB" in body["error"]


def test_a_worker_that_asks_to_be_replaced_is_replaced(http: httpx2.Client) -> None:
    first = ran(http, "plain", {"refresh": True})
    assert first["status"] == "COMPLETED"
    second = ran(http, "plain", {})
    assert second["output"]["pid"] != first["output"]["pid"]


def test_a_worker_configured_to_refresh_serves_each_job_in_a_new_process(http: httpx2.Client) -> None:
    pids = [ran(http, "refreshing", {"n": n})["output"]["pid"] for n in range(2)]
    assert len(set(pids)) == 2


def test_a_worker_that_cannot_start_fails_its_jobs_with_the_reason(
    http: httpx2.Client, platform: RunningPlatform
) -> None:
    body = ran(http, "crash-at-import", {})
    assert body["status"] == "FAILED"
    assert "an_engine_that_is_not_there" in body["error"]
    assert "2 in a row" in body["error"]
    assert "an_engine_that_is_not_there" in endpoint_state(platform, "crash-at-import")["fault"]
    assert http.get("/v2/crash-at-import/health").json()["workers"]["unhealthy"] == 1


def test_a_failed_fitness_check_is_named(http: httpx2.Client) -> None:
    body = ran(http, "unfit", {})
    assert body["status"] == "FAILED"
    assert "fitness check model_is_there failed" in body["error"]


def test_a_concurrent_worker_runs_jobs_side_by_side(http: httpx2.Client) -> None:
    ran(http, "concurrent", {})
    ids = [http.post("/v2/concurrent/run", json={"input": {"sleep_s": 1.5}}).json()["id"] for _ in range(4)]
    until(lambda: http.get("/v2/concurrent/health").json()["jobs"]["inProgress"] == 4)
    done = [http.get(f"/v2/concurrent/status-sync/{job_id}").json() for job_id in ids]
    assert {body["status"] for body in done} == {"COMPLETED"}
    assert len({body["output"]["pid"] for body in done}) == 1


def test_cancel_reaches_a_running_job(http: httpx2.Client, platform: RunningPlatform) -> None:
    job_id = http.post("/v2/concurrent/run", json={"input": {"sleep_s": 60}}).json()["id"]
    until(lambda: status(http, "concurrent", job_id)["status"] == "IN_PROGRESS")
    assert http.post(f"/v2/concurrent/cancel/{job_id}").json() == {"id": job_id, "status": "CANCELLED"}
    assert status(http, "concurrent", job_id)["status"] == "CANCELLED"
    (log,) = [Path(each["path"]) for each in platform.logs() if each["endpoint"] == "concurrent"]
    until(lambda: f"let go of {job_id}" in log.read_text())


def test_the_execution_timeout_ends_and_stops_a_job(http: httpx2.Client, platform: RunningPlatform) -> None:
    asked = {"input": {"sleep_s": 60}, "policy": {"executionTimeout": 5000}}
    body = http.post("/v2/concurrent/runsync", json=asked).json()
    assert body["status"] == "TIMED_OUT"
    assert 4900 < body["executionTime"] < 7000
    (log,) = [Path(each["path"]) for each in platform.logs() if each["endpoint"] == "concurrent"]
    until(lambda: f"let go of {body['id']}" in log.read_text())


def test_a_generator_streams_and_leaves_an_empty_output(sdk: Callable[[str], Any]) -> None:
    job = sdk("generator").run({"count": 3})
    assert list(job.stream()) == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert job.output() == []


def test_a_generator_that_fails_keeps_what_it_streamed(
    sdk: Callable[[str], Any], http: httpx2.Client
) -> None:
    job = sdk("generator").run({"count": 2, "fail": "out of breath"})
    assert list(job.stream()) == [{"number": 0}, {"number": 1}]
    assert "out of breath" in status(http, "generator", job.job_id)["error"]


def test_an_aggregating_generator_leaves_all_its_parts(
    sdk: Callable[[str], Any], http: httpx2.Client
) -> None:
    job = sdk("async-generator").run({"count": 4})
    assert list(job.stream()) == [0, 1, 2, 3]
    assert status(http, "async-generator", job.job_id)["output"] == [0, 1, 2, 3]
    assert http.get(f"/v2/async-generator/stream/{job.job_id}").json()["stream"] == []


def test_the_sdks_endpoint_runs_waits_cancels_purges_and_asks_for_health(sdk: Callable[[str], Any]) -> None:
    endpoint = sdk("plain")
    assert endpoint.run_sync({"a": 1})["echo"] == {"a": 1}
    job = endpoint.run({"a": 2})
    assert job.output(timeout=20)["echo"] == {"a": 2}
    assert job.status() == "COMPLETED"
    slow, waiting = endpoint.run({"sleep_s": 1.5}), endpoint.run({"a": 3})
    until(lambda: slow.status() == "IN_PROGRESS")
    assert endpoint.purge_queue() == {"removed": 1, "status": "completed"}
    assert waiting.cancel()["status"] == "CANCELLED"
    health = endpoint.health()
    assert health["jobs"]["inProgress"] == 1
    assert set(health["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    assert slow.output(timeout=20)["echo"] == {"sleep_s": 1.5}


def test_the_sdks_asyncio_endpoint(sdk: Callable[[str], Any], platform: RunningPlatform) -> None:
    async def use() -> tuple[Any, str, list[Any], Any]:
        async with aiohttp.ClientSession() as session:
            echo = runpod.AsyncioEndpoint("plain", session, platform.key)
            job = await echo.run({"a": 1})
            output = await job.output(timeout=20)
            streaming = await runpod.AsyncioEndpoint("generator", session, platform.key).run({"count": 2})
            parts = [part async for part in streaming.stream()]
            busy = runpod.AsyncioEndpoint("concurrent", session, platform.key)
            slow = await busy.run({"sleep_s": 60})
            health.update(await busy.health())
            purged.update(await echo.purge_queue())
            return output, await job.status(), parts, await slow.cancel()

    health: dict[str, Any] = {}
    purged: dict[str, Any] = {}
    output, word, parts, cancelled = asyncio.run(use())
    assert output["echo"] == {"a": 1}
    assert word == "COMPLETED"
    assert parts == [{"number": 0}, {"number": 1}]
    assert cancelled["status"] == "CANCELLED"
    assert health["jobs"]["inQueue"] + health["jobs"]["inProgress"] == 1
    assert set(health["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    assert purged == {"removed": 0, "status": "completed"}


def test_the_sdk_says_that_a_key_is_wrong(sdk: Callable[[str], Any], platform: RunningPlatform) -> None:
    with pytest.raises(RuntimeError, match="401"):
        runpod.Endpoint("plain", api_key="another").run({"a": 1})
