"""`fanscribe cache`: the results that are kept, to look at and to remove."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fanscribe.cli.exits import clear_errors

if TYPE_CHECKING:
    from fanscribe.results import Entry, ResultStore

app = typer.Typer(no_args_is_help=True, help="Results kept by content, so that no work is paid twice.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_Location = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="PLACE",
        help="A folder, or s3://bucket/prefix. Default: FANSCRIBE_RESULTS, else your cache folder.",
        show_default=False,
    ),
]


@app.command("list")
def list_(json_: _Json = False, location: _Location = None) -> None:
    """One line a result, the last used first: kind, key, size, when it was used; then the sum."""
    with clear_errors():
        store = _opened(location)
        entries = sorted(store.entries(), key=lambda each: -each.used_at)
        total = sum(each.size_bytes for each in entries)
        if json_:
            listed = [
                {"key": each.key, "size_bytes": each.size_bytes, "used_at": round(each.used_at, 3)}
                for each in entries
            ]
            print(json.dumps({"location": store.location, "size_bytes": total, "entries": listed}, indent=2))
            return
        for each in entries:
            print(_line(each))
        print(f"{store.location}: {len(entries)} results, {_size(total)}")


@app.command()
def clear(json_: _Json = False, location: _Location = None) -> None:
    """Remove every result that is kept; other files in the place stay."""
    with clear_errors():
        store = _opened(location)
        removed = store.clear()
    if json_:
        print(json.dumps({"location": store.location, "removed": removed}))
    else:
        print(f"{store.location}: {removed} results removed")


def _opened(location: str | None) -> "ResultStore":
    from fanscribe.contracts.errors import UsageError
    from fanscribe.results import open_results

    store = open_results(location)
    if store is None:
        raise UsageError("FANSCRIBE_RESULTS is off, so nothing is kept: name a place with --at")
    return store


def _line(entry: "Entry") -> str:
    kind, digest = entry.key.split("/")
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_at))
    return f"{kind:<7}  {digest[:12]}  {_size(entry.size_bytes):>8}  {used}"


def _size(size_bytes: int) -> str:
    """Bytes as people read them, in powers of 1000: 999 B, 1.0 kB, 12.3 MB."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
