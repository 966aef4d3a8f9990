"""Requests within a request, drawn as one."""

from dataclasses import replace

from tests.traced import WALL_S, ids, job, request, task

from fanscribe.trace.file import Trace
from fanscribe.trace.joined import joined
from fanscribe.trace.spans import Span, spans_of
from fanscribe.trace.traceparent import Ids


def made(facts_at_s: float, own: Ids) -> Trace:
    spans = spans_of(replace(request(task(job())), wall_s=WALL_S + facts_at_s), own)
    return Trace(spans[0], spans)


def within(outer: Trace, at_s: float) -> Trace:
    return made(at_s, Ids(outer.root.trace, outer.root.id))


def stretch(spans: list[Span], of: Trace) -> tuple[float, float]:
    (root,) = [each for each in spans if each.id == of.root.id]
    return root.start_s, root.end_s


def test_an_inner_request_lies_where_it_happened() -> None:
    outer = made(0.0, ids("a" * 32))
    inner, stranger, neighbour = (
        within(outer, 1.0),
        made(1.0, Ids("b" * 32, outer.root.id)),
        made(2.0, Ids("a" * 32)),
    )
    spans = joined(outer, [inner, stranger, neighbour, outer])
    assert spans[: len(outer.spans)] == outer.spans
    assert len(spans) == len(outer.spans) + len(inner.spans)
    assert stretch(spans, inner) == (1.0, outer.root.duration_s)
    moved = {each.id: each for each in spans}
    for each in inner.spans:
        assert moved[each.id].start_s == min(each.start_s + 1.0, outer.root.duration_s)


def test_a_clock_that_is_wrong_moves_nothing_out_of_the_request() -> None:
    outer = made(0.0, ids("a" * 32))
    for early_or_late in (-3600.0, 3600.0):
        spans = joined(outer, [within(outer, early_or_late)])
        assert all(0 <= each.start_s <= each.end_s <= outer.root.duration_s for each in spans)


def test_a_request_alone_stays_as_it_is() -> None:
    alone = made(0.0, ids())
    assert joined(alone, [alone]) == alone.spans
