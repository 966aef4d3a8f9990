"""Plans: which stages, on which endpoints, and what is said when nothing fits."""

import pytest

from fanscribe.catalogue import Catalogue, DeployedEndpoint
from fanscribe.contracts.errors import PlanError, UsageError
from fanscribe.contracts.task import DiarizeInput, Stage, Timestamps, TranscribeInput
from fanscribe.contracts.variant import Capabilities, Fact, Hardware, Model, Performance, Variant
from fanscribe.pipeline.plan import make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import task_input

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


def _catalogue(
    *deployed: Variant, known: tuple[Variant, ...] = (WORDS, PLAIN, GERMAN, SPEAKERS)
) -> Catalogue:
    aliases = {alias: each.id for each in known for alias in each.aliases}
    endpoints = tuple(DeployedEndpoint(each.id, f"id-{each.id}", each) for each in deployed)
    return Catalogue({each.id: each for each in known}, endpoints, aliases)


def test_without_speakers_there_is_one_task() -> None:
    plan = make_plan(make_request(), _catalogue(WORDS, SPEAKERS), channels=2, duration_s=10)
    assert [(task.stage, task.endpoint.id, task.channel) for task in plan.tasks] == [
        (Stage.TRANSCRIBE, "id-words", None)
    ]


def test_diarization_goes_beside_the_recogniser_on_the_mix() -> None:
    plan = make_plan(make_request(diarize=True), _catalogue(WORDS, SPEAKERS), channels=2)
    assert [task.stage for task in plan.tasks] == [Stage.DIARIZE, Stage.TRANSCRIBE]
    assert plan.channels == (None,)


def test_per_channel_needs_no_diarizer() -> None:
    plan = make_plan(make_request(per_channel=True), _catalogue(WORDS), channels=3)
    assert plan.channels == (0, 1, 2)
    assert {task.stage for task in plan.tasks} == {Stage.TRANSCRIBE}


def test_auto_takes_the_first_that_fits() -> None:
    catalogue = _catalogue(PLAIN, GERMAN, WORDS)
    assert make_plan(make_request(language="en"), catalogue, channels=1).tasks[0].variant is WORDS
    assert make_plan(make_request(language="de"), catalogue, channels=1).tasks[0].variant is GERMAN
    long = make_plan(make_request(language="de"), catalogue, channels=1, duration_s=101)
    assert long.tasks[0].variant is WORDS
    assert make_plan(make_request(timestamps="none"), catalogue, channels=1).tasks[0].variant is PLAIN


def test_a_model_is_chosen_by_id_or_alias() -> None:
    for name in ("words", "w"):
        plan = make_plan(make_request(model=name), _catalogue(GERMAN, WORDS), channels=1)
        assert plan.tasks[0].variant is WORDS


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
        make_plan(make_request(**options), _catalogue(*deployed), channels=1, duration_s=1)  # type: ignore[arg-type]


def test_simulated_engines_serve_only_those_who_name_one() -> None:
    simulated = {
        stage: _variant(f"simulated-{stage}", stage, word_timestamps=True).model_copy(
            update={"options": {"simulated": True}}
        )
        for stage in (Stage.TRANSCRIBE, Stage.DIARIZE)
    }
    known = (WORDS, SPEAKERS, *simulated.values())
    catalogue = _catalogue(*simulated.values(), WORDS, SPEAKERS, known=known)
    plan = make_plan(make_request(diarize=True), catalogue, channels=1)
    assert [task.variant for task in plan.tasks] == [SPEAKERS, WORDS]
    plan = make_plan(make_request(diarize=True, model="simulated-transcribe"), catalogue, channels=1)
    assert [task.variant.id for task in plan.tasks] == ["simulated-diarize", "simulated-transcribe"]
    with pytest.raises(PlanError, match="no deployed endpoint can transcribe"):
        make_plan(make_request(), _catalogue(*simulated.values(), known=known), channels=1)


def test_audio_above_the_engines_limit_is_refused() -> None:
    with pytest.raises(PlanError, match="german takes at most 100 s of audio and the file has 101 s"):
        make_plan(make_request(language="de"), _catalogue(GERMAN), channels=1, duration_s=101)


def test_task_inputs_carry_the_request() -> None:
    request = make_request(
        diarize=True, min_speakers=2, language="de", timestamps="none", keyterms=("ComfyUI",)
    )
    plan = make_plan(request, _catalogue(GERMAN, SPEAKERS), channels=1)
    diarize, transcribe = (task_input(task, request, "data:,") for task in plan.tasks)
    assert isinstance(diarize, DiarizeInput)
    assert diarize.min_speakers == 2
    assert isinstance(transcribe, TranscribeInput)
    # Speakers are given to words, so the words are timed even when the caller does not want the times.
    assert (transcribe.language, transcribe.timestamps) == ("de", Timestamps.WORD)
    assert transcribe.keyterms == ["ComfyUI"]


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
