"""Plans: which stages, on which endpoints, and what is said when nothing fits."""

import itertools
from typing import Any

import pytest

from fanscribe.catalogue import Catalogue, DeployedEndpoint
from fanscribe.contracts.errors import PlanError, UsageError
from fanscribe.contracts.task import DiarizeInput, Stage, Timestamps, TranscribeInput
from fanscribe.contracts.variant import Capabilities, Fact, Hardware, Model, Performance, Variant
from fanscribe.pipeline.cost import Capacity
from fanscribe.pipeline.inputs import make_input
from fanscribe.pipeline.plan import Plan, StagePlan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation

FACT = Fact(value=1, source="test")


def _variant(name: str, *stages: Stage, aliases: tuple[str, ...] = (), **capabilities: object) -> Variant:
    return Variant(
        schema_version=1,
        id=name,
        family="test",
        stages=list(stages),
        name=name,
        aliases=list(aliases),
        model=Model(source="bundled", licence="mit"),
        capabilities=Capabilities.model_validate(capabilities),
        hardware=Hardware(min_ram_gb=1, cpu=True),
        performance=Performance(load_s=FACT, rtf={}, overhead_s=FACT),
    )


WORDS = _variant("words", Stage.TRANSCRIBE, aliases=("w",), word_timestamps=True)
PLAIN = _variant("plain", Stage.TRANSCRIBE)
GERMAN = _variant("german", Stage.TRANSCRIBE, word_timestamps=True, languages=["de"], max_audio_s=100)
SPEAKERS = _variant("speakers", Stage.DIARIZE)
BOTH = _variant("both", Stage.TRANSCRIBE, Stage.DIARIZE, word_timestamps=True)
KNOWN = (WORDS, PLAIN, GERMAN, SPEAKERS)


def _catalogue(*deployed: Variant, known: tuple[Variant, ...] = KNOWN) -> Catalogue:
    aliases = {alias: each.id for each in known for alias in each.aliases}
    endpoints = tuple(DeployedEndpoint(each.id, f"id-{each.id}", each) for each in deployed)
    return Catalogue({each.id: each for each in known}, endpoints, aliases)


def _plan(
    options: dict[str, object], *deployed: Variant, known: tuple[Variant, ...] = KNOWN, **situation: object
) -> Plan:
    about = Situation(**{"duration_s": 10.0, **situation})  # type: ignore[arg-type]
    return make_plan(make_request(**options), _catalogue(*deployed, known=known), about)  # type: ignore[arg-type]


def _chunks(stage: StagePlan) -> int:
    return len(stage.division.sizes_s)


def test_without_speakers_there_is_one_stage() -> None:
    plan = _plan({}, WORDS, SPEAKERS, channels=2)
    assert [(each.id, each.endpoint.id, each.channel) for each in plan.stages] == [
        ("transcribe", "id-words", None)
    ]


def test_diarization_goes_beside_the_recogniser_on_the_mix() -> None:
    plan = _plan({"diarize": True}, WORDS, SPEAKERS, channels=2)
    assert [(each.stage, each.channel) for each in plan.stages] == [
        (Stage.DIARIZE, None),
        (Stage.TRANSCRIBE, None),
    ]


def test_a_recogniser_that_diarizes_does_both_in_one_pass() -> None:
    plan = _plan({"diarize": True}, BOTH, SPEAKERS, known=(*KNOWN, BOTH))
    assert [(each.id, each.also_diarizes) for each in plan.stages] == [("transcribe", True)]


def test_per_channel_needs_no_diarizer_and_shares_the_workers() -> None:
    capacity = Capacity(rtf=1.0, workers_max=6, workers_warm=6)
    plan = _plan({"per_channel": True}, WORDS, channels=3, duration_s=3600.0, capacities={"words": capacity})
    assert [each.id for each in plan.stages] == ["transcribe-ch0", "transcribe-ch1", "transcribe-ch2"]
    assert [each.division.width for each in plan.stages] == [2, 2, 2]


def test_auto_takes_the_first_that_fits() -> None:
    assert _plan({"language": "en"}, PLAIN, GERMAN, WORDS).stages[0].endpoint.variant is WORDS
    assert _plan({"language": "de"}, PLAIN, GERMAN, WORDS).stages[0].endpoint.variant is GERMAN
    assert _plan({"timestamps": "none"}, PLAIN, GERMAN, WORDS).stages[0].endpoint.variant is PLAIN


def test_the_cheapest_goes_first_and_the_others_stand_by() -> None:
    cheap = Capacity(rtf=0.1, price_per_s=0.0001)
    dear = Capacity(rtf=0.1, price_per_s=0.001)
    plan = _plan({"language": "de"}, WORDS, GERMAN, capacities={"words": dear, "german": cheap})
    assert [each.variant for each in plan.stages[0].endpoints] == [GERMAN, WORDS]
    assert plan.stages[0].bounds.longest_s == 100, "what any of them can take"


def test_a_model_is_chosen_by_id_or_alias() -> None:
    for name in ("words", "w"):
        stage = _plan({"model": name}, GERMAN, WORDS).stages[0]
        assert [each.variant for each in stage.endpoints] == [WORDS]


def test_audio_above_the_engines_limit_is_cut() -> None:
    (stage,) = _plan({"language": "de"}, GERMAN, duration_s=950.0).stages
    assert _chunks(stage) >= 10
    assert stage.divided
    assert sum(stage.division.sizes_s) == pytest.approx(950.0)
    assert max(stage.division.sizes_s) <= 100


def test_a_chunk_fits_into_a_request_where_nothing_can_be_stored() -> None:
    (stored,) = _plan({}, WORDS, duration_s=3000.0).stages
    (inline,) = _plan({}, WORDS, duration_s=3000.0, inline_limit_bytes=2_400_000).stages
    assert _chunks(stored) == 1
    assert max(inline.division.sizes_s) <= 100.0


def test_diarization_is_cut_into_long_chunks_only() -> None:
    capacity = Capacity(rtf=1.0, workers_max=20, workers_warm=20)
    both = {"words": capacity, "speakers": capacity}
    diarize, transcribe = _plan({"diarize": True}, WORDS, SPEAKERS, duration_s=3600.0, capacities=both).stages
    assert min(diarize.division.sizes_s) == pytest.approx(600)
    assert _chunks(diarize) > 1
    # What ends before the diarization does is made as cheap as that allows.
    assert transcribe.division.forecast.makespan_s <= 1.02 * diarize.division.forecast.makespan_s
    assert (diarize.window_s, diarize.overlap_s) == (0.0, 15.0)


def test_more_workers_make_more_and_shorter_chunks() -> None:
    spans = []
    for workers in (1, 4, 16):
        capacity = Capacity(rtf=0.5, overhead_s=0.2, workers_max=workers, workers_warm=workers)
        plan = _plan({}, WORDS, duration_s=3600.0, capacities={"words": capacity})
        spans.append((_chunks(plan.stages[0]), plan.makespan_s))
    assert [chunks for chunks, _ in spans] == sorted(chunks for chunks, _ in spans)
    assert spans[0][1] > 3 * spans[1][1] > 9 * spans[2][1]


def test_where_the_length_is_a_guess_cuts_have_no_end() -> None:
    (stage,) = _plan({"language": "de"}, GERMAN, duration_s=950.0, exact=False).stages
    wanted = list(itertools.islice(stage.wanted_s(), 40))
    assert wanted == sorted(wanted)
    assert wanted[-1] > 950.0
    assert stage.divided
    (unknown,) = _plan({}, WORDS, duration_s=None).stages
    assert next(unknown.wanted_s()) > 0


@pytest.mark.parametrize(
    ("send", "duration_s", "by_reference"),
    [
        ("auto", 60.0, [False, False]),
        ("auto", 3000.0, [True, False]),
        ("inline", 3000.0, [False, False]),
        ("reference", 60.0, [True, True]),
    ],
)
def test_workers_read_the_recording_themselves_where_it_spares_a_cut(
    send: str, duration_s: float, by_reference: list[bool]
) -> None:
    about: dict[str, Any] = {"duration_s": duration_s, "inline_limit_bytes": 7_000_000}
    plan = _plan(
        {"diarize": True, "send": send}, WORDS, SPEAKERS, address="https://example.org/talk.mp3", **about
    )
    assert [each.by_reference for each in plan.stages] == by_reference
    nowhere = _plan({"diarize": True, "send": send}, WORDS, SPEAKERS, **about)
    assert not any(each.by_reference for each in nowhere.stages)


@pytest.mark.parametrize(
    ("options", "deployed", "said"),
    [
        ({"model": "nope"}, (WORDS,), "--model nope: unknown model"),
        ({"model": "german"}, (WORDS,), "german is not deployed; deployed: words; add an endpoint"),
        ({"model": "speakers"}, (WORDS, SPEAKERS), "speakers does not transcribe"),
        ({"diarize": True}, (WORDS,), "no deployed endpoint can diarize; these variants could: speakers"),
        ({}, (SPEAKERS,), "no deployed endpoint can transcribe; these variants could: german, plain, words"),
        ({"language": "en"}, (GERMAN,), "--language en: german does not know it"),
        ({"task": "translate"}, (WORDS,), "words does not translate"),
        ({"timestamps": "word"}, (PLAIN,), "plain gives no word times"),
    ],
)
def test_what_cannot_be_served_is_said(
    options: dict[str, object], deployed: tuple[Variant, ...], said: str
) -> None:
    with pytest.raises((PlanError, UsageError), match=said):
        _plan(options, *deployed)


def test_simulated_engines_serve_only_those_who_name_one() -> None:
    simulated = {
        stage: _variant(f"simulated-{stage}", stage, word_timestamps=True).model_copy(
            update={"options": {"simulated": True}}
        )
        for stage in (Stage.TRANSCRIBE, Stage.DIARIZE)
    }
    known = (WORDS, SPEAKERS, *simulated.values())
    deployed = (*simulated.values(), WORDS, SPEAKERS)
    plan = _plan({"diarize": True}, *deployed, known=known)
    assert [each.endpoint.variant for each in plan.stages] == [SPEAKERS, WORDS]
    plan = _plan({"diarize": True, "model": "simulated-transcribe"}, *deployed, known=known)
    names = [each.endpoint.variant.id for each in plan.stages]
    assert names == ["simulated-diarize", "simulated-transcribe"]
    with pytest.raises(PlanError, match="no deployed endpoint can transcribe"):
        _plan({}, *simulated.values(), known=known)


def test_task_inputs_carry_the_request() -> None:
    options: dict[str, object] = {"timestamps": "none", "keyterms": ("ComfyUI",)}
    plan = _plan({"diarize": True, "min_speakers": 2, **options}, GERMAN, SPEAKERS)
    audio = {"audio": "data:,"}
    diarize, transcribe = (make_input(each, plan.request, "de", audio) for each in plan.stages)
    assert isinstance(diarize, DiarizeInput)
    assert diarize.min_speakers == 2
    assert isinstance(transcribe, TranscribeInput)
    # Speakers are given to words, so the words are timed even when the caller does not want the times.
    assert (transcribe.language, transcribe.timestamps) == ("de", Timestamps.WORD)
    assert transcribe.keyterms == ["ComfyUI"]


@pytest.mark.parametrize(
    ("bounds", "passed_on"), [({"speakers": 3}, 3), ({"min_speakers": 2}, None), ({"max_speakers": 4}, 4)]
)
def test_a_chunk_need_not_hold_all_speakers(bounds: dict[str, object], passed_on: int | None) -> None:
    capacity = Capacity(rtf=1.0, workers_max=20, workers_warm=20)
    both = {"words": capacity, "speakers": capacity}
    plan = _plan({"diarize": True, **bounds}, WORDS, SPEAKERS, duration_s=7200.0, capacities=both)
    task = make_input(plan.stages[0], plan.request, None, {"audio": "data:,"})
    assert isinstance(task, DiarizeInput)
    assert plan.stages[0].divided
    assert (task.num_speakers, task.min_speakers, task.max_speakers) == (None, None, passed_on)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"diarize": True, "per_channel": True}, "exclude each other"),
        ({"speakers": 2}, "needs diarization"),
        ({"diarize": True, "speakers": 0}, "num_speakers"),
        ({"diarize": True, "speakers": 2, "max_speakers": 3}, "excludes"),
        ({"diarize": True, "min_speakers": 4, "max_speakers": 3}, "above"),
        ({"language": "english"}, "language"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"colour": "red"}, "colour"),
        ({"diarize": True, "speaker_detection": "none"}, "contradicts"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_request(**options)  # type: ignore[arg-type]
