"""The catalogue: names resolve, and every fault of every file is reported at once, by file and key."""

from pathlib import Path

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.contracts.task import Stage

VARIANT = """
schema_version: 1
id: {id}
family: whisper
stages: [transcribe]
name: Test
aliases: [{alias}]
model: {{source: huggingface, repo: a/b, licence: mit}}
hardware: {{min_ram_gb: 1, cpu: true}}
performance:
  load_s: {{value: 1, source: guess}}
  rtf: {{cpu_2: {{value: 0.1, source: guess}}}}
  overhead_s: {{value: 0.1, source: guess}}
"""

ENDPOINTS = """
[project]
name = "mine"
variants = ["own"]

[endpoints.asr]
variant = "mine-base"
id = "abc123"
workers = { min = 0, max = 3 }
idle_timeout_s = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(VARIANT.format(id="mine-base", alias="mine"))
    (tmp_path / "endpoints.toml").write_text(ENDPOINTS)
    return tmp_path


def test_the_built_in_variants_are_valid_and_serve_both_stages() -> None:
    catalogue = load_catalogue()
    assert {"whisper-base", "whisper-large-v3", "whisper-large-v3-turbo", "diarize-onnx"} <= set(
        catalogue.variants
    )
    assert catalogue.variant("turbo").id == "whisper-large-v3-turbo"
    assert catalogue.variant("distil").capabilities.languages == ["en"]
    assert catalogue.endpoints == ()


def test_own_variants_and_endpoints_are_read(folder: Path) -> None:
    catalogue = load_catalogue(folder / "endpoints.toml")
    (endpoint,) = catalogue.serving(Stage.TRANSCRIBE)
    assert (endpoint.name, endpoint.id, endpoint.variant.id) == ("asr", "abc123", "mine-base")
    assert endpoint.workers.max == 3
    assert catalogue.variant("mine") is catalogue.variant("mine-base")
    assert catalogue.serving(Stage.DIARIZE) == ()


def test_an_unknown_model_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--model nope: unknown model; known are .*mine-base"):
        load_catalogue(folder / "endpoints.toml").variant("nope")


def test_all_faults_of_all_files_come_at_once(folder: Path) -> None:
    (folder / "own" / "mine.yaml").write_text(
        VARIANT.format(id="mine-base", alias="whisper-base").replace("min_ram_gb: 1", "min_ram_gb: -1")
    )
    (folder / "own" / "broken.yaml").write_text("id: [")
    (folder / "own" / "alias.yaml").write_text(VARIANT.format(id="other", alias="auto"))
    (folder / "endpoints.toml").write_text(
        ENDPOINTS.replace('"own"', '"own", "away"') + '[endpoints.b]\nvariant = "gone"\n'
    )
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(folder / "endpoints.toml")
    faults = "\n".join(caught.value.faults)
    for part in (
        "mine.yaml: hardware.min_ram_gb",
        "broken.yaml: cannot be read",
        "alias.yaml: aliases: 'auto' is reserved",
        "project.variants: there is no folder",
        "endpoints.asr.variant: 'mine-base' is unknown",
        "endpoints.b.variant: 'gone' is unknown",
    ):
        assert part in faults
    assert len(caught.value.faults) == 6


def test_a_name_that_stands_twice_is_refused(folder: Path) -> None:
    (folder / "own" / "mine.yaml").write_text(VARIANT.format(id="mine-base", alias="whisper-base"))
    with pytest.raises(CatalogueError, match="'whisper-base' is already a name in whisper/variants"):
        load_catalogue(folder / "endpoints.toml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[project", "is not valid TOML"),
        ("[endpoints]", "project: Field required"),
        (ENDPOINTS.replace("max = 3", "max = 0"), "endpoints.asr.workers.max"),
        (ENDPOINTS.replace("min = 0", "min = 9"), "endpoints.asr.workers"),
        (ENDPOINTS.replace("idle_timeout_s", "idle_timout_s"), "endpoints.asr.idle_timout_s"),
        (ENDPOINTS.replace("idle_timeout_s = 5", "idle_timeout_s = 0"), "endpoints.asr.idle_timeout_s"),
    ],
)
def test_a_fault_in_endpoints_toml_names_file_and_key(folder: Path, text: str, fault: str) -> None:
    (folder / "endpoints.toml").write_text(text)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(folder / "endpoints.toml")
    assert f"endpoints.toml: {fault}" in str(caught.value)


def test_a_missing_endpoints_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"gone\.toml: cannot be read"):
        load_catalogue(tmp_path / "gone.toml")
