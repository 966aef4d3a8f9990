"""Several variants in one worker: what follows from the parts, and what cannot be combined."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fanscribe.catalogue import load_catalogue, own_variants
from fanscribe.contracts.combination import Combination, combination_of, combine
from fanscribe.contracts.errors import CatalogueError
from fanscribe.contracts.task import Stage, TranscribeInput
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.desired import desired
from fanscribe.deploy.local import local_catalogue, obstacle
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.engines.checks import catalogue_faults, variant_faults
from fanscribe.results.keys import task_key
from fanscribe.worker_environment import SettingsError
from fanscribe_handlers.settings import family_of, read_variant

ROOT = Path(__file__).resolve().parent.parent.parent
KNOWN = load_catalogue().variants
PAIR = KNOWN["whisper-base-diarized"]


def combined(*ids: str) -> Variant:
    return combine(combination_of(ids), KNOWN)


def changed(name: str, path: str, value: Any) -> Variant:
    """A known variant with one value changed."""
    data = KNOWN[name].model_dump(mode="json")
    *keys, last = path.split(".")
    place = data
    for key in keys:
        place = place[key]
    place[last] = value
    return Variant.model_validate(data)


def test_what_it_needs_is_the_sum_of_its_parts() -> None:
    whisper, diarizer = KNOWN["whisper-base"], KNOWN["diarize-onnx"]
    assert PAIR.stages == [Stage.TRANSCRIBE, Stage.DIARIZE]
    assert PAIR.parts == [whisper, diarizer]
    assert PAIR.hardware.min_ram_gb == whisper.hardware.min_ram_gb + diarizer.hardware.min_ram_gb
    assert PAIR.hardware.min_vram_gb == whisper.hardware.min_vram_gb
    assert PAIR.hardware.cpu
    facts = PAIR.performance
    assert facts.load_s.value == pytest.approx(1.2)
    assert facts.rtf["cpu_2"].value == pytest.approx(0.07 + 0.035)
    assert facts.overhead_s.value == pytest.approx(0.1)
    assert facts.load_s.source == "derived, sum: whisper-base, diarize-onnx"
    assert list(variant_faults(PAIR)) == []


def test_parts_on_different_devices_do_not_add_up() -> None:
    turbo = KNOWN["whisper-large-v3-turbo-diarized"]
    assert not turbo.hardware.cpu
    assert list(turbo.performance.rtf) == ["ada_24"], "no figure for machines without the GPU it needs"
    assert turbo.performance.rtf["ada_24"].value == 0.035, "the diarizer, on the CPU, takes longer"
    on_one_card = combined("whisper-large-v3-turbo", "pyannote-community-1")
    parts = [part.performance.rtf["ada_24"].value for part in on_one_card.parts]
    assert on_one_card.performance.rtf["ada_24"].value == pytest.approx(sum(parts))
    assert on_one_card.hardware.min_vram_gb == 10


def test_it_can_do_what_its_recogniser_can() -> None:
    narrow = combine(
        combination_of(["distil", "pair"]),
        {
            "distil": KNOWN["whisper-distil-large-v3"],
            "pair": changed("diarize-onnx", "capabilities.max_speakers", 4),
        },
    )
    assert narrow.capabilities.languages == ["en"]
    assert narrow.capabilities.max_speakers == 4
    assert narrow.capabilities.max_audio_s == 7200
    assert PAIR.capabilities.translate


def test_an_aligner_gives_word_times_and_the_order_of_parts_does_not_matter() -> None:
    silent = changed("whisper-base", "capabilities.word_timestamps", False)
    whole = combine(
        combination_of(["diarize-onnx", "align-pocketsphinx-en", "whisper-base"]),
        {**KNOWN, "whisper-base": silent},
    )
    assert whole.stages == [Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE]
    assert whole.capabilities.word_timestamps
    assert whole.families == ("whisper", "align_pocketsphinx", "diarize_onnx")


def test_what_it_is_made_of_is_said() -> None:
    assert PAIR.model_id == "Systran/faster-whisper-base@main + bundled"
    assert [model.source for model in PAIR.models] == ["packaged", "bundled"]
    assert PAIR.model.licence == "mit; mit and apache-2.0"
    parts = KNOWN["whisperx-large-v3"]
    assert parts.models == (parts.model, *parts.model.also)
    assert parts.families == ("whisperx",)


def test_simulated_parts_make_a_simulated_whole() -> None:
    assert combined("simulated-transcribe", "simulated-diarize").options == {"simulated": True}
    assert PAIR.options == {}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("whisper-base", "nope"), "parts: 'nope' is unknown; known are align-mms-multilingual"),
        (
            ("whisper-base", "whisper-large-v3"),
            "two of them transcribe, whisper-base is one: keep one for each stage",
        ),
        (("diarize-onnx", "align-wav2vec2-en"), "none of them transcribes: add a recogniser"),
        (("whisper-base", "whisperx-large-v3"), "whisperx-large-v3 is several stages in one already"),
        (("whisper-base-diarized", "diarize-onnx"), "whisper-base-diarized is several stages in one already"),
    ],
)
def test_what_cannot_be_combined_is_named(ids: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        combined(*ids)


def test_a_worker_combines_what_its_environment_lists() -> None:
    variant = read_variant({"FANSCRIBE_VARIANTS": "whisper-base, diarize-onnx"}, "combined")
    assert variant.id == "whisper-base-with-diarize-onnx"
    assert variant.parts == PAIR.parts
    assert read_variant({"FANSCRIBE_VARIANT": PAIR.id}, "combined") == PAIR
    spelled = PAIR.model_dump_json(exclude_defaults=True)
    assert read_variant({"FANSCRIBE_VARIANT_JSON": spelled}, "combined") == PAIR


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("whisper-base", "at least 2"),
        ("whisper-base,nope", "'nope' is unknown; known are .*pyannote-community-1"),
        (
            "whisper-base-diarized,diarize-onnx",
            "'whisper-base-diarized' is unknown; known are .*whisper-base",
        ),
    ],
)
def test_a_wrong_list_is_refused_when_the_worker_starts(listed: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"FANSCRIBE_VARIANTS is '{listed}'.*{said}"):
        read_variant({"FANSCRIBE_VARIANTS": listed}, "combined")


def test_the_list_is_of_no_concern_to_other_families() -> None:
    environ = {"FANSCRIBE_VARIANTS": "whisper-base,diarize-onnx", "FANSCRIBE_VARIANT": "whisper-base"}
    assert read_variant(environ, "whisper").id == "whisper-base"


def test_families_are_found_by_variant() -> None:
    assert family_of("diarize-onnx") == "diarize_onnx"
    assert family_of("nope") is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pair.yaml").write_text(
        "schema_version: 1\nid: pair\nfamily: combined\nname: Mine\nparts: [whisper-large-v3, pyannote-community-1]\n"
    )
    (tmp_path / "endpoints.toml").write_text(
        '[project]\nname = "mine"\nvariants = ["own"]\n[endpoints.all]\nvariant = "pair"\n'
        'secrets = { HF_TOKEN = "hf_token" }\n'
    )
    return tmp_path


def test_ones_own_combination_has_built_in_parts(folder: Path) -> None:
    file = folder / "endpoints.toml"
    assert load_catalogue(file).variant("pair").families == ("whisper", "pyannote")
    assert [variant.id for _, variant in own_variants(file)] == ["pair"]
    assert catalogue_faults(file) == []


def test_deployed_it_is_one_endpoint_with_all_it_needs(folder: Path) -> None:
    file = folder / "endpoints.toml"
    faults: list[str] = []
    config = read_endpoints_file(file, faults)
    assert config is not None
    variants = load_catalogue(file).variants
    (endpoint,) = desired(config, variants, None, own=frozenset({"pair"})).endpoints
    assert endpoint.state.image.rpartition("/")[2].startswith("fanscribe-combined:")
    assert endpoint.state.cached_model == (
        "https://huggingface.co/Systran/faster-whisper-large-v3:main",
        "https://huggingface.co/pyannote/speaker-diarization-community-1:main",
    )
    spelled = {"FANSCRIBE_VARIANT_JSON": endpoint.state.env["FANSCRIBE_VARIANT_JSON"]}
    assert read_variant(spelled, "combined") == variants["pair"]
    file.write_text(file.read_text().replace("secrets", "# secrets"))
    config = read_endpoints_file(file, faults)
    assert config is not None
    with pytest.raises(
        CatalogueError, match=r"pair is gated: accept its licence at https://huggingface\.co/pyannote"
    ):
        desired(config, variants, None)


def test_hardware_that_does_not_hold_all_parts_is_refused(folder: Path) -> None:
    file = folder / "endpoints.toml"
    file.write_text(file.read_text() + 'gpus = ["AMPERE_16"]\n')
    assert load_catalogue(file).variant("pair").hardware.min_vram_gb == 12
    (folder / "own" / "pair.yaml").write_text(
        "schema_version: 1\nid: pair\nfamily: combined\nname: Mine\n"
        "parts: [parakeet-tdt-1.1b, sortformer-4spk-v1, align-mms-multilingual]\n"
    )
    with pytest.raises(CatalogueError, match=r"gpus: AMPERE_16 has 16 GB, but pair needs \d+ GB"):
        load_catalogue(file)


def test_faults_of_a_file_are_named_with_it(folder: Path) -> None:
    (folder / "own" / "other.yaml").write_text(
        "schema_version: 1\nid: other\nfamily: combined\nname: Other\nparts: [whisper-base, nope]\n"
    )
    (folder / "own" / "third.yaml").write_text(
        "schema_version: 1\nid: third\nfamily: combined\nname: Third\nparts: [whisper-base]\nhardware: {}\n"
    )
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(folder / "endpoints.toml")
    said = "\n".join(caught.value.faults)
    assert "other.yaml: parts: 'nope' is unknown" in said
    assert "third.yaml: parts: List should have at least 2 items" in said
    assert "third.yaml: hardware: Extra inputs are not permitted" in said


def test_a_file_that_names_its_parts_in_full_is_told_apart_from_one_that_has_none() -> None:
    odd = PAIR.model_copy(update={"parts": []})
    assert "model.source: parts is for combinations, whose files have no model" in list(variant_faults(odd))


def test_a_machine_needs_the_libraries_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle(PAIR) is None
    monkeypatch.setattr("fanscribe.deploy.local.family_installed", lambda family: family != "diarize_onnx")
    assert obstacle(PAIR) == "needs its libraries: pip install 'fanscribe[whisper,diarize-onnx]'"


def test_without_a_file_a_machine_serves_the_parts_and_not_the_whole() -> None:
    served = {each.variant.id for each in local_catalogue().endpoints}
    assert {"whisper-base", "diarize-onnx"} <= served
    assert PAIR.id not in served


def test_another_part_is_another_result() -> None:
    task = TranscribeInput(audio="data:,", diarize=True)
    other = PAIR.model_copy(
        update={"parts": [PAIR.parts[0], changed("diarize-onnx", "options", {"step_s": 1.0})]}
    )
    renamed = PAIR.model_copy(
        update={"parts": [PAIR.parts[0], changed("diarize-onnx", "performance.load_s.value", 9.0)]}
    )
    keys = [task_key("0" * 64, Stage.TRANSCRIBE, each, "1", task) for each in (PAIR, other, renamed)]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2], "how quick it is does not matter"


def test_a_file_says_no_more_than_its_parts() -> None:
    with pytest.raises(ValueError, match="stages"):
        Combination.model_validate(
            {
                "schema_version": 1,
                "id": "x",
                "family": "combined",
                "name": "X",
                "parts": ["a", "b"],
                "stages": ["transcribe"],
            }
        )


def test_the_example_of_the_page_can_be_combined() -> None:
    page = (ROOT / "docs" / "adding-an-engine.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    variant = combine(Combination.model_validate(yaml.safe_load(text)), KNOWN)
    assert variant.families == ("parakeet_onnx", "diarize_onnx")
    assert list(variant_faults(variant)) == []
