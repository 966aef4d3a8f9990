"""docs/adding-an-engine.md, followed word for word in a copy of the checkout, gives an engine that works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "adding-an-engine.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENGINE = "handlers/fanscribe_handlers/keypad/engine.py"

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "fanscribe"
    skip = shutil.ignore_patterns("__pycache__", "*.onnx")
    for name in ("client", "handlers", "orchestrator", "dockerfiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    (folder / "tests").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "bin").mkdir()
    for name, arguments in (("python", ""), ("fanscribe", "-m fanscribe.cli")):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        command.chmod(0o755)
    return folder


def follow(checkout: Path, commands: list[str]) -> list[str]:
    """Run commands as a reader would, in the copy; gives what each printed."""
    parts = [str(checkout / name) for name in ("client", "handlers", "orchestrator")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(parts),
        "PATH": f"{checkout / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    printed = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    return printed


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def test_the_page_followed_word_for_word(checkout: Path) -> None:
    (_, start), (_, engine), (_, test), (_, finish) = BLOCK.findall(PAGE)
    (written,) = follow(checkout, commands(start))
    for name in re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE):
        assert (checkout / name).exists(), f"the page promises {name}"
        assert name.rstrip("/") in written
    (checkout / ENGINE).write_text(engine)
    with (checkout / "tests/engines/test_keypad_engine.py").open("a") as file:
        file.write(f"\n\n{test}")
    own = f"{ENGINE} tests/engines/test_keypad_engine.py"
    follow(checkout, [f"ruff check {own}", f"ruff format --check {own}"])
    validated, tried, tested, image = follow(checkout, commands(finish))
    assert "no faults" in validated
    assert "keypad-touch-tone: passed" in tried
    assert "it heard no words" in tried
    assert "2 passed" in tested
    assert "--file dockerfiles/keypad.Dockerfile" in image


def test_what_is_generated_says_what_is_left_to_write(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "again"
    shutil.copytree(checkout, copy, symlinks=True)
    follow(copy, ["fanscribe engines new silent --stage diarize --variants a,b"])
    follow(copy, ["fanscribe engines validate --all", "python -c 'import fanscribe_handlers.silent.engine'"])
    with pytest.raises(AssertionError, match=r"the engine silent does nothing yet: write run\(\)"):
        follow(copy, ["fanscribe engines test silent-b"])
    with pytest.raises(AssertionError, match="is there already"):
        follow(copy, ["fanscribe engines new silent --stage diarize --variants a"])
