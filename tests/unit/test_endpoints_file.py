"""endpoints.toml: everything it may say, every fault at once, the published schema, the file that init writes."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fanscribe.catalogue import load_catalogue
from fanscribe.cli import app
from fanscribe.cli.init import template
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.state import EndpointState
from fanscribe.endpoints_file import json_schema
from fanscribe.endpoints_schema import (
    EndpointConfig,
    EndpointsFile,
    Images,
    OrchestratorConfig,
    Profile,
    Project,
    Scaling,
    Settings,
    Volume,
    Workers,
)

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """
schema_version = 1

[project]
name = "calls"
profile = "day"
worker_limit = 40

[images]
registry = "ghcr.io/acme"
tag = "1.2.3"
credential = "acme"
[images.digests]
diarize_onnx = "sha256:{digest}"

[defaults]
workers = {{ min = 0, max = 3 }}
secrets = {{ HF_TOKEN = "hf_token" }}
env = {{ LOG_LEVEL = "INFO", REGION = "eu" }}
volumes = ["models"]

[endpoints.asr]
variant = "whisper-large-v3"
gpus = ["ADA_24", "AMPERE_24"]
excluded_gpus = ["NVIDIA L4"]
min_cuda = "12.4"
scaling = {{ jobs_per_worker = 4 }}
env = {{ REGION = "us" }}

[endpoints.speakers]
variant = "diarize-onnx"
cpu = ["cpu3c-4"]
idle_timeout_s = 5
prefetch = true
flashboot = "off"
group = "box"

[orchestrator]
cpu = ["cpu5c-2"]

[volumes.models]
data_centre = "EU-RO-1"
size_gb = 50

[profiles.day]
endpoints = ["asr", "speakers"]
orchestrator = true
defaults = {{ idle_timeout_s = 120, workers = {{ min = 1, max = 2 }} }}

[profiles.night]
endpoints = ["asr"]
""".format(digest="ab" * 32)


def _write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "endpoints.toml"
    file.write_text(text)
    return file


def _state(file: Path, endpoint: str, profile: str | None = None) -> EndpointState:
    return {each.endpoint: each.state for each in read_desired(file, profile).endpoints}[endpoint]


def test_what_an_endpoint_leaves_out_comes_from_profile_and_defaults(tmp_path: Path) -> None:
    file = _write(tmp_path, WHOLE)
    asr, speakers = _state(file, "asr"), _state(file, "speakers")
    assert (asr.workers_min, asr.workers_max) == (1, 2)
    assert _state(file, "asr", "night").workers_max == 3
    assert speakers.idle_timeout_s == 5
    assert asr.idle_timeout_s is None, "jobs per worker scale it: the platform takes no idle time-out"
    assert asr.scaling == "jobs_per_worker=4"
    assert asr.env["REGION"] == "us"
    assert asr.env["LOG_LEVEL"] == "INFO"
    assert asr.env["HF_TOKEN"] == "{{ RUNPOD_SECRET_hf_token }}"
    assert speakers.env["FANSCRIBE_PREFETCH"] == "1"
    assert "FANSCRIBE_PREFETCH" not in asr.env


def test_names_images_and_marks(tmp_path: Path) -> None:
    file = _write(tmp_path, WHOLE)
    asr, speakers = _state(file, "asr"), _state(file, "speakers")
    assert asr.name == "calls-asr"
    assert asr.image == "ghcr.io/acme/fanscribe-whisper:1.2.3"
    assert speakers.image == f"ghcr.io/acme/fanscribe-diarize-onnx@sha256:{'ab' * 32}"
    assert asr.env["FANSCRIBE_PROJECT"] == "calls"
    assert asr.env["FANSCRIBE_ENDPOINT"] == "asr"
    assert asr.cached_model == ("https://huggingface.co/Systran/faster-whisper-large-v3:main",)
    assert speakers.cached_model == ()
    assert speakers.cpu == ("cpu3c-4",)


def test_a_profile_chooses_endpoints(tmp_path: Path) -> None:
    file = _write(tmp_path, WHOLE)
    assert [each.endpoint for each in read_desired(file).endpoints] == ["asr", "speakers", "orchestrator"]
    assert [each.endpoint for each in read_desired(file, "night").endpoints] == ["asr"]
    with pytest.raises(UsageError, match=r"--profile week: .* it has day, night"):
        read_desired(file, "week")


def test_hardware_is_chosen_where_it_is_left_out(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        '[project]\nname = "p"\n[endpoints.a]\nvariant = "whisper-large-v3"\n'
        '[endpoints.b]\nvariant = "diarize-onnx"\n',
    )
    assert _state(file, "a").gpus == ("AMPERE_16", "AMPERE_24"), "the cheapest, and what costs hardly more"
    assert _state(file, "b").cpu == ("cpu3c-2",)
    first, second = load_catalogue(file).endpoints
    assert first.gpus == ("AMPERE_16", "AMPERE_24")
    assert second.gpus == ()
    assert (first.prefetch, first.execution_timeout_s) == (False, 600.0)


HARD = """
[project]
name = "p"
variants = ["own"]
[endpoints.big]
variant = "big"
gpus = ["AMPERE_16", "ADA_24"]
[endpoints.cpu]
variant = "big"
cpu = ["cpu3c-2"]
"""
BIG = """
schema_version: 1
id: big
family: whisper
stages: [transcribe]
name: Big
model: {source: huggingface, repo: a/b, licence: mit}
hardware: {min_ram_gb: 30, min_vram_gb: 20}
performance:
  load_s: {value: 1, source: guess}
  rtf: {ada_24: {value: 0.1, source: guess}}
  overhead_s: {value: 0.1, source: guess}
"""


def test_what_is_too_small_is_refused_with_what_is_large_enough(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "big.yaml").write_text(BIG)
    file = _write(tmp_path, HARD)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(file)
    first, second, third = caught.value.faults
    assert "endpoints.big.gpus: AMPERE_16 has 16 GB, but big needs 20 GB; large enough are AMPERE_24" in first
    assert "endpoints.cpu.cpu: big needs a GPU" in second
    assert "endpoints.cpu.cpu: cpu3c-2 has 4 GB, but big needs 30 GB; cpu3g-8 is the smallest" in third


def test_a_variant_of_ones_own_travels_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "big.yaml").write_text(BIG)
    file = _write(tmp_path, HARD.split("[endpoints.cpu]")[0].replace('"AMPERE_16", ', ""))
    spelled = json.loads(_state(file, "big").env["FANSCRIBE_VARIANT_JSON"])
    assert spelled["id"] == "big"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('tag = "1.2.3"', 'tag = "latest"', "images.tag: Value error, latest says not which"),
        ('"ADA_24", ', '"ADA_25", ', "endpoints.asr.gpus: Value error, unknown GPU pool 'ADA_25'"),
        ('["cpu3c-4"]', '["cpu3c-3"]', "endpoints.speakers.cpu: Value error, 'cpu3c-3': the virtual cores"),
        ('["cpu3c-4"]', '["cpu9-4"]', "endpoints.speakers.cpu: Value error, unknown CPU flavour"),
        (
            'cpu = ["cpu3c-4"]',
            'cpu = ["cpu3c-4"]\ngpus = ["ADA_24"]',
            "endpoints.speakers: Value error, gpus and cpu",
        ),
        (
            "jobs_per_worker = 4",
            "jobs_per_worker = 4, queue_delay_s = 1",
            "endpoints.asr.scaling: Value error, give one",
        ),
        ('volumes = ["models"]', 'volumes = ["moulds"]', "defaults.volumes: there is no [volumes.moulds]"),
        (
            '["asr", "speakers"]',
            '["asr", "talkers"]',
            "profiles.day.endpoints: there is no [endpoints.talkers]",
        ),
        ('profile = "day"', 'profile = "dawn"', "project.profile: there is no [profiles.dawn]"),
        ("size_gb = 50", "size_gb = 5", "volumes.models.size_gb"),
        ('flashboot = "off"', 'flashboot = "yes"', "endpoints.speakers.flashboot"),
        ('LOG_LEVEL = "INFO"', 'FANSCRIBE_PROJECT = "x"', "FANSCRIBE_PROJECT is set by fanscribe itself"),
        ('"ghcr.io/acme"', '"GHCR.io/acme "', "images.registry"),
        ("[orchestrator]", '[orchestrator]\nname = "asr"', "orchestrator.name: 'asr' is an endpoint's name"),
        ("min_cuda = ", "mincuda = ", "endpoints.asr.mincuda: Extra inputs"),
        (
            "[orchestrator]",
            '[endpoints.third]\nvariant = "whisper-base"\nid = "e1"\n[orchestrator]\nid = "e1"',
            "endpoints: the id 'e1' stands twice",
        ),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in WHOLE
    file = _write(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(file)
    assert f"{file}: " in str(caught.value)
    assert fault in str(caught.value)


def test_every_fault_comes_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace('tag = "1.2.3"', 'tag = "latest"').replace("size_gb = 50", "size_gb = 5")
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(_write(tmp_path, text.replace('flashboot = "off"', 'flashboot = "yes"')))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    "line",
    [
        'env = {{ HF_TOKEN = "{}" }}',
        'env = {{ HARMLESS = "{}" }}',
        'secrets = {{ HF_TOKEN = "{}" }}',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    secret = "hf_" + "Ab3" * 10
    file = _write(
        tmp_path, f'[project]\nname = "p"\n[endpoints.a]\nvariant = "whisper-base"\n{line.format(secret)}\n'
    )
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(file)
    assert "secret" in str(caught.value)
    assert secret not in str(caught.value)


def test_a_gated_model_needs_its_licence_and_a_token(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    gated = BIG.replace("repo: a/b,", "repo: a/b, gated: true, licence_url: https://example.org/licence,")
    (tmp_path / "own" / "big.yaml").write_text(gated)
    text = '[project]\nname = "p"\nvariants = ["own"]\n[endpoints.a]\nvariant = "big"\n'
    file = _write(tmp_path, text)
    with pytest.raises(
        CatalogueError, match=r"endpoints\.a\.secrets: big is gated: accept .*example\.org/licence"
    ):
        read_desired(file)
    file = _write(tmp_path, text + 'secrets = { HF_TOKEN = "hub" }\n')
    assert _state(file, "a").env["HF_TOKEN"] == "{{ RUNPOD_SECRET_hub }}"


def test_the_file_of_this_repository_is_valid() -> None:
    assert {each.endpoint for each in read_desired(ROOT / "endpoints.toml").endpoints} == {
        "whisper-base",
        "diarize-onnx",
    }


def test_the_published_schema_is_fresh() -> None:
    published = json.loads((ROOT / "docs" / "endpoints.schema.json").read_text())
    assert published == json_schema(), "run: fanscribe init --schema > docs/endpoints.schema.json"


def test_init_prints_the_same_schema() -> None:
    run = CliRunner().invoke(app, ["init", "--schema"])
    assert json.loads(run.stdout) == json_schema()


def test_the_page_on_the_file_names_every_key() -> None:
    page = (ROOT / "docs" / "endpoints-toml.md").read_text()
    models = (
        Project,
        Images,
        Settings,
        EndpointConfig,
        OrchestratorConfig,
        Volume,
        Profile,
        Scaling,
        Workers,
    )
    missing = {name for model in models for name in model.model_fields if f"`{name}`" not in page}
    assert not missing


def test_init_writes_a_valid_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["init", "--project", "calls", "--registry", "ghcr.io/acme"])
    assert run.exit_code == 0, run.output
    file = tmp_path / "endpoints.toml"
    for profile in ("minimal", "standard", "quality"):
        *engines, orchestrator = read_desired(file, profile).endpoints
        assert (orchestrator.endpoint, orchestrator.variant) == ("orchestrator", None)
        stages = {stage for each in engines for stage in load_catalogue().variants[each.variant or ""].stages}
        assert {"transcribe", "diarize"} <= stages
    assert read_desired(file).profile == "minimal"
    again = CliRunner().invoke(app, ["init", "--project", "calls"])
    assert again.exit_code == 2
    assert "is there already" in again.output + again.stderr


def test_init_refuses_a_name_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["init", "--project", "My Calls"])
    assert run.exit_code == 2
    assert "--project: " in run.stderr
    assert not (tmp_path / "endpoints.toml").exists()


def test_what_the_template_suggests_in_comments_is_valid_too() -> None:
    text = template("p", "ghcr.io/acme").replace("sha256:…", f"sha256:{'0' * 64}")
    suggested = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
    assert len(suggested.findall(text)) > 10
    whole = EndpointsFile.model_validate(tomllib.loads(suggested.sub("", text)))
    assert whole.orchestrator is not None
    assert whole.images.digests
    assert whole.volumes
