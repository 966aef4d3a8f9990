"""The Dockerfiles: clean under hadolint, and each builds a small, non-root worker of its family."""

import json
import os
import re
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from fanscribe.catalogue import load_catalogue

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted((ROOT / "dockerfiles").glob("*.Dockerfile"))
STARTS = {"orchestrator": "fanscribe_orchestrator", "platform": "fanscribe.local"}
"""What those start that are no engine family's."""

Instruction = tuple[str, str]


def stages(file: Path) -> list[list[Instruction]]:
    """The instructions of each stage, from its FROM on."""
    parsed = DockerfileParser(fileobj=StringIO(file.read_text(encoding="utf-8"))).structure
    found: list[list[Instruction]] = []
    for each in parsed:
        if each["instruction"] == "FROM":
            found.append([])
        if found and each["instruction"] != "COMMENT":
            found[-1].append((each["instruction"], each["value"]))
    return found


def values(stage: list[Instruction], instruction: str) -> list[str]:
    return [value for name, value in stage if name == instruction]


def family_of(file: Path) -> str:
    return file.name.removesuffix(".Dockerfile")


@pytest.fixture(params=FILES, ids=family_of)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_family_that_users_can_deploy_has_one() -> None:
    families = {
        each.family
        for each in load_catalogue().variants.values()
        if each.options.get("simulated") is not True
    }
    assert families <= {family_of(each) for each in FILES}


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), "--no-color", *(str(each) for each in FILES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_bases_are_pinned_and_the_same_at_both_ends(file: Path) -> None:
    first, *_, last = stages(file)
    for stage in (first, last):
        (base,) = values(stage, "FROM")
        assert re.fullmatch(r"(nvidia/cuda|python):[0-9]+\.[0-9]+\.[0-9]+-\S+( AS \S+)?", base)
    assert values(last, "FROM")[0] == values(first, "FROM")[0].split(" AS ")[0]


def test_no_compiler_reaches_the_last_stage(file: Path) -> None:
    first, *_, last = stages(file)
    assert "build-essential" in " ".join(values(first, "RUN"))
    installed = " ".join(values(last, "RUN"))
    assert not re.search(r"build-essential|gcc|g\+\+|-dev|\bpip\b", installed)
    assert "-devel-" not in values(last, "FROM")[0]
    assert all("--from=" in copied for copied in values(last, "COPY"))


def test_the_worker_is_not_root_unless_the_build_says_so(file: Path) -> None:
    last = stages(file)[-1]
    assert values(last, "USER") == ["${WORKER_USER}"]
    assert "WORKER_USER=worker" in values(last, "ARG")
    assert "useradd --create-home --uid 10001 worker" in " ".join(values(last, "RUN"))


def test_it_installs_the_wheel_with_its_extra_and_starts_what_it_is_for(file: Path) -> None:
    family = family_of(file)
    extra = family.replace("_", "-")
    first, *_, last = stages(file)
    installed = " ".join(" ".join(values(first, "RUN")).split())
    assert re.search(
        rf'pip install (--constraint constraints\.txt )?(torch==\S+ )?"\.\[{extra}\]"', installed
    )
    assert json.loads(values(last, "CMD")[0]) == [
        "python",
        "-m",
        STARTS.get(family, f"fanscribe_handlers.{family}"),
    ]
    with (ROOT / "pyproject.toml").open("rb") as project:
        assert extra in tomllib.load(project)["project"]["optional-dependencies"]


def test_weights_are_baked_only_where_asked(file: Path) -> None:
    family = family_of(file)
    last = stages(file)[-1]
    sources = {each.model.source for each in load_catalogue().variants.values() if each.family == family}
    baked = [value for value in values(last, "ARG") if value.startswith("BAKE_MODEL=")]
    if "huggingface" in sources:
        assert baked == ['BAKE_MODEL=""']
        assert "FANSCRIBE_MODEL_DIR=${BAKE_MODEL:+/opt/model}" in " ".join(values(last, "ENV"))
    if sources == {"bundled"}:
        assert baked == []


def test_all_that_is_copied_is_in_the_checkout_and_is_sent_to_the_build(file: Path) -> None:
    sent = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!") and line[1:]
    }
    for stage in stages(file):
        for copied in values(stage, "COPY"):
            if copied.startswith("--from="):
                continue
            *sources, _target = copied.split()
            for source in sources:
                assert (ROOT / source).exists(), f"{file.name} copies {source}"
                assert source.split(os.sep)[0] in sent, f".dockerignore keeps {source} from {file.name}"
