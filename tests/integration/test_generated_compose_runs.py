"""What the generated compose file starts, started here as processes: its platform, its workers, and a client's run."""

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from fanscribe.client import AsyncClient
from fanscribe.generate.compose import URL, compose
from fanscribe.generate.workers import read_deployment
from fanscribe.local.external import wait_until_up
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.simulated.recording import CodedRecording

KEY = "a-key-of-our-own"

FILE = """
[project]
name = "coded"
variants = ["variants"]
[endpoints.words]
variant = "coded-words"
cpu = ["cpu3c-2"]
workers = { min = 0, max = 2 }
[orchestrator]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = read_variant({"FANSCRIBE_VARIANT": "simulated-transcribe"}, "simulated").model_dump(mode="json")
    data["id"], data["aliases"], data["hardware"]["cpu"] = "coded-words", [], True
    data["performance"]["load_s"]["value"] = 0.1
    data["performance"]["rtf"]["cpu_2"]["value"] = 0.005
    folder = tmp_path / "variants"
    folder.mkdir()
    (folder / "coded-words.yaml").write_text(yaml.safe_dump(data))
    path = tmp_path / "endpoints.toml"
    path.write_text(FILE)
    return path


def interpolated(value: Any) -> Any:
    """As compose replaces variables, of which only the key is set."""
    if isinstance(value, dict):
        return {name: interpolated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    if not isinstance(value, str):
        return value
    text = re.sub(r"(?<!\$)\$\{FANSCRIBE_LOCAL_KEY:\?[^}]*\}", KEY, value)
    assert not re.search(r"(?<!\$)(\$\$)*\$\{", text)
    return text.replace("$$", "$")


@pytest.fixture
def running(file: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    document = interpolated(yaml.safe_load(compose(read_deployment(file, None, URL))))
    (tmp_path / "specs.json").write_text(document["configs"]["endpoints"]["content"])
    elsewhere = {
        "python": sys.executable,
        "8008": str(port),
        "0.0.0.0": "127.0.0.1",
        "/etc/fanscribe/endpoints.json": str(tmp_path / "specs.json"),
        "/home/worker/jobs": str(tmp_path / "jobs"),
        "/home/worker/.cache": str(tmp_path / "cache"),
    }

    def here(text: str) -> str:
        return elsewhere.get(text, text).replace(URL, url)

    processes = []
    try:
        for name, service in document["services"].items():
            for _ in range(service.get("deploy", {}).get("replicas", 1)):
                environment = {entry: here(value) for entry, value in service["environment"].items()}
                with (tmp_path / f"{name}.log").open("ab") as log:
                    process = subprocess.Popen(
                        [here(word) for word in service["command"]],
                        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                processes.append(process)
        assert wait_until_up(url, threading.Event(), lambda seconds: time.sleep(0.1))
        yield url
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def test_a_client_transcribes_on_it(
    running: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANSCRIBE_LOCAL_URL", running)
    monkeypatch.setenv("FANSCRIBE_LOCAL_KEY", KEY)
    recording = tmp_path / "coded.flac"
    with recording.open("wb") as target:
        CodedRecording(60).write_flac(target)
    async with AsyncClient(platform="local", endpoints=file) as client:
        transcript = await client.transcribe(recording, model="coded-words")
    assert len(transcript.text.split()) == 60
    assert {each.endpoint for each in transcript.tasks} == {"words"}


async def test_its_orchestrator_takes_the_whole_request_in_one_call(running: str, tmp_path: Path) -> None:
    recording = tmp_path / "coded.flac"
    with recording.open("wb") as target:
        CodedRecording(60).write_flac(target)
    audio = f"data:audio/flac;base64,{base64.b64encode(recording.read_bytes()).decode()}"
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{running}/v2/orchestrator/runsync",
            json={"input": {"audio": audio, "model": "coded-words"}},
            headers={"Authorization": f"Bearer {KEY}"},
        )
    job = answer.raise_for_status().json()
    assert job["status"] == "COMPLETED", job
    assert len(job["output"]["text"].split()) == 60
    assert {each["endpoint"] for each in job["output"]["tasks"]} == {"words"}
