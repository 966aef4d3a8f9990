"""The workflows: valid by GitHub's schema, and the commands that they run exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fanscribe.cli import app

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def commands(file: Path) -> list[str]:
    jobs: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_they_fit_the_schema() -> None:
    tool = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [tool, "--builtin-schema", "vendor.github-workflows", *(str(each) for each in FILES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_their_shell_is_valid(file: Path) -> None:
    for command in commands(file):
        plain = re.sub(r"\$\{\{.*?\}\}", "value", command)
        done = subprocess.run(["bash", "-n", "-c", plain], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_asked_of_a_caller_is_not_put_into_shell(file: Path) -> None:
    for command in commands(file):
        assert "${{" not in command, "pass it through env: what a name holds must not become shell"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in [line for file in FILES for line in commands(file)]:
        for targets in re.findall(r"^make (.+)$", command, re.MULTILINE):
            for target in targets.split():
                assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_release_runs_commands_that_exist() -> None:
    (file,) = [each for each in FILES if each.name == "release.yml"]
    used = set(re.findall(r"fanscribe ((?:engines|images) \w+)", "\n".join(commands(file))))
    assert used == {"engines validate", "images list", "images build"}
    for command in used:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0


def test_only_the_job_that_pushes_may_write_packages() -> None:
    (file,) = [each for each in FILES if each.name == "release.yml"]
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    writers = [name for name, job in workflow["jobs"].items() if "packages" in job.get("permissions", {})]
    assert writers == ["images"]
    assert workflow["permissions"] == {"contents": "read"}
