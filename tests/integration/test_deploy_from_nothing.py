"""From nothing to a transcript and back, as a user types it: init, plan, deploy, smoke, transcribe, destroy.

Real commands, a real local platform, real engines; the docs' page on Runpod follows the same steps.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jiwer
import pytest
from tests import example_receiver
from whisper_normalizer.english import EnglishTextNormalizer

from fanscribe.local.process import find

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.slow, pytest.mark.timeout(600)]

JFK = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
PLANTED = "hf_plantedSecret0123456789"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A command in an empty folder, with a state folder and secrets of its own."""
    state = tmp_path / "state"
    environment = {
        **os.environ,
        "FANSCRIBE_STATE_DIR": str(state),
        "FANSCRIBE_RESULTS": "off",
        "FANSCRIBE_RECORDS": str(tmp_path / "runs.jsonl"),
        "RUNPOD_SECRET_hf_token": PLANTED,
        "HF_TOKEN": PLANTED,
        "RUNPOD_SECRET_notify": PLANTED,
    }
    for name in ("RUNPOD_API_KEY", "FANSCRIBE_ENDPOINTS", "FANSCRIBE_LOCAL_KEY"):
        environment.pop(name, None)
    folder = tmp_path / "calls"
    folder.mkdir()
    said: list[str] = []

    def command(*arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "fanscribe.cli", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(state))
    yield command
    if (platform := find()) is not None:
        platform.stop()
    assert not any(PLANTED in each for each in said), "a secret was shown"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Where notifications go, and the folder where they are kept."""
    folder = tmp_path / "events"
    folder.mkdir()
    with example_receiver.load().server(("127.0.0.1", 0), PLANTED.encode(), folder) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", folder
        listening.shutdown()
        thread.join()


def one_call(identity: str, recording: Path, **more: Any) -> dict[str, Any]:
    """A POST to the orchestrator, as a caller with nothing but HTTP sends it."""
    platform = find()
    assert platform is not None
    audio = f"data:audio/flac;base64,{base64.b64encode(recording.read_bytes()).decode()}"
    answer = httpx2.post(
        f"{platform.url}/v2/{identity}/runsync?wait=200000",
        json={"input": {"audio": audio, **more}},
        headers={"Authorization": f"Bearer {platform.key}"},
        timeout=210,
        trust_env=False,
    )
    job: dict[str, Any] = answer.raise_for_status().json()
    assert job["status"] == "COMPLETED", job
    output: dict[str, Any] = job["output"]
    return output


def test_from_nothing_to_a_transcript_and_back(
    run: Run, tmp_path: Path, speech_dir: Path, receiver: tuple[str, Path]
) -> None:
    run("init", "--registry", "registry.invalid/acme")
    file = tmp_path / "calls" / "endpoints.toml"
    file.write_text(
        file.read_text()
        .replace('variant = "whisper-base"', 'variant = "whisper-base"\nsecrets = { HF_TOKEN = "hf_token" }')
        .replace(
            '{ RUNPOD_API_KEY = "fanscribe_api_key" }',
            '{ RUNPOD_API_KEY = "fanscribe_api_key", FANSCRIBE_NOTIFY_SECRET = "notify" }\n'
            f'env = {{ FANSCRIBE_NOTIFY_ORIGINS = "{receiver[0]}" }}',
        )
    )
    refused = run("plan", "--platform", "local", code=1)
    assert "no local platform is up; start one: fanscribe local up --managed" in refused.stderr
    run("local", "up", "--managed", "--detach", "--port", "0")
    local = ("--platform", "local")

    first = json.loads(run("plan", *local, "--json", code=2).stdout)
    assert [(each["endpoint"], each["action"]) for each in first["endpoints"]] == [
        ("whisper-base", "create"),
        ("diarize", "create"),
        ("orchestrator", "create"),
    ]
    asked = run("deploy", *local, code=2)
    assert "nobody is there to confirm: add --yes" in asked.stderr
    deployed = run("deploy", *local, "--yes").stdout
    assert "whisper-base: live: version 1, no workers" in deployed
    assert "nothing to change" in run("plan", *local).stdout
    assert run("deploy", *local).stdout.splitlines()[-1] == "nothing to change"

    smoked = run("smoke", *local).stdout
    assert "whisper-base: ok after" in smoked
    assert "diarize: ok after" in smoked
    assert "pipeline: ok after" in smoked
    assert "orchestrator: ok after" in smoked
    seen = json.loads(run("status", *local, "--json").stdout)
    assert {each["endpoint"]: sum(each["workers"].values()) for each in seen} == {
        "diarize": 1,
        "orchestrator": 1,
        "whisper-base": 1,
    }
    assert "Started." in run("logs", "whisper-base", *local).stdout
    (orchestrator,) = [each["id"] for each in seen if each["endpoint"] == "orchestrator"]

    file.write_text(
        file.read_text()
        .replace('# tag = "0.1.0"', 'tag = "2"     ')
        .replace('worker\n# cpu = ["cpu3c-4"]', 'worker\ncpu = ["cpu3c-4"]', 1)
        .replace("workers = { min = 0, max = 1 }", "workers = { min = 1, max = 1 }", 1)
    )
    rolled = run("deploy", *local, "--yes").stdout
    assert "diarize: live: version 2, 1 of 1 workers on it, 1 ready" in rolled
    assert "whisper-base: live: version 2" in rolled
    assert "nothing to change" in run("plan", *local).stdout

    normalise = EnglishTextNormalizer()
    notify = {"url": f"{receiver[0]}/calls", "events": ["started", "completed"]}
    answer = one_call(orchestrator, speech_dir / "jfk.flac", diarize=True, notify=notify)
    assert jiwer.wer(normalise(JFK), normalise(answer["text"])) == 0
    assert answer["speakers"] == ["SPEAKER_00"]
    assert not any("notification" in each for each in answer["warnings"])
    events = {
        each["event"]: each for each in (json.loads(file.read_bytes()) for file in receiver[1].iterdir())
    }
    assert set(events) == {"started", "completed"}
    assert events["completed"]["output"]["text"] == answer["text"]
    assert "Started." in run("logs", "orchestrator", *local).stdout

    spoken = run("transcribe", str(speech_dir / "jfk.flac"), *local, "--diarize", "--format", "native").stdout
    transcript = json.loads(spoken)
    assert jiwer.wer(normalise(JFK), normalise(transcript["text"])) == 0
    assert {each["stage"] for each in transcript["tasks"]} == {"transcribe", "diarize"}
    (tmp_path / "calls" / "jfk.json").write_text(spoken)
    figures = json.loads(run("stats", "jfk.json", "--json").stdout)
    assert sum(each["tasks"] for each in figures) == len(transcript["tasks"])

    gone = run("destroy", *local, "--yes").stdout
    assert "whisper-base: deleted" in gone
    assert "nothing is deployed" in run("status", *local).stdout
    run("plan", *local, code=2)
    run("local", "down")
