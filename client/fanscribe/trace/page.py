"""A trace as one HTML page: no script, nothing from elsewhere, everything from the trace escaped. Pure."""

import math
import time
from collections.abc import Iterator, Sequence
from html import escape
from string import Template

from fanscribe.trace.facts import Status
from fanscribe.trace.rows import MEANINGS, Paint, Row, rows_of
from fanscribe.trace.spans import Span
from fanscribe.trace.summary import summary_of

TICKS = 8
"""Lines of the time axis, at most."""

_SHADES = {
    Paint.QUEUE: ("#f0e442", "repeating-linear-gradient(90deg,#0008 0 1px,#0000 1px 6px)"),
    Paint.START: ("#cc79a7", "repeating-linear-gradient(45deg,#0007 0 1px,#0000 1px 7px)"),
    Paint.LOADING: ("#cc79a7", "repeating-linear-gradient(45deg,#0072b2 0 4px,#0000 4px 8px)"),
    Paint.LOAD: ("#0072b2", "repeating-linear-gradient(135deg,#fff9 0 1px,#0000 1px 6px)"),
    Paint.INFERENCE: ("#009e73", "none"),
    Paint.TRANSFER: ("#56b4e9", "repeating-linear-gradient(0deg,#0007 0 1px,#0000 1px 5px)"),
    Paint.WORK: ("#d55e00", "radial-gradient(#0008 1px,#0000 1.5px) 0 0/6px 6px"),
    Paint.STEP: ("#888888", "none"),
    Paint.SPAN: ("#bbbbbb", "none"),
}
"""Colours that people with colour blindness tell apart (Okabe and Ito's), each with a pattern besides."""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8885; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.2rem; margin: 0 0 .2rem; }
p { margin: .2rem 0 .8rem; }
.about { opacity: .85; }
ul.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.swatch { display: inline-block; width: 1.8rem; height: .8rem; margin-right: .4rem; vertical-align: -1px; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: 2px 6px; border-bottom: 1px solid var(--line); text-align: left; font-weight: normal;
  vertical-align: top; overflow-wrap: anywhere; }
th.name { width: 17rem; } th.time { width: 5.5rem; } th.note { width: 12rem; }
td.time { text-align: right; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 1.1rem; background: repeating-linear-gradient(90deg,
  var(--line) 0 1px, #0000 1px $tick%); }
.bar i { position: absolute; top: 0; bottom: 0; min-width: 2px; }
.bar i.span { top: 40%; bottom: 40%; } .bar i.step { top: 20%; bottom: 20%; }
.axis { position: relative; height: 1.2rem; font-variant-numeric: tabular-nums; }
.axis span { position: absolute; transform: translateX(-50%); } .axis span:first-child { transform: none; }
tr.error td.note { color: #c00; font-weight: bold; } tr.cancelled td.note { font-style: italic; }
details summary { cursor: pointer; }
details p { margin: 0; opacity: .85; }
@media (prefers-color-scheme: dark) { tr.error td.note { color: #f88; } }
$shades
</style>
</head>
<body>
<h1>Trace $trace</h1>
<p>$summary</p>
<p class="about">$about</p>
<ul class="legend">
$legend
</ul>
<table>
<caption>Where the time went. Bars are drawn from $total s; each row opens to its figures.</caption>
<thead><tr><th class="name" scope="col">what</th><th scope="col"><div class="axis">$axis</div></th>
<th class="time" scope="col">seconds</th><th class="note" scope="col">note</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
</body>
</html>
""")


def page(spans: Sequence[Span]) -> str:
    """The page of a trace whose first span is the request."""
    root, rows = spans[0], rows_of(spans)
    total_s = root.duration_s or 1e-6
    step_s = _step_s(total_s)
    at = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(root.at))
    about = ", ".join(f"{name} {value}" for name, value in root.attributes.items())
    used = {piece.paint for row in rows for piece in row.pieces}
    return _PAGE.substitute(
        title=escape(f"fanscribe trace {root.trace[:8]}"),
        trace=escape(root.trace),
        summary=escape(f"{at}: {summary_of(spans)}"),
        about=escape(about),
        shades="\n".join(_shade(each) for each in Paint),
        legend="\n".join(_meaning(each) for each in MEANINGS if each in used),
        tick=f"{100 * step_s / total_s:.4f}",
        total=f"0 to {total_s:.2f}",
        axis="".join(_ticks(total_s, step_s)),
        rows="\n".join(_row(each, total_s) for each in rows),
    )


def _shade(paint: Paint) -> str:
    colour, pattern = _SHADES[paint]
    background = colour if pattern == "none" else f"{pattern}, {colour}"
    return f".{_class(paint)} {{ background: {background}; forced-color-adjust: none; }}"


def _class(paint: Paint) -> str:
    return paint.value.replace(", ", "-")


def _meaning(paint: Paint) -> str:
    about = escape(f"{paint.value}: {MEANINGS[paint]}")
    return f'<li><span class="swatch {_class(paint)}"></span>{about}</li>'


def _row(row: Row, total_s: float) -> str:
    name = f'<span style="padding-left:{1.1 * min(row.depth, 20):.1f}rem">{escape(row.label)}</span>'
    spent: dict[Paint, float] = {}
    for each in row.pieces:
        spent[each.paint] = spent.get(each.paint, 0.0) + each.end_s - each.start_s
    told = ", ".join(
        f"{paint.value} {seconds:.3f} s" for paint, seconds in spent.items() if paint is not Paint.SPAN
    )
    told = "; ".join(each for each in (told, row.details) if each)
    bars = "".join(_bar(each.paint, each.start_s, each.end_s, total_s) for each in row.pieces)
    label = escape(f"{row.label}: from {row.start_s:.3f} s to {row.end_s:.3f} s; {told}")
    about = f"<details><summary>{name}</summary><p>{escape(told)}</p></details>" if told else name
    status = "" if row.status is Status.OK else f' class="{row.status.value}"'
    return (
        f'<tr{status}><td>{about}</td><td><div class="bar" role="img" aria-label="{label}">{bars}</div></td>'
        f'<td class="time">{row.end_s - row.start_s:.3f}</td><td class="note">{escape(row.note)}</td></tr>'
    )


def _bar(paint: Paint, start_s: float, end_s: float, total_s: float) -> str:
    left = min(max(100 * start_s / total_s, 0.0), 100.0)
    width = min(max(100 * (end_s - start_s) / total_s, 0.0), 100.0 - left)
    title = escape(f"{paint.value} {end_s - start_s:.3f} s")
    return f'<i class="{_class(paint)}" style="left:{left:.4f}%;width:{width:.4f}%" title="{title}"></i>'


def _ticks(total_s: float, step_s: float) -> Iterator[str]:
    for index in range(int(total_s / step_s) + 1):
        at = index * step_s
        yield f'<span style="left:{100 * at / total_s:.4f}%">{at:g}</span>'


def _step_s(total_s: float) -> float:
    """A round number of seconds that parts the whole into TICKS at most."""
    least = total_s / TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
