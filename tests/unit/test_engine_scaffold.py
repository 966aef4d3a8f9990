"""A new family: what is made, and what is refused before anything is written."""

import ast
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.variant import Variant
from fanscribe.engines.checks import family_faults, variant_faults
from fanscribe.engines.scaffold import create, files_of, plan


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n\n[project.optional-dependencies]\nworker = ["runpod"]\n'
    )
    (tmp_path / "handlers" / "fanscribe_handlers").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("stage", ["transcribe", "diarize", "align"])
def test_what_is_made_is_valid_and_complete(checkout: Path, stage: str) -> None:
    family = plan("my_engine", stage, ["small", "large-v2"])
    assert family.variants == ("my-engine-small", "my-engine-large-v2")
    made = create(family, checkout)
    assert all(file.is_file() for file in made)
    for file in made:
        if file.suffix == ".py":
            ast.parse(file.read_text())
    folder = checkout / "handlers" / "fanscribe_handlers" / "my_engine" / "variants"
    variants = [Variant.model_validate(yaml.safe_load(file.read_text())) for file in sorted(folder.iterdir())]
    assert [each.id for each in variants] == ["my-engine-large-v2", "my-engine-small"]
    assert [fault for each in variants for fault in variant_faults(each)] == []
    assert family_faults(checkout, variants) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("My-Engine", "align", ["a"]), "My-Engine: is no name for a family"),
        (("class", "align", ["a"]), "class: is no name for a family"),
        (("mine", "sing", ["a"]), "--stage sing: is no work of an engine; use transcribe"),
        (("mine", "align", ["", " "]), "--variants: name at least one"),
        (("mine", "align", ["A b"]), "--variants A b: use small letters"),
    ],
)
def test_names_that_cannot_be_are_refused(arguments: tuple[str, str, list[str]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(*arguments)


def test_nothing_is_overwritten_and_nothing_half_written(checkout: Path) -> None:
    family = plan("mine", "align", ["a"])
    (checkout / "dockerfiles").mkdir()
    (checkout / "dockerfiles" / "mine.Dockerfile").write_text("FROM mine")
    before = (checkout / "pyproject.toml").read_text()
    with pytest.raises(UsageError, match=r"mine\.Dockerfile: is there already"):
        create(family, checkout)
    assert not (checkout / "handlers" / "fanscribe_handlers" / "mine").exists()
    assert (checkout / "pyproject.toml").read_text() == before


def test_an_extra_that_is_there_stays(checkout: Path) -> None:
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text() + 'mine = ["torch"]\n')
    create(plan("mine", "align", ["a"]), checkout)
    assert project.read_text().count("mine =") == 1


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["engines", "new", "mine", "--stage", "align", "--variants", "a", "--path", str(tmp_path)]
    )
    assert done.exit_code == Exit.USAGE
    assert "is no checkout" in done.stderr
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(UsageError, match="give its root"):
        create(plan("mine", "align", ["a"]), tmp_path)


def test_no_placeholder_is_left() -> None:
    for name, text in files_of(plan("mine", "transcribe", ["a"])).items():
        left = text.replace("$PATH", "").replace("${WORKER_USER}", "").replace("$BAKE_MODEL", "")
        assert "$" not in left, name
