"""docs/three-ways.md is run as it stands: the same call in each way, on the deployment that the page has."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.deploy.local import local_specs
from fanscribe.local.process import RunningPlatform, start
from fanscribe.media import decode
from fanscribe.media.flac import FlacWriter

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "three-ways.md").read_text(encoding="utf-8")
WAYS = ("client-side", "orchestrator", "single-endpoint")
LENGTH_S = 13.0

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("curl") is None, reason="curl is not installed: the page's examples use it"
    ),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: the page's endpoints.toml and the start of the sample conversation."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "endpoints.toml").write_text(blocks("toml")[0])
    with (ROOT / "docs" / "samples" / "conversation.flac").open("rb") as source:
        samples = decode(source, "the sample", clip=(0, LENGTH_S)).samples
    with (folder / "talk.flac").open("wb") as target:
        writer = FlacWriter(target)
        writer.write(samples)
        writer.close()
    return folder


@pytest.fixture(scope="module")
def platform(folder: Path) -> Iterator[RunningPlatform]:
    """As `fanscribe local up --detach` leaves it, in a state folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANSCRIBE_STATE_DIR", str(folder / "state"))
        running = start(local_specs(folder / "endpoints.toml", orchestrator=True), detach=True)
    with running:
        yield running


def followed(command: list[str], folder: Path, platform: RunningPlatform) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **clean,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FANSCRIBE_STATE_DIR": str(folder / "state"),
            "FANSCRIBE_RESULTS": "off",
            "RUNPOD_API_KEY": platform.key,
            "RUNPOD_ENDPOINT_BASE_URL": f"{platform.url}/v2",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_curl_and_the_command_line_give_the_same_in_each_way(folder: Path, platform: RunningPlatform) -> None:
    followed(["bash", "-euo", "pipefail", "-c", "\n".join(blocks("sh"))], folder, platform)
    answers: list[dict[str, Any]] = [json.loads((folder / f"{way}.json").read_text()) for way in WAYS]
    assert [each["status"] for each in answers] == ["COMPLETED"] * 3, answers
    said = [
        [
            (word["speaker"], word["text"])
            for segment in each["output"]["segments"]
            for word in segment["words"]
        ]
        for each in answers
    ]
    assert said[0] == said[1] == said[2]
    assert {speaker for speaker, _ in said[0]} == {"SPEAKER_00", "SPEAKER_01"}
    texts = [(folder / f"{way}.txt").read_text() for way in WAYS]
    assert texts[0] == texts[1] == texts[2]
    assert "SPEAKER_01" in texts[0]


@pytest.mark.parametrize("number", [0, 1])
def test_so_do_the_sdk_and_the_library(folder: Path, platform: RunningPlatform, number: int) -> None:
    lines = followed([sys.executable, "-c", blocks("python")[number]], folder, platform).splitlines()
    said = [line for line in lines if line.startswith("[(")]
    assert len(said) == 3
    assert said[0] == said[1] == said[2]
    assert "SPEAKER_01" in said[0]


def test_the_page_names_what_there_is() -> None:
    variants = load_catalogue().variants
    combined = {each.id for each in variants.values() if each.parts}
    assert combined
    assert all(f"`{name}`" in PAGE for name in combined)
    assert len(blocks("python")) == 2
