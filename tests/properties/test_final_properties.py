"""Whatever is called final while tasks are under way stands in the finished transcript, word for word."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scripted import Scene, deployed, done
from tests.simulated import simulated_variant

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import FanscribeError, TransportError
from fanscribe.contracts.task import DiarizeOutput, Stage, TranscribeOutput
from fanscribe.contracts.transcript import Segment, Transcript, Turn, Word
from fanscribe.pipeline.attempts import Answer, Tally
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.final import FinalSegments
from fanscribe.pipeline.join import join
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, StagePlan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import Supplied

SCENE = Scene(lambda job: done())
WORDS = ["Yes.", "no", "well", "I", "see.", "that", "is", "so?", "go", "on"]


def plan_of(way: str, timestamps: str, duration_s: float) -> Plan:
    words = deployed()
    speakers = replace(deployed("speakers"), variant=simulated_variant("simulated-diarize"))
    catalogue = Catalogue({each.variant.id: each.variant for each in (words, speakers)}, (words, speakers))
    names = ("Anna",) if duration_s > 40 else ()
    request = make_request(
        model=words.variant.id, speaker_detection=way, timestamps=timestamps, speaker_names=names
    )
    return make_plan(request, catalogue, Situation(channels=2, duration_s=duration_s))


def chunks_of(draw: random.Random, duration_s: float) -> list[Chunk]:
    """Chunks that own every moment once; some cuts have an overlap."""
    cuts = sorted(round(draw.uniform(4, duration_s - 4)) for _ in range(draw.randrange(5)))
    cuts = [cut for place, cut in enumerate(cuts) if place == 0 or cut - cuts[place - 1] >= 4]
    overlaps = [draw.choice([0.0, 1.5]) for _ in cuts]
    edges = [0.0, *map(float, cuts), duration_s]
    before, behind = [0.0, *overlaps], [*overlaps, 0.0]
    owned = list(itertools.pairwise(edges))
    return [
        Chunk(number, start, end, start - before[number], end + behind[number])
        for number, (start, end) in enumerate(owned)
    ]


def spoken(draw: random.Random, duration_s: float) -> list[Word]:
    """Words one after the other, some with a pause before them."""
    words, at = [], draw.uniform(0, 1)
    while at < duration_s - 0.5:
        length = draw.uniform(0.1, 0.6)
        words.append(Word(draw.choice(WORDS), at, at + length, 0.9))
        at += length + draw.choice([0.0, 0.05, 0.6, 1.5])
    return words


def recognised(draw: random.Random, words: Sequence[Word], chunk: Chunk) -> TranscribeOutput:
    """What a recogniser makes of a chunk: times a little off, a word missed here and there, segments of any length."""
    heard = []
    for word in words:
        if chunk.heard_start <= word.start and word.end <= chunk.heard_end and draw.random() > 0.03:
            off = draw.uniform(-0.05, 0.05) - chunk.heard_start
            heard.append(
                Word(word.text, round(word.start + off, 3), round(word.end + off, 3), word.confidence)
            )
    segments = []
    while heard:
        own, heard = heard[: (size := draw.randrange(1, 9))], heard[size:]
        text = " ".join(each.text for each in own)
        bare = draw.random() < 0.1
        segments.append(Segment(own[0].start, own[-1].end, text, words=[] if bare else own))
    return TranscribeOutput(
        text="", language="en", duration=chunk.heard_end - chunk.heard_start, segments=segments
    )


def diarized(draw: random.Random, duration_s: float) -> DiarizeOutput:
    """Turns of up to three speakers, some of them at once."""
    turns, at = [], 0.0
    while at < duration_s:
        length = draw.choice([0.05, 0.4, 2.0, 6.0])
        turns.append(
            Turn(round(at, 3), round(min(at + length, duration_s), 3), f"SPEAKER_0{draw.randrange(3)}")
        )
        at += length + draw.choice([-0.3, 0.0, 0.3, 2.0])
        at = max(at, turns[-1].start + 0.02)
    labels = sorted({turn.speaker for turn in turns})
    voices = {label: [float(label == other) for other in labels] for label in labels}
    return DiarizeOutput(segments=turns, num_speakers=len(labels), embeddings=voices, duration=duration_s)


def outcomes_of(draw: random.Random, plan: Plan, duration_s: float) -> list[Outcome]:
    found: list[Outcome] = []
    for stage in plan.stages:
        if stage.stage is Stage.DIARIZE:
            chunk = Chunk(0, 0.0, duration_s, 0.0, duration_s)
            found.append(outcome(draw, stage, chunk, diarized(draw, duration_s), "speakers"))
            continue
        words = spoken(draw, duration_s)
        found += [
            outcome(draw, stage, chunk, recognised(draw, words, chunk), "words")
            for chunk in chunks_of(draw, duration_s)
        ]
    draw.shuffle(found)
    return found


def outcome(
    draw: random.Random, stage: StagePlan, chunk: Chunk, output: TranscribeOutput | DiarizeOutput, route: str
) -> Outcome:
    span = Span(chunk, stage.channel, "d" * 64)
    name = f"{stage.id}-{chunk.index}"
    if draw.random() < 0.08:
        return Outcome(name, stage, span, None, TransportError("the line is dead"), Tally(4))
    return Outcome(name, stage, span, Answer(output, SCENE.route(route)), None, Tally(1))


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    way=st.sampled_from(["none", "diarize", "per_channel"]),
    timestamps=st.sampled_from(["word", "word", "segment"]),
    duration_s=st.sampled_from([10.0, 30.0, 80.0]),
)
def test_what_is_final_stays(seed: int, way: str, timestamps: str, duration_s: float) -> None:
    draw = random.Random(seed)
    plan = plan_of(way, timestamps, duration_s)
    outcomes = outcomes_of(draw, plan, duration_s)
    final, seen = FinalSegments(plan), []
    decoded_after = draw.randrange(len(outcomes) + 1)
    for number, each in enumerate(outcomes):
        if number == decoded_after:
            final.decoded(duration_s)
        final.settled(each)
        seen.append(final.segments())
    try:
        transcript: Transcript = join(plan, Supplied(duration_s, ()), outcomes)
    except FanscribeError:
        assert not any(seen)  # nothing was recognised at all
        return
    for segments in seen:
        assert segments == transcript.segments[: len(segments)]
    assert [len(each) for each in seen] == sorted(len(each) for each in seen)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), duration_s=st.sampled_from([30.0, 80.0]))
def test_without_speakers_all_is_final_at_the_end(seed: int, duration_s: float) -> None:
    draw = random.Random(seed)
    plan = plan_of("none", "word", duration_s)
    final = FinalSegments(plan)
    outcomes = outcomes_of(draw, plan, duration_s)
    for each in outcomes:
        final.settled(each)
    if any(each.answer for each in outcomes):
        transcript = join(plan, Supplied(duration_s, ()), outcomes)
        assert final.segments() == transcript.segments
        assert final.text() == transcript.text
