"""One folder out of several, made of links."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def join(main: Path | None, parts: Mapping[str, Path], root: Path) -> Path:
    """A folder below `root` with links to everything in `main` (None: nothing), and to each of `parts` under its name.

    A name may have slashes (`organisation/name`). The folder is called after what it holds, so it is made once, also
    when several workers start together. Raises ValueError where a name is taken in `main`.
    """
    contents = "\n".join([str(main), *(f"{name} {folder}" for name, folder in sorted(parts.items()))])
    whole = root / hashlib.sha256(contents.encode()).hexdigest()[:16]
    if whole.is_dir():
        return whole
    root.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=root, prefix=".making-"))
    try:
        for entry in main.iterdir() if main else ():
            (made / entry.name).symlink_to(entry.absolute())
        for name, folder in parts.items():
            link = made / name
            if link.parent.is_symlink() or link.is_symlink():
                raise ValueError(f"{main} has a file or folder where its part {name} belongs")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder.absolute(), target_is_directory=True)
        try:
            os.rename(made, whole)
        except OSError:
            if not whole.is_dir():  # else another worker was quicker
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return whole
