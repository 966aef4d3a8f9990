"""An account's holdings as a file, so that a platform that is started again has them."""

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fanscribe.local.management.account import AccountError, Holdings

FILE = "account.json"
_ADAPTER = TypeAdapter(Holdings)


def write(holdings: Holdings, folder: Path) -> None:
    """Keep the holdings in the folder, readable by its owner only: environments may hold anything."""
    new = folder / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_ADAPTER.dump_json(holdings))
    new.replace(folder / FILE)


def read(folder: Path) -> Holdings:
    """The holdings in the folder, none where there are none yet.

    Raises AccountError when the file is not one of ours: an account must not be lost without a word.
    """
    try:
        text = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return Holdings()
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise AccountError(
            f"{folder / FILE} is not an account of this program ({where}: {first['msg']}); move it away to start"
            " without its endpoints"
        ) from None
