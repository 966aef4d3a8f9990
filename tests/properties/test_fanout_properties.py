"""However a recording is cut, and in whatever order the answers come: every word, once."""

import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.scripted import Scene, deployed, done

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.task import TranscribeInput, TranscribeOutput
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.coverage import tiles
from fanscribe.pipeline.cuts import Chunk, Cut, CutFinder, KnownCuts
from fanscribe.pipeline.join import join
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import Supplied, halved
from fanscribe_handlers.simulated.coded import listen
from fanscribe_handlers.simulated.engine import understood
from fanscribe_handlers.simulated.recording import CodedRecording

SCENE = Scene(lambda job: done())
SAMPLE_RATE = 16_000


def plan_of(duration_s: float) -> Plan:
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    return make_plan(make_request(model=endpoint.variant.id), catalogue, Situation(duration_s=duration_s))


def chunks_of(cutter: CutFinder | KnownCuts, samples: NDArray[np.float32], block: int) -> list[Chunk]:
    """The chunks, with the samples coming in blocks of this size."""
    found: list[Chunk] = []
    for first in range(0, len(samples), block):
        found += cutter.feed(samples[first : first + block])
    return found + cutter.finish()


def heard(plan: Plan, samples: NDArray[np.float32], spans: Sequence[Span]) -> list[Outcome]:
    """What workers answer who hear the spans."""
    outcomes = []
    for span in spans:
        first, last = (round(each * SAMPLE_RATE) for each in (span.chunk.heard_start, span.chunk.heard_end))
        piece = samples[first:last]
        result = understood(TranscribeInput(audio="data:,"), listen(piece), piece)
        output = {**result.model_dump(), "engine": "simulated 1"}
        answer = Answer(TranscribeOutput.model_validate(output), SCENE.route())
        outcomes.append(Outcome(f"transcribe-{span.number}", plan.stages[0], span, answer, None, Tally(1)))
    return outcomes


@st.composite
def wanted(draw: st.DrawFn, duration_s: float) -> list[float]:
    places = draw(st.lists(st.floats(3.0, duration_s), max_size=6, unique=True))
    return sorted(places)


RECORDINGS = st.builds(
    CodedRecording,
    words=st.integers(40, 140),
    pause_s=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.7]),
    first_word=st.integers(0, 1000),
)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), recording=RECORDINGS, window_s=st.sampled_from([0.0, 2.0, 6.0]))
def test_every_word_once(data: st.DataObject, recording: CodedRecording, window_s: float) -> None:
    samples = recording.floats()
    places = data.draw(wanted(recording.duration_s))
    finder = CutFinder(places, limit_s=60.0, window_s=window_s)
    chunks = chunks_of(finder, samples, 16_000)
    spans = [Span(chunk, None, "d" * 64) for chunk in chunks]
    if data.draw(st.booleans(), label="halve one"):
        # Halves of an address keep the file's own times; here they are heard like files.
        chosen = data.draw(st.sampled_from(spans))
        if chosen.chunk.end - chosen.chunk.start >= 10:
            place = spans.index(chosen)
            spans[place : place + 1] = halved(chosen, 1.5)
    assert tiles([each.chunk for each in spans], recording.duration_s)
    plan = plan_of(recording.duration_s)
    outcomes = heard(plan, samples, spans)
    random.Random(data.draw(st.integers(0, 99))).shuffle(outcomes)
    transcript = join(plan, Supplied(recording.duration_s, ()), outcomes)
    assert [each.text for each in transcript.words] == [each.text for each in recording.spoken()]
    for found, meant in zip(transcript.words, recording.spoken(), strict=True):
        assert abs(found.start - meant.start) < 0.21
    assert transcript.gaps == []


@settings(max_examples=25, deadline=None)
@given(data=st.data(), recording=RECORDINGS, block=st.sampled_from([1600, 4096, 50_000]))
def test_known_cuts_give_the_same_spans(data: st.DataObject, recording: CodedRecording, block: int) -> None:
    samples = recording.floats()
    finder = CutFinder(data.draw(wanted(recording.duration_s)), limit_s=30.0)
    first = chunks_of(finder, samples, 16_000)
    again = chunks_of(KnownCuts([Cut(each.at_s, each.overlap_s) for each in finder.cuts]), samples, block)
    assert again == first
