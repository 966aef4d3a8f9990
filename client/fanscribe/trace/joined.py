"""Requests of one trace as one: what an orchestrator noted, within the request of the client that called it. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from fanscribe.trace.file import Trace
from fanscribe.trace.spans import Span


def joined(chosen: Trace, traces: Sequence[Trace]) -> list[Span]:
    """The spans of a request and of those of `traces` that were made within it, in seconds from its own begin.

    Clocks of two machines differ, so what would begin before the request or end after it is moved to its edge.
    """
    spans = list(chosen.spans)
    ids, left = {each.id for each in spans}, [each for each in traces if each.root.trace == chosen.root.trace]
    while inner := next((each for each in left if each.root.parent in ids and each.root.id not in ids), None):
        shift_s = inner.root.at - chosen.root.at
        spans += [_moved(each, shift_s, chosen.root.duration_s) for each in inner.spans]
        ids |= {each.id for each in inner.spans}
    return spans


def _moved(span: Span, shift_s: float, most_s: float) -> Span:
    start_s = min(max(span.start_s + shift_s, 0.0), most_s)
    return replace(span, start_s=start_s, end_s=min(max(span.end_s + shift_s, start_s), most_s))
