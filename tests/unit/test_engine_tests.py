"""The runner of the engines' tests: it follows Dockerfiles, and names what it could not do."""

import subprocess
import sys
from pathlib import Path

import pytest
from tools import engine_tests
from tools.engine_tests import Copy, NotInstalled, Outcome, PipInstall, build_steps

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = """
FROM python:3.11.14-slim-bookworm AS build
RUN apt-get update && apt-get install --yes gcc
COPY pyproject.toml README.md ./
COPY client client
RUN --mount=type=cache,target=/root/.cache/pip \\
    pip install --constraint constraints.txt torch==2.13.0 ".[mine]"
FROM python:3.11.14-slim-bookworm
COPY --from=build /opt /opt
RUN pip install not-this
"""


def test_copies_and_installs_of_the_first_stage_are_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.Dockerfile").write_text(FILE)
    assert list(build_steps(tmp_path / "mine.Dockerfile")) == [
        Copy(("pyproject.toml", "README.md"), "./"),
        Copy(("client",), "client"),
        PipInstall('pip install --constraint constraints.txt torch==2.13.0 ".[mine]"'),
    ]


@pytest.mark.parametrize("family", engine_tests.families())
def test_every_family_installs_itself_after_it_was_copied(family: str) -> None:
    steps = list(build_steps(ROOT / "dockerfiles" / f"{family}.Dockerfile"))
    assert [type(step) for step in steps] == [Copy, Copy, Copy, Copy, PipInstall]


def test_every_family_has_tests_of_its_engine() -> None:
    assert {"whisper", "diarize_onnx", "pyannote"} <= set(engine_tests.families())
    for family in engine_tests.families():
        files = engine_tests.tests_of(family)
        assert len(files) >= 2, f"{family} has only the self-test"
        assert all((ROOT / file).is_file() for file in files)


def test_recipes_are_for_families_that_exist() -> None:
    assert set(engine_tests.RECIPES) <= set(engine_tests.families())


def test_a_family_that_cannot_be_installed_is_named_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(family: str, folder: Path, work: Path) -> Path:
        if family == "whisper":
            raise NotInstalled("`pip install x` failed: no such version")
        return Path(sys.executable)

    def run(family: str, python: Path, work: Path) -> Outcome:
        return Outcome(family, passed=3, skipped=["test_x: no recordings"])

    monkeypatch.setattr(engine_tests, "install", install)
    monkeypatch.setattr(engine_tests, "run", run)
    assert engine_tests.main(["whisper", "diarize_onnx", "--work", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "whisper: cannot be installed here: `pip install x` failed: no such version" in printed
    assert "diarize_onnx: good; 3 passed, 1 skipped (test_x: no recordings)" in printed


@pytest.mark.parametrize(
    ("test", "reason", "passed"),
    [
        ("def test_a():\n    pass\n", None, 1),
        ("def test_a():\n    assert 0\n", "its tests failed", 0),
        ("import pytest\n\n@pytest.mark.skip('no')\ndef test_a():\n    pass\n", "none of its tests ran", 0),
    ],
)
def test_a_family_passes_only_when_some_test_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: str, reason: str | None, passed: int
) -> None:
    (tmp_path / "test_it.py").write_text(test)
    monkeypatch.setattr(engine_tests, "tests_of", lambda family: [str(tmp_path / "test_it.py")])
    outcome = engine_tests.run("whisper", Path(sys.executable), tmp_path)
    assert outcome.passed == passed
    assert (outcome.reason or "").startswith(reason or "")
    assert (outcome.reason is None) == (reason is None)


def test_a_step_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(
        NotInstalled, match=r"`pip install --no-index nothing-like-this` failed: .*nothing-like-this"
    ):
        engine_tests._pip(Path(sys.executable), tmp_path, "pip install --no-index nothing-like-this")


def test_an_unknown_family_is_refused() -> None:
    command = [sys.executable, "-m", "tools.engine_tests", "nope"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nope: no such family" in done.stderr
