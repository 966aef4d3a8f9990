"""A trace as the rows of a waterfall. Pure; what draws them, on a terminal or a page, knows nothing of traces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fanscribe.trace.facts import Role, Status
from fanscribe.trace.phases import PhaseName
from fanscribe.trace.spans import Kind, Span


class Paint(StrEnum):
    """What a piece of a bar stands for. `LOADING`: a worker starts, and loads its model meanwhile."""

    QUEUE = "queue"
    START = "start"
    LOADING = "start, loading"
    LOAD = "load"
    INFERENCE = "inference"
    TRANSFER = "transfer"
    WORK = "work"
    STEP = "step"
    SPAN = "span"


MEANINGS = {
    Paint.QUEUE: "waiting for a worker that is up",
    Paint.START: "waiting for a worker that starts",
    Paint.LOADING: "the same, its model loads meanwhile",
    Paint.LOAD: "waiting for the model",
    Paint.INFERENCE: "the engine works",
    Paint.TRANSFER: "sound or answer on their way",
    Paint.WORK: "with the worker, which did not tell",
    Paint.STEP: "work of this process",
    Paint.SPAN: "the whole, from its first to its last",
}
"""The legend."""

_PHASES = frozenset(name.value for name in PhaseName)
_KINDS = list(Kind)


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of a bar, in seconds from the trace's begin."""

    paint: Paint
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the waterfall. `note` says what is special about it, `details` what else is known."""

    depth: int
    label: str
    start_s: float
    end_s: float
    pieces: tuple[Piece, ...]
    status: Status
    note: str = ""
    details: str = ""


def rows_of(spans: Sequence[Span]) -> list[Row]:
    """The rows of a trace whose first span is the request. A task with a single job shares its row with it.

    A span whose parent is missing (its line was damaged) or is no larger kind of thing hangs from the request; one that
    is there twice is drawn once. So whatever a file holds is a tree, and a low one.
    """
    root, known = spans[0], {spans[0].id: spans[0].kind}
    children: dict[str, list[Span]] = {}
    for each in spans[1:]:
        if each.id in known:
            continue
        outer = known.get(each.parent or "", each.kind)
        parent = each.parent if _KINDS.index(outer) < _KINDS.index(each.kind) else root.id
        children.setdefault(parent or root.id, []).append(each)
        known[each.id] = each.kind
    return list(_rows(root, children, 0))


def _rows(span: Span, children: dict[str, list[Span]], depth: int) -> Iterator[Row]:
    below = children.get(span.id, [])
    jobs = [each for each in below if each.kind is Kind.JOB]
    if span.kind is Kind.TASK and len(below) == len(jobs) == 1:
        job = jobs[0]
        pieces = _pieces(job, children.get(job.id, []))
        note, details = _note(span, job), f"{_details(span)}; job {_details(job)}"
        yield Row(depth, span.name, span.start_s, span.end_s, pieces, span.status, note, details)
        return
    pieces = _pieces(span, below)
    yield Row(
        depth, span.name, span.start_s, span.end_s, pieces, span.status, _note(span, span), _details(span)
    )
    for each in below:
        if each.kind is not Kind.PHASE:
            yield from _rows(each, children, depth + 1)


def _pieces(span: Span, below: Sequence[Span]) -> tuple[Piece, ...]:
    if span.kind is not Kind.JOB:
        paint = Paint.STEP if span.kind is Kind.STEP else Paint.SPAN
        return (Piece(paint, span.start_s, span.end_s),)
    phases = [each for each in below if each.kind is Kind.PHASE and each.name in _PHASES]
    pieces: list[Piece] = []
    for each in phases:
        if each.name == PhaseName.START:
            pieces += _starting(each, _hidden_load_s(span, phases))
        else:
            pieces.append(Piece(Paint(each.name), each.start_s, each.end_s))
    return tuple(pieces) or (Piece(Paint.WORK, span.start_s, span.end_s),)


def _hidden_load_s(job: Span, phases: Sequence[Span]) -> float:
    """The seconds of a load that went by while its worker started, at the latest when the sound was there."""
    load_s = job.attributes.get("load_s", 0.0)
    if not isinstance(load_s, int | float):
        return 0.0
    waited_s = sum(each.duration_s for each in phases if each.name == PhaseName.LOAD)
    fetched_s = job.attributes.get("download_s", 0.0)
    beside_s = fetched_s if isinstance(fetched_s, int | float) and waited_s > 0 else 0.0
    return max(0.0, load_s - waited_s - beside_s)


def _starting(start: Span, loading_s: float) -> list[Piece]:
    border_s = max(start.start_s, start.end_s - loading_s)
    pieces = [Piece(Paint.START, start.start_s, border_s), Piece(Paint.LOADING, border_s, start.end_s)]
    return [each for each in pieces if each.end_s > each.start_s]


def _note(span: Span, job: Span) -> str:
    """In a few words: what is not as usual."""
    words = []
    role = job.attributes.get("role")
    if role not in (None, Role.FIRST.value):
        words.append(str(role))
    if job.attributes.get("cold_start") is True:
        words.append("cold start")
    if span.attributes.get("reused") is True:
        words.append("kept from before")
    if span.status is Status.CANCELLED:
        words.append("cancelled")
    if span.status is Status.ERROR:
        words.append(span.error or "failed")
    return ", ".join(words)


def _details(span: Span) -> str:
    about = [f"{name} {_shown(value)}" for name, value in span.attributes.items() if name != "task"]
    return ", ".join([*([span.name] if span.kind is Kind.JOB else []), *about])


def _shown(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
