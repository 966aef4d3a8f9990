"""The main job when things go wrong: interrupted, cancelled, workers killed; nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanscribe import Client, Event, FanscribeError
from fanscribe.deploy.local import local_specs
from fanscribe.local.process import RunningPlatform, start
from fanscribe.pipeline.events import State

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.timeout(600)]

ENDPOINTS = """
[project]
name = "faults"

[endpoints.asr]
variant = "whisper-base"
idle_timeout_s = 1

[endpoints.speakers]
variant = "diarize-onnx"
idle_timeout_s = 1
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, private_state: Path) -> Iterator[RunningPlatform]:
    """A platform that is up, with endpoints from a file, whose workers idle out after a second."""
    file = tmp_path_factory.mktemp("deployment") / "endpoints.toml"
    file.write_text(ENDPOINTS)
    running = start(local_specs(file), detach=True)
    yield running
    running.stop()


@pytest.fixture
def client(platform: RunningPlatform) -> Iterator[Client]:
    """A client that finds the platform that is up."""
    with Client(platform="local") as client:
        yield client


def _workers(platform: RunningPlatform) -> list[dict[str, Any]]:
    return [worker for endpoint in platform.status()["endpoints"] for worker in endpoint["workers"]]


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.05)


def _marked(mark: str) -> list[psutil.Process]:
    """Processes that live on a folder: it stands in their environment or their command."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join([*process.cmdline(), *process.environ().values()])
            if mark in text and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_workers_go_to_zero_and_come_back_three_times(
    client: Client, platform: RunningPlatform, speech_dir: Path
) -> None:
    texts = set()
    for _ in range(3):
        texts.add(client.transcribe(speech_dir / "hotwords.mp3", diarize=True, cache=False).text)
        _until(lambda: not _workers(platform))
    assert len(texts) == 1


def test_a_killed_worker_costs_time_and_no_words(
    client: Client, platform: RunningPlatform, speech_dir: Path
) -> None:
    clean = client.transcribe(speech_dir / "two_cities.flac", language="en")
    handle = client.submit(speech_dir / "two_cities.flac", language="en", cache=False)
    killed = None
    for event in handle.progress():
        if killed is None and event.state is State.RUNNING:
            killed = next(worker["pid"] for worker in _workers(platform) if worker["jobs"])
            os.kill(killed, signal.SIGKILL)
    again = handle.result()
    assert killed is not None
    assert again.text == clean.text
    assert not again.gaps


def test_a_cancelled_job_stops_computing(client: Client, platform: RunningPlatform, speech_dir: Path) -> None:
    client.transcribe(speech_dir / "hotwords.mp3")  # loads the model
    handle = client.submit(speech_dir / "two_cities.flac")
    for event in handle.progress():
        if event.state is State.RUNNING:
            break
    busy = [psutil.Process(worker["pid"]) for worker in _workers(platform) if worker["jobs"]]
    assert busy

    def spent() -> list[float]:
        """Processor seconds of the workers that still run."""
        seconds = []
        for process in busy:
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds.append(sum(process.cpu_times()[:2]))
        return seconds

    before = sum(spent())
    handle.cancel()
    last = [before]

    def stopped() -> bool:
        """The workers are gone, or have computed nothing for half a second."""
        now = spent()
        if now:
            last.append(sum(now))
        return not now or (len(last) > 10 and last[-1] - last[-11] < 0.05)

    _until(stopped)
    # The work that was left takes several seconds on two threads; a second of each is allowed.
    assert max(last) - before < 2.5
    assert all(
        not endpoint["running"] and not endpoint["queued"] for endpoint in platform.status()["endpoints"]
    )


def test_a_deadline_ends_the_call_and_its_jobs(
    client: Client, platform: RunningPlatform, speech_dir: Path
) -> None:
    with pytest.raises(FanscribeError, match=r"not done within the deadline of 0\.3 s"):
        client.transcribe(speech_dir / "two_cities.flac", deadline_s=0.3)
    _until(lambda: all(not each["running"] and not each["queued"] for each in platform.status()["endpoints"]))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
@pytest.mark.parametrize("moment", ["reading audio", "worker starting", "running"])
def test_an_interrupted_command_leaves_nothing(
    tmp_path: Path, speech_dir: Path, sent: signal.Signals, moment: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "FANSCRIBE_STATE_DIR": str(tmp_path / "state")}
    command = [sys.executable, "-m", "fanscribe.cli", "transcribe", str(speech_dir / "two_cities.flac")]
    with subprocess.Popen(
        [*command, "--diarize", "--platform", "local"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                break
        process.send_signal(sent)
        rest = process.stderr.read()
        code = process.wait()
    assert code == (-signal.SIGKILL if sent is signal.SIGKILL else 130)
    if sent is not signal.SIGKILL:
        assert "interrupted" in rest
        assert "Traceback" not in rest
    _until(lambda: not _marked(str(scratch)), 30)
    left = [] if sent is signal.SIGKILL else list(scratch.iterdir())
    assert left == []


def test_an_interrupt_stops_the_jobs_of_a_platform_that_stays(
    platform: RunningPlatform, speech_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fanscribe.cli", "transcribe", str(speech_dir / "two_cities.flac")]
    with subprocess.Popen(
        [*command, "--platform", "local"], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        _until(lambda: any(each["running"] for each in platform.status()["endpoints"]))
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in told
    assert all(not each["queued"] and not each["running"] for each in platform.status()["endpoints"])
    _until(lambda: not _workers(platform), 30)


def test_two_commands_at_once_do_not_meet(tmp_path: Path, speech_dir: Path) -> None:
    environment = {**os.environ, "FANSCRIBE_STATE_DIR": str(tmp_path / "state")}
    command = [sys.executable, "-m", "fanscribe.cli", "transcribe", "--platform", "local", "-q"]
    running = [
        subprocess.Popen(
            [*command, str(speech_dir / name)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in ("jfk.flac", "hotwords.mp3")
    ]
    outputs = [each.communicate()[0] for each in running]
    assert [each.returncode for each in running] == [0, 0]
    assert "ask not what your country can do" in outputs[0]
    assert outputs[1].strip()


def test_progress_tells_the_way(client: Client, platform: RunningPlatform, speech_dir: Path) -> None:
    _until(lambda: not _workers(platform))
    events: list[Event] = []
    client.transcribe(speech_dir / "two_cities.flac", diarize=True, on_progress=events.append)
    states = [event.state for event in events if event.task == "transcribe-0"]
    order = [state for state in State if state in states]
    assert list(dict.fromkeys(states)) == order
    assert {State.SENDING, State.STARTING, State.RUNNING, State.DONE} <= set(states)
    shares = [
        event.share for event in events if event.task == "transcribe-0" and event.state is State.RUNNING
    ]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)
