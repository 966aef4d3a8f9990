"""The local platform under other recent versions of the SDK, and under a worker that somebody else starts."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec

WORKERS = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "workers.py"
SDKS = Path(sys.prefix) / "sdks"


def until(found: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module", params=["1.11.0", "1.10.1"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, RunningPlatform, httpx2.Client]]:
    version: str = request.param
    folder = SDKS / version
    if not folder.is_dir():
        pytest.skip(f"runpod {version} is not installed at {folder}: `make test` puts it there")
    specs = [
        EndpointSpec(
            kind, (sys.executable, str(WORKERS), kind), {"PYTHONPATH": str(folder)}, idle_timeout_s=60
        )
        for kind in ("plain", "concurrent", "generator")
    ]
    with (
        start(specs) as platform,
        httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=60) as http,
    ):
        yield version, platform, http


def log_of(platform: RunningPlatform, name: str) -> str:
    return "".join(Path(each["path"]).read_text() for each in platform.logs() if each["endpoint"] == name)


def test_jobs_errors_and_progress(served: tuple[str, RunningPlatform, httpx2.Client]) -> None:
    version, platform, http = served
    body = http.post("/v2/plain/runsync", json={"input": {"a": 1}}).json()
    assert body["output"]["echo"] == {"a": 1}
    assert f"Version {version}" in log_of(platform, "plain")
    assert (
        "no such voice"
        in http.post("/v2/plain/runsync", json={"input": {"fail": "no such voice"}}).json()["error"]
    )
    job_id = http.post("/v2/plain/run", json={"input": {"progress": 0.5, "sleep_s": 1}}).json()["id"]
    until(lambda: http.get(f"/v2/plain/status/{job_id}").json().get("output") == 0.5)
    assert http.get(f"/v2/plain/status-sync/{job_id}").json()["status"] == "COMPLETED"


def test_cancel_reaches_the_worker(served: tuple[str, RunningPlatform, httpx2.Client]) -> None:
    _, platform, http = served
    job_id = http.post("/v2/concurrent/run", json={"input": {"sleep_s": 60}}).json()["id"]
    until(lambda: http.get(f"/v2/concurrent/status/{job_id}").json()["status"] == "IN_PROGRESS")
    http.post(f"/v2/concurrent/cancel/{job_id}")
    until(lambda: f"let go of {job_id}" in log_of(platform, "concurrent"))


def test_its_client_runs_and_streams(served: tuple[str, RunningPlatform, httpx2.Client]) -> None:
    version, platform, _ = served
    program = (
        "import json, runpod\n"
        f"echo = runpod.Endpoint('plain', api_key={platform.key!r})\n"
        f"numbers = runpod.Endpoint('generator', api_key={platform.key!r})\n"
        "print(json.dumps([runpod.__version__, echo.run_sync({'a': 1})['echo'],"
        " list(numbers.run({'count': 2}).stream())]))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(SDKS / version),
        "RUNPOD_ENDPOINT_BASE_URL": f"{platform.url}/v2",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [version, {"a": 1}, [{"number": 0}, {"number": 1}]]


def test_a_worker_started_by_somebody_else_serves_and_leaves(tmp_path: Path) -> None:
    """As a container would: the platform is told nothing, the environment alone points at it."""
    with start([EndpointSpec("ours")]) as platform:
        base = f"{platform.url}/v2/ours"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "RUNPOD_POD_ID": "container-1",
            "RUNPOD_AI_API_KEY": platform.key,
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=x",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=x",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=x",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }
        with (
            httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=60) as http,
            (tmp_path / "log").open("wb") as log,
        ):
            process = subprocess.Popen(
                [sys.executable, str(WORKERS), "plain"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                body = http.post("/v2/ours/runsync", json={"input": {"a": 1}}).json()
                assert (body["status"], body["workerId"]) == ("COMPLETED", "container-1")
                (worker,) = platform.status()["endpoints"][0]["workers"]
                assert (worker["external"], worker["pid"], worker["state"]) == (True, None, "idle")
                again = http.post("/v2/ours/runsync", json={"input": {"refresh": True}}).json()
                assert again["output"]["pid"] == process.pid
                assert http.post("/v2/ours/runsync", json={"input": {}}).json()["status"] == "COMPLETED"
            finally:
                os.killpg(process.pid, 9)
                process.wait()
