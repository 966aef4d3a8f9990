"""What a worker learns from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from fanscribe.contracts.combination import FAMILY, Combination, combination_of, combine
from fanscribe.contracts.variant import Variant
from fanscribe.fetch.policy import DEFAULT_MAX_BYTES
from fanscribe.worker_environment import SettingsError, cores, first_fault, number


@dataclass(frozen=True, slots=True)
class Settings:
    """The worker's settings.

    `threads` is the number of CPU threads of the engine. `jobs_held` is how many jobs the worker takes at a
    time: 1, or 2 where it fetches the next while the engine is busy. `allowed_origins` are the origins (scheme,
    host, port) that may be fetched although they resolve to private addresses.
    """

    variant: Variant
    model_dir: Path | None
    threads: int
    jobs_held: int
    allowed_origins: tuple[str, ...]
    max_audio_s: float
    max_bytes: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str], family: str) -> "Settings":
        """Read every FANSCRIBE_ variable. Raises SettingsError."""
        variant = read_variant(environ, family)
        folder = environ.get("FANSCRIBE_MODEL_DIR")
        origins = environ.get("FANSCRIBE_ALLOWED_ORIGINS", "")
        return cls(
            variant=variant,
            model_dir=Path(folder).expanduser() if folder else None,
            threads=int(number(environ, "FANSCRIBE_THREADS", cores())),
            jobs_held=2 if _switch(environ, "FANSCRIBE_PREFETCH") else 1,
            allowed_origins=tuple(origin.strip() for origin in origins.split(",") if origin.strip()),
            max_audio_s=number(environ, "FANSCRIBE_MAX_AUDIO_S", variant.capabilities.max_audio_s),
            max_bytes=int(number(environ, "FANSCRIBE_MAX_BYTES", DEFAULT_MAX_BYTES)),
        )


def read_variant(environ: Mapping[str, str], family: str) -> Variant:
    """The variant that FANSCRIBE_VARIANT_JSON spells out, or that FANSCRIBE_VARIANT names in the family's folder.

    A worker that combines others may be told the ids of its parts instead, in FANSCRIBE_VARIANTS. Raises SettingsError.
    """
    if spelled := environ.get("FANSCRIBE_VARIANT_JSON"):
        try:
            variant = Variant.model_validate_json(spelled)
        except ValidationError as error:
            raise SettingsError(f"FANSCRIBE_VARIANT_JSON is not a variant: {first_fault(error)}") from error
    elif family == FAMILY and (listed := environ.get("FANSCRIBE_VARIANTS")):
        ids = [each.strip() for each in listed.split(",") if each.strip()]
        try:
            variant = _combined(combination_of(ids))
        except ValidationError as error:
            raise SettingsError(f"FANSCRIBE_VARIANTS is {listed!r}: {first_fault(error)}") from error
        except ValueError as error:
            raise SettingsError(f"FANSCRIBE_VARIANTS is {listed!r}: {error}") from error
    else:
        name = environ.get("FANSCRIBE_VARIANT", "")
        known = sorted(_ids(family))
        if name not in known:
            raise SettingsError(f"FANSCRIBE_VARIANT is {name!r}: set it to one of {', '.join(known)}")
        try:
            variant = _from_file(name, family)
        except ValueError as error:  # pydantic's too
            first = first_fault(error) if isinstance(error, ValidationError) else str(error)
            raise SettingsError(f"the variant file {name}.yaml is wrong: {first}") from error
    if variant.family != family:
        raise SettingsError(
            f"{variant.id} belongs to the family {variant.family}, but this worker runs {family}"
        )
    return variant


def family_of(name: str) -> str | None:
    """The family of the built-in variant with this id; None where there is none."""
    families = (entry.name for entry in resources.files("fanscribe_handlers").iterdir())
    return next((family for family in sorted(families) if name in _ids(family)), None)


def _ids(family: str) -> list[str]:
    """The ids of a family's built-in variants."""
    folder = resources.files("fanscribe_handlers") / family / "variants"
    if not folder.is_dir():
        return []
    return [entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")]


def _from_file(name: str, family: str) -> Variant:
    """A built-in variant. Raises ValueError."""
    file = resources.files("fanscribe_handlers") / family / "variants" / f"{name}.yaml"
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    if family == FAMILY:
        return _combined(Combination.model_validate(data))
    return Variant.model_validate(data)


def _combined(combination: Combination) -> Variant:
    """A combination of built-in variants. Raises ValueError."""
    families = {name: family_of(name) for name in combination.parts}
    if not {None, FAMILY}.isdisjoint(families.values()):
        # All of them, so that the error can name those there are.
        folder = resources.files("fanscribe_handlers")
        families = {name: entry.name for entry in folder.iterdir() for name in _ids(entry.name)}
    known = {
        name: _from_file(name, family) for name, family in families.items() if family and family != FAMILY
    }
    return combine(combination, known)


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(f"{name} is {text!r}: set it to 1 or 0")
