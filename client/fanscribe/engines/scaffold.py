"""Start an engine family in a checkout: everything but the one method that does the work."""

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.task import INPUTS, Stage
from fanscribe.engines.checks import extra_of

_FAMILY = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIX = re.compile(r"[a-z0-9][a-z0-9.-]*")
_EXTRAS = "[project.optional-dependencies]\n"
_MODELS = {
    Stage.TRANSCRIBE: ("TranscribeInput", "TranscribeResult"),
    Stage.DIARIZE: ("DiarizeInput", "DiarizeResult"),
    Stage.ALIGN: ("AlignInput", "AlignResult"),
}


@dataclass(frozen=True, slots=True)
class NewFamily:
    """What is to be made. `suffixes` are what follows the family's name in the ids of its variants."""

    name: str
    stage: Stage
    suffixes: tuple[str, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """The ids of its variants: they carry the family."""
        return tuple(f"{extra_of(self.name)}-{suffix}" for suffix in self.suffixes)


def plan(name: str, stage: str, variants: Sequence[str]) -> NewFamily:
    """The family that is asked for. Raises UsageError for a name or a stage that cannot be."""
    if not _FAMILY.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"{name}: is no name for a family: use small letters, digits and underscores")
    if stage not in INPUTS:
        raise UsageError(f"--stage {stage}: is no work of an engine; use {', '.join(INPUTS)}")
    suffixes = tuple(dict.fromkeys(each.strip() for each in variants if each.strip()))
    if not suffixes:
        raise UsageError("--variants: name at least one")
    if wrong := [each for each in suffixes if not _SUFFIX.fullmatch(each)]:
        raise UsageError(f"--variants {wrong[0]}: use small letters, digits, dots and hyphens")
    return NewFamily(name, Stage(stage), suffixes)


def files_of(family: NewFamily) -> dict[str, str]:
    """The files of the family: path in the checkout → text."""
    words = family.name.replace("_", " ").split()
    input_name, result_name = _MODELS[family.stage]
    names = {
        "family": family.name,
        "class_name": "".join(word.capitalize() for word in words) + "Engine",
        "title": " ".join(words).capitalize(),
        "extra": extra_of(family.name),
        "stage": family.stage.value,
        "input_name": input_name,
        "result_name": result_name,
        "word_timestamps": "false" if family.stage is Stage.DIARIZE else "true",
    }
    folder = f"handlers/fanscribe_handlers/{family.name}"
    files = {
        f"{folder}/__init__.py": _filled("__init__.py", names),
        f"{folder}/__main__.py": _filled("__main__.py", names),
        f"{folder}/engine.py": _filled("engine.py", names),
        f"{folder}/weights/ABOUT.txt": _filled("ABOUT", names),
        f"dockerfiles/{family.name}.Dockerfile": _filled("Dockerfile", names),
        f"tests/engines/test_{family.name}_engine.py": _filled("test.py", names),
    }
    for variant, suffix in zip(family.variants, family.suffixes, strict=True):
        more = {**names, "variant": variant, "suffix": suffix}
        files[f"{folder}/variants/{variant}.yaml"] = _filled("variant.yaml", more)
    return files


def create(family: NewFamily, checkout: Path) -> list[Path]:
    """Write the family into a checkout and add its extra to pyproject.toml; returns the files.

    Nothing is written, and UsageError raised, where the folder is no checkout or a file is there already.
    """
    project = checkout / "pyproject.toml"
    try:
        described = project.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--path {checkout}: is no checkout: pyproject.toml cannot be read") from error
    if _EXTRAS not in described or not (checkout / "handlers" / "fanscribe_handlers").is_dir():
        raise UsageError(f"--path {checkout}: is no checkout of fanscribe: give its root")
    files = {checkout / name: text for name, text in files_of(family).items()}
    folder = checkout / "handlers" / "fanscribe_handlers" / family.name
    there = [file for file in (folder, *files) if file.exists()]
    if there:
        raise UsageError(f"{there[0]}: is there already: choose another name, or remove it first")
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    extra = extra_of(family.name)
    if not re.search(rf"^{re.escape(extra)}\s*=", described, re.MULTILINE):
        line = f'{extra} = ["fanscribe[worker]"]\n'
        project.write_text(described.replace(_EXTRAS, _EXTRAS + line, 1), encoding="utf-8")
    return [*files, project]


def _filled(name: str, names: dict[str, str]) -> str:
    file = resources.files("fanscribe.engines") / "templates" / f"{name}.txt"
    return Template(file.read_text(encoding="utf-8")).substitute(names)
