"""Plans with aligners, with engines for some languages only, and with the catalogue's real engines."""

from dataclasses import replace

import pytest

from fanscribe.catalogue import Catalogue, DeployedEndpoint, load_catalogue
from fanscribe.contracts.errors import PlanError
from fanscribe.contracts.task import Stage, Timestamps, TranscribeInput
from fanscribe.pipeline.inputs import make_input
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def plan(catalogue: Catalogue, deployed: list[str], **options: object) -> Plan:
    endpoints = [DeployedEndpoint(name, f"id-{name}", catalogue.variants[name]) for name in deployed]
    return make_plan(make_request(**options), catalogue.deployed(endpoints), Situation(duration_s=600.0))  # type: ignore[arg-type]


def without_word_times(catalogue: Catalogue, name: str) -> Catalogue:
    variant = catalogue.variants[name]
    able = variant.capabilities.model_copy(update={"word_timestamps": False})
    changed = variant.model_copy(update={"capabilities": able})
    return replace(catalogue, variants={**catalogue.variants, name: changed})


@pytest.mark.parametrize("model", ["parakeet-tdt-0.6b-v3", "whisper-base", "whisperx-large-v3"])
def test_an_engine_with_word_times_of_its_own_needs_no_aligner(catalogue: Catalogue, model: str) -> None:
    (stage,) = plan(catalogue, [model, "align-mms-multilingual"], model=model).stages
    assert stage.aligners == ()


def test_one_without_gets_the_aligner_that_is_deployed_and_is_asked_for_segments(
    catalogue: Catalogue,
) -> None:
    plain = without_word_times(catalogue, "whisper-base")
    made = plan(plain, ["whisper-base", "align-wav2vec2-en"], language="en")
    (stage,) = made.stages
    assert [each.name for each in stage.aligners] == ["align-wav2vec2-en"]
    task = make_input(stage, made.request, "en", {"audio": "data:,"})
    assert isinstance(task, TranscribeInput)
    assert task.timestamps is Timestamps.SEGMENT


def test_an_aligner_that_lacks_the_language_is_not_counted_on(catalogue: Catalogue) -> None:
    plain = without_word_times(catalogue, "whisper-base")
    with pytest.raises(
        PlanError, match=r"gives no word times: ask for --timestamps segment, or deploy an aligner"
    ):
        plan(plain, ["whisper-base", "align-wav2vec2-en"], language="de")
    (stage,) = plan(plain, ["whisper-base", "align-mms-multilingual"], language="de").stages
    assert [each.name for each in stage.aligners] == ["align-mms-multilingual"]


def test_alignment_can_be_asked_for_and_refused(catalogue: Catalogue) -> None:
    both = ["whisper-base", "align-pocketsphinx-en"]
    (stage,) = plan(catalogue, both, align="always", language="en").stages
    assert [each.name for each in stage.aligners] == ["align-pocketsphinx-en"]
    assert plan(catalogue, both, align="never", language="en").stages[0].aligners == ()
    with pytest.raises(
        PlanError, match=r"--align always: no deployed endpoint can align in de; these variants could:"
    ):
        plan(catalogue, both, align="always", language="de")


def test_a_pass_that_names_speakers_makes_diarization_a_stage_less(catalogue: Catalogue) -> None:
    deployed = ["whisperx-large-v3", "pyannote-community-1"]
    (stage,) = plan(catalogue, deployed, model="whisperx-large-v3", diarize=True, speakers=2).stages
    assert stage.also_diarizes
    task = make_input(stage, make_request(diarize=True, speakers=2), None, {"audio": "data:,"})
    assert isinstance(task, TranscribeInput)
    assert task.diarize


@pytest.mark.parametrize(
    ("recogniser", "diarizer"),
    [("whisper-large-v3", "pyannote-community-1"), ("whisper-base", "diarize-onnx")],
)
def test_the_plan_has_the_same_shape_whatever_engines_do_it(
    catalogue: Catalogue, recogniser: str, diarizer: str
) -> None:
    made = plan(catalogue, [recogniser, diarizer], diarize=True)
    shape = [(each.stage, each.endpoint.name, each.channel) for each in made.stages]
    assert shape == [(Stage.DIARIZE, diarizer, None), (Stage.TRANSCRIBE, recogniser, None)]


def test_an_engine_for_some_languages_is_not_chosen_for_an_unknown_one(catalogue: Catalogue) -> None:
    deployed = ["parakeet-tdt-0.6b-v2", "whisper-base"]
    assert plan(catalogue, deployed).stages[0].endpoint.name == "whisper-base"
    assert plan(catalogue, deployed, language="de").stages[0].endpoint.name == "whisper-base"
    assert plan(catalogue, deployed[:1]).stages[0].endpoint.name == "parakeet-tdt-0.6b-v2"
    with pytest.raises(PlanError, match=r"--language de: parakeet-tdt-0\.6b-v2 does not know it"):
        plan(catalogue, deployed[:1], language="de")
