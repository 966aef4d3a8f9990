"""Checks of variant files: every fault of every file at once, by file and key."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fanscribe.catalogue import load_catalogue
from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.variant import Variant
from fanscribe.engines.checks import (
    STANDARD_ALIASES,
    builtin_faults,
    catalogue_faults,
    family_faults,
    variant_faults,
)

ROOT = Path(__file__).resolve().parent.parent.parent

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "id": "own-one",
    "family": "whisper",
    "stages": ["transcribe"],
    "name": "Own",
    "model": {"source": "huggingface", "repo": "a/b", "licence": "mit"},
    "hardware": {"min_ram_gb": 4, "min_vram_gb": 4, "cpu": True},
    "performance": {
        "load_s": {"value": 3, "source": "measured"},
        "rtf": {
            "ada_24": {"value": 0.03, "source": "measured"},
            "cpu_2": {"value": 0.5, "source": "measured"},
        },
        "overhead_s": {"value": 0.2, "source": "measured"},
    },
}


def changed(path: str, value: Any) -> Variant:
    """GOOD with one key, a dotted path, changed."""
    data = Variant.model_validate(GOOD).model_dump(mode="json")
    at = data
    *parents, key = path.split(".")
    for parent in parents:
        at = at[parent]
    at[key] = value
    return Variant.model_validate(data)


def test_the_built_in_variants_have_no_faults() -> None:
    assert catalogue_faults() == []


def test_every_family_of_this_checkout_has_what_it_needs() -> None:
    assert family_faults(ROOT, load_catalogue().variants.values()) == []


def test_the_standard_aliases_mean_a_variant() -> None:
    catalogue = load_catalogue()
    assert {alias: catalogue.variant(alias).id for alias in STANDARD_ALIASES} == {
        "fast": "whisper-base",
        "accurate": "whisper-large-v3",
        "turbo": "whisper-large-v3-turbo",
    }


def test_a_good_variant_has_no_faults() -> None:
    assert list(variant_faults(Variant.model_validate(GOOD))) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("stages", ["merge"], "stages: merge is no work of an engine"),
        ("stages", ["align", "align"], "stages: align stands 2 times"),
        ("aliases", ["own-one"], "aliases: 'own-one' is the id itself"),
        ("capabilities.languages", [], "capabilities.languages: is empty"),
        ("capabilities.languages", ["English"], "'English' is no ISO 639 code"),
        ("capabilities.languages", ["en", "en"], "en stands 2 times"),
        ("capabilities.max_audio_s", 1e7, "capabilities.max_audio_s: 1e+07 is more than a week"),
        ("model.gated", True, "model.licence_url: is needed for a gated model"),
        ("model.licence_url", "http://x", "model.licence_url: must be an https URL"),
        ("hardware.min_ram_gb", 5000, "hardware.min_ram_gb: 5000 is not between"),
        ("hardware.min_vram_gb", 1000, "hardware.min_vram_gb: 1000 is more than the largest card has"),
        ("hardware.min_vram_gb", 40, "performance.rtf.ada_24: its cards have less"),
        ("hardware.cpu", False, "performance.rtf.cpu_2: is a figure for CPUs although hardware.cpu is false"),
        ("performance.load_s.value", 0, "performance.load_s.value: 0 is not plausible"),
        ("performance.rtf.cpu_2.value", 60, "performance.rtf.cpu_2.value: 60 is not plausible"),
        ("performance.overhead_s.value", 100, "performance.overhead_s.value: 100 is not plausible"),
        ("performance.rtf", {}, "performance.rtf: is empty"),
        ("performance.rtf", {"ada_24": GOOD["performance"]["rtf"]["cpu_2"]}, "has no figure for CPUs"),
        (
            "performance.rtf",
            {"rtx4090": GOOD["performance"]["rtf"]["cpu_2"]},
            "performance.rtf.rtx4090: is no GPU pool",
        ),
    ],
)
def test_what_cannot_be_true_is_named_by_its_key(path: str, value: Any, fault: str) -> None:
    found = list(variant_faults(changed(path, value)))
    assert [each for each in found if fault in each], found


def test_a_gpu_variant_says_how_much_of_one() -> None:
    data = {**GOOD, "hardware": {"min_ram_gb": 4}}
    found = list(variant_faults(Variant.model_validate(data)))
    assert any(each.startswith("hardware.min_vram_gb: is 0 although") for each in found)


def test_built_in_files_are_called_as_their_ids_and_lie_in_their_family() -> None:
    found = list(builtin_faults({"pyannote/variants/x.yaml": Variant.model_validate(GOOD)}))
    assert found[:2] == [
        "pyannote/variants/x.yaml: family: is 'whisper', but the file lies in the folder of 'pyannote'",
        "pyannote/variants/x.yaml: id: is 'own-one', so the file must be called own-one.yaml",
    ]
    assert len(found) == 2 + len(STANDARD_ALIASES)


def test_a_family_that_lacks_something_is_named(tmp_path: Path) -> None:
    (tmp_path / "dockerfiles").mkdir()
    (tmp_path / "dockerfiles" / "left.Dockerfile").touch()
    (tmp_path / "pyproject.toml").write_text('[project.optional-dependencies]\nother = ["x"]\n')
    found = "\n".join(family_faults(tmp_path, [Variant.model_validate(GOOD)]))
    for part in (
        "whisper/engine.py: is missing",
        "whisper/__main__.py: is missing",
        "whisper.Dockerfile: is missing: the family whisper has no image",
        "has no extra 'whisper'",
        "left.Dockerfile: there is no family left",
    ):
        assert part in found
    (tmp_path / "pyproject.toml").write_text("[project")
    assert "cannot be read" in family_faults(tmp_path, [])[0]


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.yaml").write_text("schema_version: 1\nid: A\n")
    (own / "b.yaml").write_text(
        "schema_version: 1\nid: own-b\nfamily: nowhere\nstages: [transcribe]\nname: B\naliases: [fast]\n"
        "model: {source: huggingface, repo: a/b, licence: mit, gated: true}\n"
        "hardware: {min_ram_gb: 4000, cpu: true}\n"
        "performance:\n  load_s: {value: 3, source: measured}\n  rtf: {cpu_2: {value: 99, source: measured}}\n"
        "  overhead_s: {value: 0.2, source: measured}\n"
    )
    file = tmp_path / "endpoints.toml"
    file.write_text('[project]\nname = "p"\nvariants = ["own"]\n[endpoints.x]\nvariant = "gone"\n')
    done = CliRunner().invoke(app, ["engines", "validate", "--endpoints", str(file)])
    assert done.exit_code == Exit.USAGE
    for part in (
        "a.yaml: id: ",
        "a.yaml: family: Field required",
        "b.yaml: 'fast' is already a name in whisper/variants/whisper-base.yaml",
        "b.yaml: model.licence_url: is needed",
        "b.yaml: hardware.min_ram_gb: 4000",
        "b.yaml: performance.rtf.cpu_2.value: 99",
        "b.yaml: family: there is no family 'nowhere'",
        "endpoints.x.variant: 'gone' is unknown",
    ):
        assert part in done.stderr
    assert all(line.startswith("fanscribe: ") for line in done.stderr.splitlines())


def test_valid_files_are_counted() -> None:
    done = CliRunner().invoke(app, ["engines", "validate"])
    assert done.exit_code == Exit.DONE
    assert f"{len(load_catalogue().variants)} variants of " in done.stdout
