"""The platform as a process with worker processes: scaling, memory, and that nothing outlives it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import pytest

from fanscribe.local.memory import Limits
from fanscribe.local.process import PlatformError, PortInUseError, RunningPlatform, find, one_at_a_time, start
from fanscribe.local.server import Settings, serve
from fanscribe.local.spec import MIB, EndpointSpec
from fanscribe.local.sweep import sweep

SMALL = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "small.py"


@pytest.fixture
def tag() -> Iterator[str]:
    """A mark in the environment of every worker of a test; at its end no process may carry it."""
    value = uuid4().hex
    yield value
    left = carrying(value)
    for process in left:
        process.kill()
    assert not left


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


def carrying(tag: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TEST_TAG") == tag:
                found.append(process)
    return found


def spec(tag: str, name: str = "small", **options: Any) -> EndpointSpec:
    options = {"ram_bytes": 100 * MIB, "idle_timeout_s": 60.0, **options}
    return EndpointSpec(name, (sys.executable, str(SMALL)), {"TEST_TAG": tag}, **options)


def until(found: Callable[[], Any], limit_s: float = 15.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


def client(platform: RunningPlatform) -> httpx2.Client:
    return httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=60)


def ran(http: httpx2.Client, asked: Any = None, name: str = "small") -> dict[str, Any]:
    body: dict[str, Any] = http.post(f"/v2/{name}/runsync", json={"input": asked or {}}).json()
    return body


def submit(http: httpx2.Client, asked: Any = None, name: str = "small") -> str:
    job_id: str = http.post(f"/v2/{name}/run", json={"input": asked or {}}).json()["id"]
    return job_id


def workers(platform: RunningPlatform, name: str = "small") -> list[dict[str, Any]]:
    (found,) = [each for each in platform.status()["endpoints"] if each["name"] == name]
    listed: list[dict[str, Any]] = found["workers"]
    return listed


def test_from_zero_to_zero_three_times(tag: str) -> None:
    with start([spec(tag, idle_timeout_s=0.3)]) as platform, client(platform) as http:
        pids = set()
        for _ in range(3):
            assert workers(platform) == []
            pids.add(ran(http)["output"]["pid"])
            until(lambda: workers(platform) == [])
            assert not carrying(tag)
        assert len(pids) == 3


def test_waiting_jobs_add_workers_up_to_the_maximum(tag: str) -> None:
    spread = spec(tag, max_workers=3, scaler="REQUEST_COUNT", scaler_value=1)
    with start([spread]) as platform, client(platform) as http:
        ids = [submit(http, {"sleep_s": 1.5}) for _ in range(5)]
        until(lambda: len(workers(platform)) == 3)
        done = [http.get(f"/v2/small/status-sync/{job_id}").json() for job_id in ids]
        assert {body["status"] for body in done} == {"COMPLETED"}
        assert len({body["output"]["pid"] for body in done}) == 3


def test_a_job_that_waits_too_long_adds_a_worker(tag: str) -> None:
    with start([spec(tag, max_workers=2, scaler_value=0.5)]) as platform, client(platform) as http:
        ran(http)
        slow, second = submit(http, {"sleep_s": 4}), submit(http)
        assert len(workers(platform)) == 1
        assert http.get(f"/v2/small/status-sync/{second}").json()["status"] == "COMPLETED"
        assert http.get(f"/v2/small/status/{slow}").json()["status"] == "IN_PROGRESS"
        assert len(workers(platform)) == 2


def test_an_idle_worker_makes_room_for_another_endpoint(tag: str) -> None:
    specs = [spec(tag, "first", ram_bytes=300 * MIB), spec(tag, "second", ram_bytes=300 * MIB)]
    with start(specs, ram_limit_bytes=500 * MIB) as platform, client(platform) as http:
        ran(http, name="first")
        assert ran(http, name="second")["status"] == "COMPLETED"
        assert workers(platform, "first") == []
        slow = submit(http, {"sleep_s": 1}, "second")
        assert ran(http, name="first")["status"] == "COMPLETED"
        assert http.get(f"/v2/second/status/{slow}").json()["status"] == "COMPLETED"


def test_a_killed_workers_job_runs_again_on_another(tag: str) -> None:
    with start([spec(tag)]) as platform, client(platform) as http:
        job_id = submit(http, {"sleep_s": 1})
        worker = until(lambda: [each for each in workers(platform) if each["jobs"]])[0]
        os.kill(worker["pid"], signal.SIGKILL)
        body = http.get(f"/v2/small/status-sync/{job_id}").json()
        assert (body["status"], body["retries"]) == ("COMPLETED", 1)
        assert body["output"]["pid"] != worker["pid"]
        # The group went with its leader, the child that outlives it included.
        assert {each.pid for each in carrying(tag) if each.ppid() != platform.pid} <= {
            child.pid for child in psutil.Process(body["output"]["pid"]).children()
        }


def test_a_worker_that_takes_far_more_memory_than_it_said_is_ended(tag: str) -> None:
    with start([spec(tag)]) as platform, client(platform) as http:
        body = ran(http, {"hold_mib": 500, "sleep_s": 30})
        assert body["status"] == "FAILED"
        assert "the spec of small says 100 MiB" in body["error"]
        assert ran(http)["status"] == "COMPLETED"


def test_faults_from_a_file_delay_starts_and_kill_workers(tag: str, tmp_path: Path) -> None:
    rules = [
        {"kind": "cold_start", "seconds": 0.8, "times": 1},
        {"kind": "kill_worker", "seconds": 0.1, "times": 1},
    ]
    (tmp_path / "faults.json").write_text(json.dumps(rules))
    (tmp_path / "specs.json").write_text(json.dumps([spec(tag).to_json()]))
    command = [sys.executable, "-m", "fanscribe.local", "--specs", str(tmp_path / "specs.json")]
    command += ["--faults", str(tmp_path / "faults.json"), "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        platform = RunningPlatform(said["url"], "any", said["pid"])
        with client(platform) as http:
            body = ran(http, {"sleep_s": 0.5})
            assert (body["status"], body["retries"]) == ("COMPLETED", 1)
            assert body["delayTime"] > 800
            assert [rule["hits"] for rule in platform.status()["faults"]] == [1, 1]
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0


def test_each_worker_has_a_home_of_its_own_and_its_log_is_kept(tag: str, tmp_path: Path) -> None:
    with start([spec(tag)], data_dir=tmp_path / "data") as platform, client(platform) as http:
        home = ran(http)["output"]["home"]
        assert home.startswith(str(tmp_path / "data"))
        assert home != os.environ.get("HOME")
        (log,) = platform.logs()
        assert log["endpoint"] == "small"
    assert Path(log["path"]).is_file()
    assert not Path(home).exists()


def test_jobs_outlive_the_platform_where_it_keeps_its_folder(tag: str, tmp_path: Path) -> None:
    with start([spec(tag, max_workers=0)], data_dir=tmp_path / "data") as platform, client(platform) as http:
        job_id = submit(http, {"a": 1})
    with start([spec(tag)], data_dir=tmp_path / "data") as platform, client(platform) as http:
        assert http.get(f"/v2/small/status-sync/{job_id}").json()["status"] == "COMPLETED"


def test_no_job_is_accepted_and_lost_while_the_platform_stops(tag: str, tmp_path: Path) -> None:
    accepted: list[str] = []
    stopped = threading.Event()

    def submit_until_refused() -> None:
        with client(platform) as http, contextlib.suppress(httpx2.TransportError):
            while not stopped.is_set():
                answer = http.post("/v2/small/run", json={"input": {}})
                if answer.status_code == 503:
                    return
                accepted.append(answer.json()["id"])

    endpoint = spec(tag, max_workers=1, min_workers=1)
    with start([endpoint], data_dir=tmp_path / "data", rate_limits=False) as platform:
        callers = [threading.Thread(target=submit_until_refused) for _ in range(4)]
        for caller in callers:
            caller.start()
        until(lambda: len(accepted) > 50)
        platform.stop()
        stopped.set()
        for caller in callers:
            caller.join()
    with start([spec(tag, max_workers=0)], data_dir=tmp_path / "data") as platform, client(platform) as http:
        assert [job_id for job_id in accepted if http.get(f"/v2/small/status/{job_id}").is_error] == []


def test_jobs_outlive_a_platform_that_is_stopped_while_it_is_away(tag: str, tmp_path: Path) -> None:
    kept = spec(tag, max_workers=0)
    with start([kept], data_dir=tmp_path / "data") as platform, client(platform) as http:
        http.put("/local/faults", json=[{"kind": "restart", "seconds": 60, "times": 1}])
        job_id = submit(http)
        assert http.get(f"/v2/small/status/{job_id}").status_code == 502
    with start([kept], data_dir=tmp_path / "data") as platform, client(platform) as http:
        assert http.get(f"/v2/small/status/{job_id}").json()["status"] == "IN_QUEUE"


@pytest.mark.parametrize("junk", ["[]", "{", '{"small": [1]}', '{"small": [{"id": "a"}]}'])
def test_a_journal_that_is_junk_is_named_and_does_not_stop_the_start(
    tag: str, tmp_path: Path, junk: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "journal.json").write_text(junk)
    with start([spec(tag)], data_dir=tmp_path / "data", show_log=True) as platform:
        assert platform.status()["endpoints"][0]["queued"] == 0
    assert "journal.json is not a journal of this program" in capfd.readouterr().err


def test_the_log_does_not_show_what_a_webhooks_url_carries(
    tag: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with start([spec(tag)], show_log=True, log_level="info") as platform, client(platform) as http:
        webhook = f"{platform.url}/ping?token=open-sesame"
        asked = {"input": {}, "webhook": webhook}
        job_id = http.post("/v2/small/run", json=asked).json()["id"]
        assert http.post(f"/v2/small/cancel/{job_id}").json()["status"] == "CANCELLED"
        # A webhook answered with another code than 200 is sent again ten seconds later: the first is enough.
        time.sleep(0.5)
    assert "open-sesame" not in capfd.readouterr().err


def test_what_goes_wrong_when_it_is_ready_is_told_as_it_is() -> None:
    def ready(url: str, logs: Path) -> None:
        raise BrokenPipeError("nobody reads")

    async def run() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            await serve(Settings([EndpointSpec("e")], Limits(1024 * MIB)), bound, ready, asyncio.Event())

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        asyncio.run(run())


def test_nothing_is_left_after_twenty_times_up_and_down(tag: str, tmp_path: Path) -> None:
    for _ in range(20):
        with start([spec(tag, min_workers=1)]) as platform:
            until(lambda platform=platform: carrying(tag))  # type: ignore[misc]
            pid = platform.pid
        assert not carrying(tag)
        assert not psutil.pid_exists(pid)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_killed_platform_takes_its_workers_with_it(tag: str, tmp_path: Path) -> None:
    platform = start([spec(tag, min_workers=2, max_workers=2)])
    until(lambda: len(carrying(tag)) == 4)
    os.kill(platform.pid, signal.SIGKILL)
    until(lambda: not carrying(tag))
    until(lambda: not list((tmp_path / "tmp").iterdir()))
    platform.stop()


@pytest.mark.parametrize("killed", [True, False])
def test_a_child_that_left_its_workers_group_goes_too(tag: str, killed: bool) -> None:
    escaping = EndpointSpec(
        "e", (sys.executable, str(SMALL)), {"TEST_TAG": tag, "TEST_ESCAPE": "1"}, min_workers=1
    )
    platform = start([escaping])
    until(lambda: len(carrying(tag)) == 3)
    if killed:
        os.kill(platform.pid, signal.SIGKILL)
        until(lambda: not carrying(tag))
    platform.stop()
    assert not carrying(tag)


def test_a_killed_parent_takes_the_platform_with_it(tag: str) -> None:
    program = (
        "import sys, time\n"
        "from fanscribe.local.process import start\n"
        "from fanscribe.local.spec import EndpointSpec\n"
        f"p = start([EndpointSpec('e', (sys.executable, {str(SMALL)!r}), {{'TEST_TAG': {tag!r}}}, min_workers=1)])\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: carrying(tag))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not carrying(tag))
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_even_the_reaper_could_not_end_goes_at_the_next_start(tag: str, tmp_path: Path) -> None:
    platform = start([spec(tag, min_workers=1)])
    until(lambda: len(carrying(tag)) == 2)
    reapers = [
        each for each in psutil.Process(platform.pid).children() if "reaper.py" in " ".join(each.cmdline())
    ]
    for process in [*reapers, psutil.Process(platform.pid)]:
        process.kill()
    platform.stop()
    assert carrying(tag), (
        "a worker that notices that its platform is gone may end by itself, but not all of them do"
    )
    with start([spec(tag)]):
        until(lambda: not carrying(tag))
        until(lambda: len(list((tmp_path / "tmp").iterdir())) == 1)
    assert sweep(tmp_path / "tmp") == 0


def test_a_detached_platform_is_found_and_stopped(tag: str, tmp_path: Path) -> None:
    assert find() is None
    started = start([spec(tag, min_workers=1)], detach=True)
    try:
        state = tmp_path / "state" / "local.json"
        assert state.stat().st_mode & 0o777 == 0o600
        found = find()
        assert found is not None
        assert (found.url, found.pid) == (started.url, started.pid)
        until(lambda: carrying(tag))
        found.stop()
        assert find() is None
        assert not state.exists()
    finally:
        started.stop()


@pytest.mark.parametrize(("given", "expected"), [(None, "of-the-environment"), ("given", "given")])
def test_the_key_of_the_environment_is_taken_noted_and_not_handed_on(
    tag: str, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.setenv("FANSCRIBE_LOCAL_KEY", "of-the-environment")
    started = start([spec(tag, min_workers=1)], detach=True, key=given)
    try:
        found = find()
        assert found is not None
        assert found.key == expected
        (worker,) = until(lambda: [each for each in workers(found) if each["pid"]])
        environment = until(lambda: psutil.Process(worker["pid"]).environ())
        assert environment["RUNPOD_AI_API_KEY"] == expected
        assert "FANSCRIBE_LOCAL_KEY" not in environment
        found.stop()
        assert find() is None
    finally:
        started.stop()


def test_ctrl_c_before_the_state_file_leaves_no_platform(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunningPlatform] = []

    def interrupted(platform: RunningPlatform) -> Path:
        seen.append(platform)
        until(lambda: carrying(tag))
        raise KeyboardInterrupt

    monkeypatch.setattr("fanscribe.local.process.write_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start([spec(tag, min_workers=1)], detach=True)
    assert not psutil.pid_exists(seen[0].pid)
    until(lambda: not carrying(tag))


def test_a_state_folder_that_cannot_be_written_is_said_so(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(PlatformError, match="FANSCRIBE_STATE_DIR"):
        start([spec(tag)], detach=True)
    with pytest.raises(PlatformError, match="FANSCRIBE_STATE_DIR"), one_at_a_time():
        pass


def test_a_stale_state_file_is_removed(tmp_path: Path) -> None:
    started = start([EndpointSpec("e")], detach=True)
    os.kill(started.pid, signal.SIGKILL)
    until(lambda: find() is None and not (tmp_path / "state" / "local.json").exists())


def test_files_of_the_current_folder_do_not_stand_in_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psutil.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    with start([EndpointSpec("e")]) as platform:
        assert platform.status()["pid"] == platform.pid


def test_a_port_in_use_is_said_so() -> None:
    with start([EndpointSpec("e")]) as platform:
        port = int(platform.url.rpartition(":")[2])
        with pytest.raises(PortInUseError, match=f"port {port} is in use"):
            start([EndpointSpec("e")], port=port)


def test_a_spec_that_never_fits_is_refused_at_once(tag: str) -> None:
    with pytest.raises(PlatformError, match="raise --ram-limit"):
        start([spec(tag)], ram_limit_bytes=50 * MIB)


def test_a_command_that_does_not_exist_fails_its_jobs() -> None:
    with (
        start([EndpointSpec("e", ("/no/such/program",), crash_limit=1)]) as platform,
        client(platform) as http,
    ):
        body = ran(http, name="e")
        assert body["status"] == "FAILED"
        assert "cannot start /no/such/program: No such file or directory" in body["error"]


def test_the_command_serves_a_handler_by_option_and_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fanscribe.local"]
    for options, word in (
        ([], "no endpoints"),
        (["--endpoint", "x"], "NAME='COMMAND'"),
        (["--endpoint", "x=y", "--host", "0.0.0.0"], "FANSCRIBE_LOCAL_KEY"),
        (["--specs", str(tmp_path / "none.json")], "none.json"),
        (["--endpoint", "x=y", "--ram-limit", "1M"], "ram-limit"),
    ):
        ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=20, check=False)
        assert ended.returncode == 2
        assert word in ended.stderr
        assert "Traceback" not in ended.stderr


def test_beyond_loopback_the_key_is_needed_and_reaches_workers_but_no_log(tag: str, tmp_path: Path) -> None:
    (tmp_path / "specs.json").write_text(json.dumps([spec(tag).to_json()]))
    command = [sys.executable, "-m", "fanscribe.local", "--specs", str(tmp_path / "specs.json")]
    command += ["--host", "0.0.0.0", "--data-dir", str(tmp_path / "data"), "--log-level", "debug"]
    environment = {**os.environ, "FANSCRIBE_LOCAL_KEY": "open-sesame"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert httpx2.get(f"{url}/v2/small/health", headers={"Authorization": "other"}).status_code == 401
        answer = httpx2.post(
            f"{url}/v2/small/runsync",
            json={"input": {}},
            headers={"Authorization": "open-sesame", "Host": "my-machine"},
            timeout=30,
        )
        assert answer.json()["status"] == "COMPLETED"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    written = [path for path in [tmp_path / "log", *(tmp_path / "data").rglob("*")] if path.is_file()]
    assert len(written) > 1
    assert not [path for path in written if b"open-sesame" in path.read_bytes()]
