"""Whether variant files say what can be true, and whether each family has what a deployment of it needs.

Every function gives faults, one line each with file and key, and raises nothing: all are to be seen at once.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fanscribe.catalogue import builtin_variants, load_catalogue, own_variants
from fanscribe.contracts.errors import CatalogueError
from fanscribe.contracts.task import INPUTS
from fanscribe.contracts.variant import Fact, Variant
from fanscribe.gpu_pools import POOLS

STANDARD_ALIASES = ("fast", "accurate", "turbo")
"""Names that mean a built-in variant everywhere; `auto` is no alias but a choice among what is deployed."""

NO_FAMILIES = ("orchestrator", "platform")
"""The Dockerfiles that are no engine family's."""

_MOST_LOAD_S = 900.0
_MOST_RTF = 20.0
_MOST_OVERHEAD_S = 60.0
_RAM_GB = (0.05, 512.0)
_MOST_AUDIO_S = 7 * 86_400.0
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_CPU = re.compile(r"cpu_[1-9][0-9]*")


def catalogue_faults(endpoints_file: Path | None = None) -> list[str]:
    """What is wrong with the built-in variants and, where given, endpoints.toml and the variants that it names."""
    faults: list[str] = []
    try:
        load_catalogue(endpoints_file)
    except CatalogueError as error:
        faults += error.faults
    builtin = dict(builtin_variants())
    own = dict(own_variants(endpoints_file)) if endpoints_file is not None else {}
    for label, variant in (builtin | own).items():
        faults += [f"{label}: {fault}" for fault in variant_faults(variant)]
    faults += builtin_faults(builtin)
    families = {variant.family for variant in builtin.values()}
    for label, variant in own.items():
        if variant.family not in families:
            known = ", ".join(sorted(families))
            faults.append(f"{label}: family: there is no family {variant.family!r}; there are {known}")
    return faults


def builtin_faults(variants: Mapping[str, Variant]) -> Iterator[str]:
    """What is wrong with built-in variants by file: workers look them up by folder and file name."""
    for label, variant in variants.items():
        family, _, name = label.split("/")
        if variant.family != family:
            yield f"{label}: family: is {variant.family!r}, but the file lies in the folder of {family!r}"
        if name != f"{variant.id}.yaml":
            yield f"{label}: id: is {variant.id!r}, so the file must be called {variant.id}.yaml"
    named = {alias for variant in variants.values() for alias in variant.aliases}
    for alias in STANDARD_ALIASES:
        if alias not in named:
            yield f"built-in variants: aliases: none has the alias {alias!r}"


def variant_faults(variant: Variant) -> Iterator[str]:
    """What cannot be true of a variant, each behind its key."""
    yield from _stages(variant)
    yield from _names(variant)
    yield from _model(variant)
    yield from _hardware(variant)
    yield from _performance(variant)


def _stages(variant: Variant) -> Iterator[str]:
    unserved = [stage for stage in variant.stages if stage not in INPUTS]
    if unserved:
        yield f"stages: {unserved[0]} is no work of an engine; use {', '.join(INPUTS)}"
    for stage, times in Counter(variant.stages).items():
        if times > 1:
            yield f"stages: {stage} stands {times} times"


def _names(variant: Variant) -> Iterator[str]:
    if variant.id in variant.aliases:
        yield f"aliases: {variant.id!r} is the id itself"
    languages = variant.capabilities.languages
    if languages == "all":
        return
    if not languages:
        yield 'capabilities.languages: is empty; list ISO 639 codes, or say "all"'
    for code in languages:
        if not _LANGUAGE.fullmatch(code):
            yield f"capabilities.languages: {code!r} is no ISO 639 code in lower case"
    for code, times in Counter(languages).items():
        if times > 1:
            yield f"capabilities.languages: {code} stands {times} times"


def _model(variant: Variant) -> Iterator[str]:
    if (variant.model.source == "parts") != bool(variant.parts):
        yield "model.source: parts is for combinations, whose files have no model"
    for key, model in (
        ("model", variant.model),
        *((f"model.also.{n}", each) for n, each in enumerate(variant.model.also)),
    ):
        if model.gated and not model.licence_url:
            yield f"{key}.licence_url: is needed for a gated model: the page where its licence is accepted"
        if model.gated and model.source != "huggingface":
            yield f"{key}.gated: only a huggingface model can be gated"
        if model.licence_url and not model.licence_url.startswith("https://"):
            yield f"{key}.licence_url: must be an https URL"
    if variant.capabilities.max_audio_s > _MOST_AUDIO_S:
        yield f"capabilities.max_audio_s: {variant.capabilities.max_audio_s:g} is more than a week"


def _hardware(variant: Variant) -> Iterator[str]:
    hardware = variant.hardware
    least, most = _RAM_GB
    if not least <= hardware.min_ram_gb <= most:
        yield f"hardware.min_ram_gb: {hardware.min_ram_gb:g} is not between {least:g} and {most:g} GB"
    largest = max(pool.vram_gb for pool in POOLS.values())
    if hardware.min_vram_gb > largest:
        yield f"hardware.min_vram_gb: {hardware.min_vram_gb:g} is more than the largest card has ({largest} GB)"
    if not hardware.cpu and not hardware.min_vram_gb and not simulated(variant):
        yield "hardware.min_vram_gb: is 0 although hardware.cpu is false: say how much a GPU must have"


def _performance(variant: Variant) -> Iterator[str]:
    facts, hardware = variant.performance, variant.hardware
    yield from _within("performance.load_s", facts.load_s, _MOST_LOAD_S)
    yield from _within("performance.overhead_s", facts.overhead_s, _MOST_OVERHEAD_S)
    if not facts.rtf:
        yield "performance.rtf: is empty; give a figure for at least one GPU pool or cpu_2"
    pools = {name.lower(): pool for name, pool in POOLS.items()}
    for name, fact in facts.rtf.items():
        yield from _within(f"performance.rtf.{name}", fact, _MOST_RTF)
        if _CPU.fullmatch(name):
            if not hardware.cpu and not simulated(variant):
                yield f"performance.rtf.{name}: is a figure for CPUs although hardware.cpu is false"
        elif name not in pools:
            yield f"performance.rtf.{name}: is no GPU pool nor cpu_<cores>; pools are {', '.join(pools)}"
        elif pools[name].vram_gb < hardware.min_vram_gb and not variant.parts:
            yield f"performance.rtf.{name}: its cards have less than hardware.min_vram_gb"
    if hardware.cpu and facts.rtf and not any(_CPU.fullmatch(name) for name in facts.rtf):
        yield "performance.rtf: has no figure for CPUs (as cpu_2) although hardware.cpu is true"


def _within(key: str, fact: Fact, most: float) -> Iterator[str]:
    if not 0 < fact.value <= most:
        yield f"{key}.value: {fact.value:g} is not plausible: it must be above 0 and at most {most:g}"


def simulated(variant: Variant) -> bool:
    """Whether the variant is made for load and fault tests only, and so never deployed."""
    return variant.options.get("simulated") is True


def family_faults(checkout: Path, variants: Iterable[Variant]) -> list[str]:
    """What the families in a checkout lack: code, Dockerfile, extra."""
    faults: list[str] = []
    families = sorted({each.family for each in variants if not simulated(each)})
    project = checkout / "pyproject.toml"
    try:
        extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        return [f"{project}: project.optional-dependencies: cannot be read: {error}"]
    for family in families:
        code = checkout / "handlers" / "fanscribe_handlers" / family
        for name in ("__init__.py", "__main__.py", "engine.py"):
            if not (code / name).is_file():
                faults.append(f"{code / name}: is missing: every family has one")
        if not dockerfile_of(checkout, family).is_file():
            faults.append(f"{dockerfile_of(checkout, family)}: is missing: the family {family} has no image")
        if extra_of(family) not in extras:
            faults.append(f"{project}: project.optional-dependencies: has no extra {extra_of(family)!r}")
    for file in sorted((checkout / "dockerfiles").glob("*.Dockerfile")):
        if (family := file.name.removesuffix(".Dockerfile")) not in (*families, *NO_FAMILIES):
            faults.append(f"{file}: there is no family {family} with a variant")
    return faults


def extra_of(family: str) -> str:
    """The name of a family's extra: as the family, with hyphens."""
    return family.replace("_", "-")


def dockerfile_of(checkout: Path, family: str) -> Path:
    """Where a family's Dockerfile lies in a checkout."""
    return checkout / "dockerfiles" / f"{family}.Dockerfile"
