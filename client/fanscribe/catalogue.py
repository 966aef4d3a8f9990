"""Variant files and endpoints.toml, read into one Catalogue; all faults are reported at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from pydantic import ValidationError

from fanscribe.contracts.combination import FAMILY, Combination, combine
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Variant
from fanscribe.endpoints_file import faults_of, read_endpoints_file
from fanscribe.endpoints_schema import EndpointsFile
from fanscribe.endpoints_schema import Workers as Workers
from fanscribe.settings import effective, hardware_of

HANDLERS_PACKAGE = "fanscribe_handlers"
"""Where the built-in variant files lie, as `<family>/variants/*.yaml`; read as data, never run."""

AUTO = "auto"
"""The model name that stands for: the first deployed endpoint that serves the stage."""


@dataclass(frozen=True, slots=True)
class DeployedEndpoint:
    """A variant that can be called. `id` is what stands in the platform's URLs; empty where it is not known."""

    name: str
    id: str
    variant: Variant
    workers: Workers = field(default_factory=Workers)
    idle_timeout_s: int = 60
    gpus: tuple[str, ...] = ()
    """GPU pools in order of preference; empty on a CPU endpoint or where they are not known."""
    prefetch: bool = False
    """Whether a worker fetches its next job while the engine is busy."""
    execution_timeout_s: float | None = None


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
    config = read_endpoints_file(endpoints_file, faults) if endpoints_file else None
    sources = list(_builtin_files())
    if config and endpoints_file:
        for folder in config.project.variants:
            sources += _folder_files(endpoints_file.parent / folder, str(endpoints_file), faults)
    for label, variant in _read(sources, faults):
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


def builtin_variants() -> Iterator[tuple[str, Variant]]:
    """Each built-in variant that can be read, behind its file's name from the family on (`whisper/variants/…`).

    Whether they fit together is not asked; what cannot be read is left out, since `load_catalogue` reports it.
    """
    yield from _read(_builtin_files(), [])


def own_variants(endpoints_file: Path) -> Iterator[tuple[str, Variant]]:
    """Each variant that can be read in the folders that endpoints.toml names, behind its file's path."""
    ignored: list[str] = []
    if (config := read_endpoints_file(endpoints_file, ignored)) is not None:
        files: list[tuple[str, Traversable]] = []
        for folder in config.project.variants:
            files += _folder_files(endpoints_file.parent / folder, str(endpoints_file), ignored)
        labels = {label for label, _ in files}
        # A combination of one's own may have built-in parts.
        read = _read([*_builtin_files(), *files], ignored)
        yield from ((label, variant) for label, variant in read if label in labels)


def _read(files: Iterable[tuple[str, Traversable]], faults: list[str]) -> Iterator[tuple[str, Variant]]:
    """The variants of these files; combinations come last, since they are made of the others."""
    known: dict[str, Variant] = {}
    combinations: list[tuple[str, Combination]] = []
    for label, file in files:
        described = _read_file(label, file, faults)
        if isinstance(described, Combination):
            combinations.append((label, described))
        elif described is not None:
            known.setdefault(described.id, described)
            yield label, described
    for label, combination in combinations:
        try:
            yield label, combine(combination, known)
        except ValueError as error:
            faults.append(f"{label}: {error}")


def _deployed(
    config: EndpointsFile, file: Path | None, variants: dict[str, Variant], faults: list[str]
) -> Iterator[DeployedEndpoint]:
    for name, each in config.endpoints.items():
        variant = variants.get(each.variant)
        if variant is None:
            known = ", ".join(sorted(variants))
            faults.append(f"{file}: endpoints.{name}.variant: {each.variant!r} is unknown; known are {known}")
            continue
        hardware, wrong = hardware_of(each, variant)
        faults += [f"{file}: endpoints.{name}.{fault}" for fault in wrong]
        settings = effective(each, config.defaults)
        yield DeployedEndpoint(
            name,
            each.id or "",
            variant,
            settings.workers,
            settings.idle_timeout_s,
            hardware.gpus,
            settings.prefetch,
            float(settings.execution_timeout_s),
        )


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


def _read_file(label: str, file: Traversable, faults: list[str]) -> Variant | Combination | None:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("family") == FAMILY:
            return Combination.model_validate(data)
        return Variant.model_validate(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        faults.append(f"{label}: cannot be read: {' '.join(str(error).split())}")
    except ValidationError as error:
        faults += faults_of(label, error)
    return None
