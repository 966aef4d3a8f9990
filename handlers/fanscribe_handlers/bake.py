"""Put the weights of a variant into a folder: `python -m fanscribe_handlers.bake VARIANT FOLDER`.

Image builds run it, so that a worker finds its model on its own disk and fetches nothing when it starts. A gated
model needs HF_TOKEN in the environment of the build; it is read there and written nowhere.
"""

import os
import shutil
import sys
from pathlib import Path

from fanscribe.contracts.variant import Variant
from fanscribe.worker_environment import SettingsError
from fanscribe_handlers.models import ModelMissing, Places, locate
from fanscribe_handlers.settings import family_of, read_variant


def main(arguments: list[str]) -> int:
    """Copy the weights; returns the exit code: 0 done, 1 the weights cannot be had, 2 wrong usage."""
    if len(arguments) != 2:
        print("usage: python -m fanscribe_handlers.bake VARIANT FOLDER", file=sys.stderr)
        return 2
    name, folder = arguments[0], Path(arguments[1])
    try:
        variant = named(name)
        if variant.model.source == "bundled":
            raise SettingsError(f"{name}: its weights are part of the package: leave BAKE_MODEL empty")
        copied = bake(variant, folder, Places.from_env(os.environ))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModelMissing as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {copied} bytes in {folder}")
    return 0


def named(name: str) -> Variant:
    """The built-in variant with this id, of whichever family. Raises SettingsError."""
    family = family_of(name)
    if family is not None:
        return read_variant({"FANSCRIBE_VARIANT": name}, family)
    raise SettingsError(f"there is no variant {name!r}: `fanscribe engines list` shows those there are")


def bake(variant: Variant, folder: Path, places: Places) -> int:
    """Copy the weights of `variant` into `folder`, links resolved; returns their size in bytes.

    Raises ModelMissing where no place has them.
    """
    shutil.copytree(locate(variant, places, os.environ), folder, dirs_exist_ok=True)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
