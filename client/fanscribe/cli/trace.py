"""`fanscribe trace`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanscribe.cli.exits import clear_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from fanscribe.trace.file import Trace, TraceFile
    from fanscribe.trace.spans import Span

_COLOURS = {
    "queue": "yellow",
    "start": "magenta",
    "start, loading": "bright_magenta",
    "load": "blue",
    "inference": "green",
    "transfer": "cyan",
    "work": "red",
    "step": "white",
    "span": "bright_black",
}
_LISTED = 5
"""So many traces are named where one has to be chosen."""


def trace(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A file of traces, or the folder that holds it. Default: FANSCRIBE_TRACES.",
            show_default=False,
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", help="Which trace: its id, or how it begins. Default: the last.", show_default=False
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write it as a page for the browser.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print its spans as JSON for machines.")] = False,
) -> None:
    """Draw where the time of a request went: each job's queue, start, load, inference and transfer."""
    from fanscribe.cli.output import write
    from fanscribe.contracts.errors import UsageError
    from fanscribe.trace.file import TRACES_VARIABLE, read, to_json, traces_file
    from fanscribe.trace.joined import joined

    with clear_errors():
        where = file or traces_file(os.environ)
        if where is None:
            raise UsageError(f"name a file of traces, or set {TRACES_VARIABLE} to the folder that holds one")
        found = read(where)
        _complain(where, found)
        chosen = _chosen(where, found, id_)
        spans = joined(chosen, found.traces)
        if html is not None:
            from fanscribe.trace.page import page

            if html.is_dir() or not html.parent.is_dir():
                raise UsageError(f"--html {html}: name a file in a folder that exists")
            write(page(spans), html, "--html")
            print(f"{html}: trace {chosen.root.trace}", file=sys.stderr)
        if json_:
            print(json.dumps([to_json(each) for each in spans], indent=2, ensure_ascii=False))
        elif html is None:
            _draw(chosen, spans)


def _complain(where: Path, found: "TraceFile") -> None:
    """Say what of a file is passed over."""
    if found.damaged_lines:
        some = ", ".join(str(each) for each in found.damaged_lines[:_LISTED])
        more = ", …" if len(found.damaged_lines) > _LISTED else ""
        print(
            f"fanscribe: {where}: {len(found.damaged_lines)} damaged lines are passed over ({some}{more})",
            file=sys.stderr,
        )
    if found.rootless:
        print(
            f"fanscribe: {where}: of {len(found.rootless)} traces the beginning is missing; they are not shown",
            file=sys.stderr,
        )


def _chosen(where: Path, found: "TraceFile", id_: str | None) -> "Trace":
    from fanscribe.contracts.errors import UsageError

    if not found.traces:
        raise UsageError(f"{where}: holds no trace")
    if id_ is None:
        return found.traces[-1]
    fitting = [each for each in found.traces if each.root.trace.startswith(id_.lower())]
    if not fitting:
        last = "; ".join(_told(each) for each in reversed(found.traces[-_LISTED:]))
        raise UsageError(f"--id {id_}: {where} has no such trace; its last ones are {last}")
    if len({each.root.trace for each in fitting}) > 1:
        raise UsageError(f"--id {id_}: {len(fitting)} traces of {where} begin so; give more of its digits")
    return fitting[-1]


def _told(each: "Trace") -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.root.at))
    return f"{each.root.trace} ({at}, {each.root.duration_s:.1f} s)"


def _draw(chosen: "Trace", spans: "Sequence[Span]") -> None:
    from rich.console import Console
    from rich.text import Text

    from fanscribe.trace.rows import rows_of
    from fanscribe.trace.summary import summary_of
    from fanscribe.trace.terminal import bar

    console = Console(highlight=False, soft_wrap=True)
    rows, total_s = rows_of(spans), chosen.root.duration_s
    label = min(max(len(each.label) + 2 * each.depth for each in rows), 32)
    width = max(20, console.width - label - 40)
    console.print(Text(f"{_told(chosen)}"))
    for row in rows:
        name = _fitted("  " * row.depth + row.label, label)
        line = Text(f"{name} ")
        for paint, run in bar(row, total_s, width):
            line.append(run, style=_COLOURS[paint] if paint else "")
        line.append(f" {row.end_s - row.start_s:8.2f} s")
        if row.note:
            line.append(f"  {_plain(row.note)}", style="" if row.status == "ok" else "red")
        console.print(line)
    _legend(console, {piece.paint.value for row in rows for piece in row.pieces})
    console.print(Text(str(summary_of(spans))))


def _legend(console: "Console", used: set[str]) -> None:
    from rich.text import Text

    from fanscribe.trace.rows import MEANINGS
    from fanscribe.trace.terminal import GLYPHS

    for paint, meaning in MEANINGS.items():
        if paint.value in used:
            line = Text("  ")
            line.append(GLYPHS[paint] * 3, style=_COLOURS[paint.value])
            console.print(line.append(f" {paint.value}: {meaning}"))


def _fitted(text: str, width: int) -> str:
    text = _plain(text)
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _plain(text: str) -> str:
    """Text of a file without what a terminal would take as a command."""
    return "".join(each if each.isprintable() else "�" for each in text)
