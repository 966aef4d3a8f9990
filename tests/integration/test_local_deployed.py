"""Endpoints made by the management API run real workers, and change under them."""

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from fanscribe.local.images import ImageRule
from fanscribe.local.process import PlatformError, RunningPlatform, find, start
from fanscribe.local.spec import MIB
from fanscribe_handlers.simulated.recording import CodedRecording, text_of

SMALL = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "small.py"
ECHO = ImageRule("reg/echo:*", (sys.executable, str(SMALL)), ram_bytes=100 * MIB)
NEW: dict[str, Any] = {
    "name": "words",
    "type": "QUEUE",
    "image": "reg/echo:1",
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
    "gpu": {"pools": ["ADA_24"]},
}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


class Caller:
    """Calls a platform as a deploy tool and as a client."""

    def __init__(self, platform: RunningPlatform) -> None:
        headers = {"Authorization": f"Bearer {platform.key}"}
        self.http = httpx2.Client(base_url=platform.url, headers=headers, timeout=40)

    def create(self, **fields: Any) -> str:
        answer = self.http.post("/v2/serverless", json={**NEW, **fields})
        assert answer.status_code == 201, answer.text
        made: str = answer.json()["id"]
        return made

    def patch(self, endpoint: str, **fields: Any) -> None:
        answer = self.http.patch(f"/v2/serverless/{endpoint}", json=fields)
        assert answer.status_code == 200, answer.text

    def look(self, endpoint: str, what: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.http.get(f"/v2/serverless/{endpoint}/{what}").json()
        return shown

    def submit(self, endpoint: str, **asked: Any) -> str:
        job: str = self.http.post(f"/v2/{endpoint}/run", json={"input": asked}).json()["id"]
        return job

    def status(self, endpoint: str, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.http.get(f"/v2/{endpoint}/status/{job}").json()
        return shown

    def ended(self, endpoint: str, job: str, limit_s: float = 30.0) -> dict[str, Any]:
        ended: dict[str, Any] = until(
            lambda: (
                (said := self.status(endpoint, job))["status"] not in ("IN_QUEUE", "IN_PROGRESS") and said
            ),
            limit_s,
        )
        return ended


def until(found: Callable[[], Any], limit_s: float = 15.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


Connect = Callable[[RunningPlatform], Caller]


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as clients:

        def connected(platform: RunningPlatform) -> Caller:
            caller = Caller(platform)
            clients.callback(caller.http.close)
            return caller

        yield connected


@pytest.fixture
def caller(connect: Connect) -> Iterator[Caller]:
    with start(images=[ECHO]) as platform:
        yield connect(platform)


def test_a_new_release_takes_over_while_the_job_in_flight_finishes(caller: Caller) -> None:
    endpoint = caller.create(workers={"max": 2})
    flying = caller.submit(endpoint, sleep_s=1.5)
    until(lambda: caller.status(endpoint, flying)["status"] == "IN_PROGRESS")
    caller.patch(endpoint, image="reg/echo:2", env={"B": "2"})
    rollout = caller.look(endpoint, "releases")["rollout"]
    assert (rollout["inProgress"], rollout["workersOnLatest"]) == (True, 0)
    after = caller.ended(endpoint, caller.submit(endpoint))
    assert caller.status(endpoint, flying)["status"] == "IN_PROGRESS"
    workers = {each["id"]: each for each in caller.look(endpoint, "workers")["workers"]}
    assert (workers[after["workerId"]]["version"], workers[after["workerId"]]["image"]) == (2, "reg/echo:2")
    done = caller.ended(endpoint, flying)
    assert (done["status"], done.get("retries")) == ("COMPLETED", None)
    assert done["workerId"] != after["workerId"]
    until(lambda: not caller.look(endpoint, "releases")["rollout"]["inProgress"])
    assert caller.look(endpoint, "releases")["rollout"]["percentOnLatest"] == 100


def test_workers_come_and_go_with_the_settings(caller: Caller) -> None:
    endpoint = caller.create(workers={"min": 2})

    def total() -> int:
        shown: int = caller.look(endpoint, "workers")["summary"]["idle"]
        return shown

    until(lambda: total() == 2)
    caller.patch(endpoint, workers={"min": 0, "max": 1})
    until(lambda: total() == 1)
    caller.patch(endpoint, workers={"idleTimeout": 1})
    until(lambda: total() == 0)
    caller.patch(endpoint, timeout=5000)
    job = caller.http.post(f"/v2/{endpoint}/runsync", json={"input": {"sleep_s": 60}})
    assert job.json()["status"] == "TIMED_OUT"
    assert caller.look(endpoint, "releases")["endpointVersion"] == 1


def test_an_endpoint_drains_before_it_is_deleted(caller: Caller) -> None:
    endpoint = caller.create(workers={"max": 1})
    flying, waiting = caller.submit(endpoint, sleep_s=1), caller.submit(endpoint)
    until(lambda: caller.status(endpoint, flying)["status"] == "IN_PROGRESS")
    caller.patch(endpoint, workers={"max": 0})
    assert caller.ended(endpoint, flying)["status"] == "COMPLETED"
    until(lambda: caller.look(endpoint, "workers")["summary"]["total"] == 0)
    assert caller.status(endpoint, waiting)["status"] == "IN_QUEUE"
    assert caller.http.delete(f"/v2/serverless/{endpoint}").status_code == 204
    assert caller.http.get(f"/v2/{endpoint}/status/{waiting}").status_code == 404
    assert caller.http.post(f"/v2/{endpoint}/run", json={"input": {}}).status_code == 404


def test_whoever_waits_for_a_job_of_a_deleted_endpoint_is_told_and_its_workers_end(caller: Caller) -> None:
    endpoint = caller.create(workers={"max": 1})
    with ThreadPoolExecutor(1) as threads:
        url, asked = f"/v2/{endpoint}/runsync", {"input": {"sleep_s": 60}}
        answer = threads.submit(caller.http.post, url, json=asked)
        until(lambda: caller.http.get(f"/v2/{endpoint}/health").json()["jobs"]["inProgress"])
        pid = caller.http.get("/local/status").json()["endpoints"][0]["workers"][0]["pid"]
        caller.patch(endpoint, workers={"max": 0})
        assert caller.http.delete(f"/v2/serverless/{endpoint}").status_code == 204
        told = answer.result(10)
    assert (told.status_code, "was deleted" in told.json()["error"]) == (404, True)
    until(lambda: caller.http.get("/local/status").json()["memory"]["ram_reserved"] == 0)
    assert not psutil.pid_exists(pid)


def test_an_image_that_cannot_be_pulled_leaves_jobs_waiting_until_there_is_one(caller: Caller) -> None:
    endpoint = caller.create(image="reg/missing:1")
    job = caller.submit(endpoint)
    workers = caller.look(endpoint, "workers")
    assert [each["status"] for each in workers["workers"]] == ["UNHEALTHY"]
    assert caller.http.get(f"/v2/{endpoint}/health").json()["workers"]["unhealthy"] == 1
    (shown,) = caller.http.get("/local/status").json()["endpoints"]
    assert "image reg/missing:1 cannot be pulled" in shown["fault"]
    assert caller.status(endpoint, job)["status"] == "IN_QUEUE"
    caller.patch(endpoint, image="reg/echo:1")
    assert caller.ended(endpoint, job)["status"] == "COMPLETED"


def test_an_endpoint_that_never_fits_waits_for_the_memory_of_one_that_goes(connect: Connect) -> None:
    with start(images=[ECHO], ram_limit_bytes=150 * MIB) as platform:
        caller = connect(platform)
        first = caller.create(workers={"min": 1})
        second = caller.create()
        job = caller.submit(second)
        shown = {each["name"]: each for each in caller.http.get("/local/status").json()["endpoints"]}
        assert "beside the minimum of" in shown[second]["fault"]
        caller.patch(first, workers={"min": 0, "max": 0})
        caller.http.delete(f"/v2/serverless/{first}")
        assert caller.ended(second, job)["status"] == "COMPLETED"


def shown(caller: Caller, platform: RunningPlatform, path: str) -> Any:
    """A list of the account, without the address, which is new with each start."""
    return json.loads(caller.http.get(f"/v2/{path}").text.replace(platform.url, ""))


def test_an_account_and_its_jobs_outlive_the_platform_where_it_keeps_its_folder(
    tmp_path: Path, connect: Connect
) -> None:
    folder, secrets = tmp_path / "data", {"hf": "sesame-open-7c1d"}
    with start(images=[ECHO], data_dir=folder, secrets=secrets) as platform:
        caller = connect(platform)
        endpoint = caller.create(
            image="reg/missing:1", env={"TOKEN": "{{ RUNPOD_SECRET_hf }}"}, workers={"max": 2}
        )
        caller.patch(endpoint, image="reg/echo:1", workers={"max": 0})
        job = caller.submit(endpoint)
        volume = {"name": "v", "size": 10, "dataCenter": "EU-RO-1"}
        caller.http.post("/v2/network-volumes", json=volume)
        login = {"name": "r", "username": "u", "password": "hunter2-hunter2"}
        caller.http.post("/v2/registries", json=login)
        paths = ("serverless", "templates", "network-volumes", "registries")
        before = {path: shown(caller, platform, path) for path in paths}
        releases = caller.look(endpoint, "releases")
    kept = (folder / "account.json").read_text()
    assert "sesame" not in kept
    assert "hunter2" not in kept
    with start(images=[ECHO], data_dir=folder, secrets=secrets) as platform:
        caller = connect(platform)
        assert {path: shown(caller, platform, path) for path in before} == before
        assert caller.look(endpoint, "releases") == releases
        caller.patch(endpoint, workers={"max": 1})
        assert caller.ended(endpoint, job)["status"] == "COMPLETED"
    (folder / "account.json").write_text("{}x")
    with pytest.raises(PlatformError, match="is not an account of this program"):
        start(images=[ECHO], data_dir=folder)


def test_a_platform_that_restarts_keeps_endpoints_and_jobs(caller: Caller) -> None:
    endpoint = caller.create(workers={"max": 1})
    caller.http.put("/local/faults", json=[{"kind": "restart", "seconds": 0.3, "times": 1}])
    caller.http.post(f"/v2/{endpoint}/run", json={"input": {}})
    assert caller.http.get("/v2/serverless").status_code == 502
    until(lambda: caller.http.get("/v2/serverless").status_code == 200)
    until(lambda: caller.http.get(f"/v2/{endpoint}/health").json()["jobs"]["completed"] == 1)


def test_only_a_platform_with_a_key_creates_endpoints_that_run(tmp_path: Path) -> None:
    rules = tmp_path / "images.json"
    rules.write_text(json.dumps([ECHO.to_json()]))
    command = [sys.executable, "-m", "fanscribe.local", "--images", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "needs a key: set FANSCRIBE_LOCAL_KEY" in done.stderr) == (2, True)
    platform = start(images=[ECHO], detach=True)
    try:
        found = find()
        assert found is not None
        assert (found.key, len(found.key) > 20) == (platform.key, True)
        assert httpx2.get(f"{platform.url}/v2/serverless", headers={"Authorization": "x"}).status_code == 401
    finally:
        platform.stop()


def test_from_the_command_line(tmp_path: Path, connect: Connect) -> None:
    rules, secrets = tmp_path / "images.json", tmp_path / "secrets.json"
    rules.write_text(json.dumps([ECHO.to_json()]))
    secrets.write_text(json.dumps({"hf": "sesame-open-7c1d"}))
    command = [sys.executable, "-m", "fanscribe.local", "--images", str(rules), "--secrets", str(secrets)]
    process = subprocess.Popen(
        [*command, "--worker-limit", "3"],
        env={**os.environ, "FANSCRIBE_LOCAL_KEY": "key"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        caller = connect(RunningPlatform(url, "key", process.pid))
        endpoint = caller.create(env={"TOKEN": "{{ RUNPOD_SECRET_hf }}"})
        assert caller.ended(endpoint, caller.submit(endpoint))["status"] == "COMPLETED"
        assert caller.http.post("/v2/serverless", json=NEW).status_code == 400
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "sesame" not in said


def test_the_real_handler_runs_as_the_templates_environment_says(connect: Connect) -> None:
    """The image stands for a family; which variant a worker loads is in the environment, as on Runpod."""
    rule = ImageRule(
        "*/fanscribe-simulated[:@]*",
        (sys.executable, "-P", "-m", "fanscribe_handlers.simulated"),
        when={"FANSCRIBE_VARIANT": "simulated-transcribe"},
    )
    piece = io.BytesIO()
    CodedRecording(8, first_word=4).write_flac(piece)
    audio = "data:audio/flac;base64," + base64.b64encode(piece.getvalue()).decode()
    with start(images=[rule]) as platform:
        caller = connect(platform)
        endpoint = caller.create(
            image="ghcr.io/me/fanscribe-simulated:0.2", env={"FANSCRIBE_VARIANT": "simulated-transcribe"}
        )
        done = caller.ended(endpoint, caller.submit(endpoint, audio=audio), 60)
        assert done["status"] == "COMPLETED", done
        assert done["output"]["variant"] == "simulated-transcribe"
        assert done["output"]["text"].split() == [text_of(index) for index in range(4, 12)]
