"""Variant files and endpoints.toml, read into one Catalogue; all faults are reported at once."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Variant

HANDLERS_PACKAGE = "fanscribe_handlers"
"""Where the built-in variant files lie, as `<family>/variants/*.yaml`; read as data, never run."""

AUTO = "auto"
"""The model name that stands for: the first deployed endpoint that serves the stage."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Workers(_Strict):
    """How many workers an endpoint may have."""

    min: int = Field(default=0, ge=0, le=1000)
    max: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> "Workers":
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class EndpointConfig(_Strict):
    """One endpoint of endpoints.toml. `id` is the platform's id of an endpoint that exists already."""

    variant: str
    id: str | None = None
    workers: Workers = Workers()
    idle_timeout_s: int = Field(default=60, ge=1, le=3600)


class Project(_Strict):
    """What the file is about. `variants`: folders of the user's own variant files, relative to the file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    variants: list[str] = Field(default_factory=list)


class EndpointsFile(_Strict):
    """endpoints.toml."""

    schema_version: Literal[1] = 1
    project: Project
    endpoints: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], EndpointConfig]


@dataclass(frozen=True, slots=True)
class DeployedEndpoint:
    """A variant that can be called. `id` is what stands in the platform's URLs; empty where it is not known."""

    name: str
    id: str
    variant: Variant
    workers: Workers = field(default_factory=Workers)
    idle_timeout_s: int = 60


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All known variants by id, and the endpoints of the deployment in the order of the file."""

    variants: dict[str, Variant]
    endpoints: tuple[DeployedEndpoint, ...] = ()
    _aliases: dict[str, str] = field(default_factory=dict)

    def variant(self, name: str) -> Variant:
        """The variant with this id or alias. Raises UsageError that lists the names there are."""
        found = self.variants.get(self._aliases.get(name, name))
        if found is None:
            names = ", ".join(sorted([*self.variants, *self._aliases, AUTO]))
            raise UsageError(f"--model {name}: unknown model; known are {names}")
        return found

    def serving(self, stage: Stage) -> tuple[DeployedEndpoint, ...]:
        """The deployed endpoints that can do a stage, in the order of the file."""
        return tuple(each for each in self.endpoints if stage in each.variant.stages)

    def deployed(self, endpoints: Iterable[DeployedEndpoint]) -> "Catalogue":
        """The same variants with another deployment."""
        return Catalogue(self.variants, tuple(endpoints), self._aliases)


def load_catalogue(endpoints_file: Path | None = None) -> Catalogue:
    """Read the built-in variants and, where given, endpoints.toml with the folders that it names.

    Raises CatalogueError with every fault of every file.
    """
    faults: list[str] = []
    variants: dict[str, Variant] = {}
    origin: dict[str, str] = {}
    config = _read_endpoints(endpoints_file, faults) if endpoints_file else None
    sources = list(_builtin_files())
    if config and endpoints_file:
        for folder in config.project.variants:
            sources += _folder_files(endpoints_file.parent / folder, str(endpoints_file), faults)
    for label, file in sources:
        variant = _read_variant(label, file, faults)
        if variant is None:
            continue
        for name in (variant.id, *variant.aliases):
            if name == AUTO:
                faults.append(f"{label}: aliases: {AUTO!r} is reserved")
            elif name in origin:
                faults.append(f"{label}: {name!r} is already a name in {origin[name]}")
            else:
                origin[name] = label
        variants.setdefault(variant.id, variant)
    endpoints = list(_deployed(config, endpoints_file, variants, faults)) if config else []
    if faults:
        raise CatalogueError(faults)
    aliases = {alias: each.id for each in variants.values() for alias in each.aliases}
    return Catalogue(variants, tuple(endpoints), aliases)


def _deployed(
    config: EndpointsFile, file: Path | None, variants: dict[str, Variant], faults: list[str]
) -> Iterator[DeployedEndpoint]:
    for name, each in config.endpoints.items():
        variant = variants.get(each.variant)
        if variant is None:
            known = ", ".join(sorted(variants))
            faults.append(f"{file}: endpoints.{name}.variant: {each.variant!r} is unknown; known are {known}")
            continue
        yield DeployedEndpoint(name, each.id or "", variant, each.workers, each.idle_timeout_s)


def _builtin_files() -> Iterator[tuple[str, Traversable]]:
    try:
        root = resources.files(HANDLERS_PACKAGE)
    except ModuleNotFoundError:
        return
    for family in sorted(root.iterdir(), key=lambda entry: entry.name):
        folder = family / "variants"
        if family.is_dir() and folder.is_dir():
            for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
                if file.name.endswith(".yaml"):
                    yield f"{family.name}/variants/{file.name}", file


def _folder_files(folder: Path, named_by: str, faults: list[str]) -> list[tuple[str, Traversable]]:
    if not folder.is_dir():
        faults.append(f"{named_by}: project.variants: there is no folder {folder}")
        return []
    return [(str(file), file) for file in sorted(folder.glob("*.yaml"))]


def _read_variant(label: str, file: Traversable, faults: list[str]) -> Variant | None:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Variant.model_validate(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        faults.append(f"{label}: cannot be read: {' '.join(str(error).split())}")
    except ValidationError as error:
        faults += faults_of(label, error)
    return None


def _read_endpoints(file: Path, faults: list[str]) -> EndpointsFile | None:
    try:
        return EndpointsFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        faults.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file}: is not valid TOML: {error}")
    except ValidationError as error:
        faults += faults_of(str(file), error)
    return None


def faults_of(label: str, error: ValidationError) -> Sequence[str]:
    """One line a fault: the file, the key as a dotted path, and what is wrong with it."""
    return [
        f"{label}: {'.'.join(str(part) for part in each['loc']) or 'file'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    ]
