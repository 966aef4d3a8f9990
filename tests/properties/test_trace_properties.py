"""Traces of any facts: spans nest, phases fill their jobs, and the order of noting does not matter."""

import dataclasses
import itertools
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.traced import BEGAN, ids

from fanscribe.contracts.task import Timing
from fanscribe.trace.facts import JobFacts, RequestFacts, Role, Status, StepFacts, TaskFacts
from fanscribe.trace.page import page
from fanscribe.trace.phases import phases
from fanscribe.trace.rows import rows_of
from fanscribe.trace.spans import Kind, Span, spans_of
from fanscribe.trace.terminal import bar

seconds = st.floats(0, 1e5, allow_nan=False)
times = st.floats(-10, 1e4, allow_nan=False).map(lambda each: BEGAN + each)
maybe_seconds = st.none() | seconds
names = st.text(max_size=20)


@st.composite
def timings(draw: st.DrawFn) -> Timing:
    download_s, load_s, inference_s = draw(st.tuples(seconds, seconds, seconds))
    return Timing(
        download_s=download_s, load_s=load_s, inference_s=inference_s, cold_start=draw(st.booleans())
    )


@st.composite
def jobs(draw: st.DrawFn) -> JobFacts:
    began, ended = sorted((draw(times), draw(times)))
    return JobFacts(
        endpoint=draw(names),
        variant="v",
        role=draw(st.sampled_from(Role)),
        began=began,
        ended=ended,
        status=draw(st.sampled_from(Status)),
        submitted=draw(st.none() | times),
        taken=draw(st.none() | times),
        job_id=draw(names),
        delay_s=draw(maybe_seconds),
        execution_s=draw(maybe_seconds),
        timing=draw(st.none() | timings()),
        doing=draw(st.sampled_from(["", "fetching", "downloading", "loading", "running"])),
    )


@st.composite
def tasks(draw: st.DrawFn) -> TaskFacts:
    began, ended = sorted((draw(times), draw(times)))
    stage = draw(st.sampled_from(["transcribe", "diarize", "align-ch0"]))
    made = tuple(draw(st.lists(jobs(), max_size=4)))
    return TaskFacts(draw(names), stage, stage, 0.0, 60.0, began, ended, draw(st.sampled_from(Status)), made)


@st.composite
def requests(draw: st.DrawFn) -> RequestFacts:
    ended = draw(times)
    steps = tuple(StepFacts(draw(names), draw(times), draw(times)) for _ in range(draw(st.integers(0, 3))))
    return RequestFacts(1.7e9, BEGAN, ended, steps=steps, tasks=tuple(draw(st.lists(tasks(), max_size=5))))


def told(span: Span) -> tuple[Any, ...]:
    """Everything but the ids."""
    return (span.kind, span.name, span.start_s, span.end_s, span.status, sorted(span.attributes.items()))


@given(requests())
def test_children_lie_within_their_parents(facts: RequestFacts) -> None:
    spans = spans_of(facts, ids())
    seen: dict[str, Span] = {}
    for each in spans:
        assert each.id not in seen
        assert each.start_s <= each.end_s
        if each.kind is not Kind.REQUEST:
            parent = seen[each.parent or ""]  # parents come first
            assert parent.start_s <= each.start_s <= each.end_s <= parent.end_s
        seen[each.id] = each
    assert sum(each.kind is Kind.JOB for each in spans) == sum(len(each.jobs) for each in facts.tasks)


@given(jobs())
def test_phases_fill_a_job_without_a_gap(job: JobFacts) -> None:
    found = phases(job)
    edges = [job.began, *(each.ended for each in found)]
    assert [each.began for each in found] == edges[:-1]
    assert edges[-1] == job.ended
    assert all(each.began < each.ended for each in found)
    assert all(one.name is not two.name for one, two in itertools.pairwise(found))


@given(requests(), st.randoms(use_true_random=False))
def test_the_order_of_noting_does_not_matter(facts: RequestFacts, luck: random.Random) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(luck.sample(items, len(items)))

    other = dataclasses.replace(
        facts,
        steps=shuffled(facts.steps),
        tasks=shuffled(tuple(dataclasses.replace(each, jobs=shuffled(each.jobs)) for each in facts.tasks)),
    )
    assert sorted(map(told, spans_of(facts, ids())), key=repr) == (
        sorted(map(told, spans_of(other, ids())), key=repr)
    )
    assert [told(each) for each in spans_of(facts, ids()) if each.kind is not Kind.PHASE][:1] == (
        [told(each) for each in spans_of(other, ids()) if each.kind is not Kind.PHASE][:1]
    )


@given(requests(), st.integers(20, 120))
def test_every_trace_can_be_drawn(facts: RequestFacts, width: int) -> None:
    spans = spans_of(facts, ids())
    rows = rows_of(spans)
    assert sum(each.duration_s for each in spans if each.kind is Kind.PHASE) <= (
        sum(each.duration_s for each in spans if each.kind is Kind.JOB) + 1e-6
    )
    for row in rows:
        drawn = list(bar(row, spans[0].duration_s, width))
        assert sum(len(run) for _, run in drawn) == width
        assert any(paint for paint, _ in drawn)
    assert page(spans).count("<tr") == len(rows) + 1
