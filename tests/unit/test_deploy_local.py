"""The local deployment: which variants, with which command, environment and share of the machine."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Variant
from fanscribe.deploy import local
from fanscribe.deploy.local import image_rules, local_catalogue, local_specs, secrets_of
from fanscribe.local.memory import Limits, check_fits
from fanscribe_orchestrator.settings import Settings as OrchestratorSettings
from fanscribe_orchestrator.settings import read_deployment


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_gpu_visible", lambda: False)
    monkeypatch.setattr(local, "_cores", lambda: 8)


def test_the_embedded_deployment_runs_on_a_cpu_from_zero() -> None:
    catalogue = local_catalogue()
    assert catalogue.serving(Stage.TRANSCRIBE)[0].variant.id == "whisper-base"
    assert catalogue.serving(Stage.DIARIZE)[0].variant.id == "diarize-onnx"
    assert all(each.variant.hardware.cpu for each in catalogue.endpoints)
    assert all(each.workers.min == 0 for each in catalogue.endpoints)
    assert not [each for each in catalogue.endpoints if each.variant.options.get("simulated")]


def test_with_a_gpu_the_large_variants_come_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_gpu_visible", lambda: True)
    names = [each.name for each in local_catalogue().endpoints]
    assert "whisper-large-v3-turbo" in names
    assert names.index("whisper-base") < names.index("whisper-large-v3-turbo")
    assert not [name for name in names if name.startswith("simulated")]
    assert all(spec.vram_bytes > 0 for spec in local_specs() if spec.name.startswith("whisper"))


def test_a_spec_starts_the_handler_of_its_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    (spec,) = [each for each in local_specs() if each.name == "whisper-base"]
    assert spec.command[1:] == ("-P", "-m", "fanscribe_handlers.whisper")
    assert Variant.model_validate_json(spec.env["FANSCRIBE_VARIANT_JSON"]).id == "whisper-base"
    assert spec.env["FANSCRIBE_ALLOWED_ORIGINS"] == "{url}"
    assert spec.env["HF_TOKEN"] == "secret"
    assert spec.labels["variant"] == "whisper-base"
    assert spec.vram_bytes == 0
    assert int(spec.env["FANSCRIBE_THREADS"]) * spec.max_workers <= 8


def test_a_file_decides_names_and_workers(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(
        '[project]\nname = "p"\n[endpoints.asr]\nvariant = "whisper-base"\nid = "runpod-id"\n'
        "workers = { min = 1, max = 2 }\nidle_timeout_s = 7\n"
    )
    (endpoint,) = local_catalogue(file).endpoints
    assert (endpoint.name, endpoint.id) == ("asr", "asr")
    (spec,) = local_specs(file)
    assert (spec.min_workers, spec.max_workers, spec.idle_timeout_s) == (1, 2, 7)
    assert json.loads(json.dumps(spec.to_json()))["name"] == "asr"


def test_images_stand_for_the_handlers_that_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {rule.labels.get("variant", "orchestrator"): rule for rule in image_rules()}
    assert "whisper-large-v3" not in rules, "it needs a GPU"
    rule = rules["whisper-base"]
    assert rule.command[1:] == ("-P", "-m", "fanscribe_handlers.whisper")
    assert rule.when == {"FANSCRIBE_VARIANT": "whisper-base"}
    assert fnmatchcase("ghcr.io/acme/fanscribe-whisper:1.2", rule.image)
    assert fnmatchcase("ghcr.io/acme/fanscribe-whisper@sha256:ab", rule.image)
    assert not fnmatchcase("ghcr.io/acme/fanscribe-whisperx:1.2", rule.image)
    assert rules["orchestrator"].orchestrator
    monkeypatch.setattr(local, "_gpu_visible", lambda: True)
    assert "whisper-large-v3" in {rule.labels.get("variant") for rule in image_rules()}


def test_secrets_of_the_platform_are_variables() -> None:
    assert secrets_of({"RUNPOD_SECRET_hub": "x", "RUNPOD_API_KEY": "y"}) == {"hub": "x"}


def test_a_file_says_more_of_its_endpoints(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(
        '[project]\nname = "p"\n[defaults]\nprefetch = true\nexecution_timeout_s = 90\n'
        '[endpoints.asr]\nvariant = "whisper-base"\ngpus = ["ADA_24"]\n'
    )
    (endpoint,) = local_catalogue(file).endpoints
    assert (endpoint.prefetch, endpoint.gpus) == (True, ())
    (spec,) = local_specs(file)
    assert (spec.env["FANSCRIBE_PREFETCH"], spec.execution_timeout_s) == ("1", 90)


PROFILES = """
[project]
name = "p"
profile = "small"
[defaults]
env = { NOTE = "x" }
[endpoints.asr]
variant = "whisper-base"
prefetch = true
scaling = { jobs_per_worker = 3 }
secrets = { HF_TOKEN = "hub" }
[endpoints.diarize]
variant = "diarize-onnx"
[profiles.small]
endpoints = ["asr"]
defaults = { workers = { min = 0, max = 4 }, execution_timeout_s = 50 }
[profiles.both]
endpoints = ["diarize", "asr"]
"""


def test_a_profile_of_the_file_and_all_that_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(PROFILES)
    monkeypatch.setenv("RUNPOD_SECRET_hub", "a-token")
    (spec,) = local_specs(file)
    assert (spec.name, spec.max_workers, spec.execution_timeout_s) == ("asr", 4, 50)
    assert (spec.scaler, spec.scaler_value) == ("REQUEST_COUNT", 3)
    assert (spec.env["NOTE"], spec.env["HF_TOKEN"], spec.env["FANSCRIBE_PREFETCH"]) == ("x", "a-token", "1")
    assert [each.name for each in local_catalogue(file).endpoints] == ["asr"]
    both = {each.name: each for each in local_specs(file, "both")}
    assert set(both) == {"asr", "diarize"}
    assert both["asr"].max_workers == 1
    assert (both["diarize"].scaler, both["diarize"].scaler_value) == ("QUEUE_DELAY", 4)
    with pytest.raises(UsageError, match="--profile large"):
        local_specs(file, "large")


def test_the_embedded_deployment_has_an_orchestrator_where_it_is_asked_for() -> None:
    *engines, orchestrator = local_specs(orchestrator=True)
    assert [each.name for each in local_specs()] == [each.name for each in engines]
    assert not any(each.orchestrator for each in engines)
    assert (orchestrator.name, orchestrator.orchestrator, orchestrator.min_workers) == (
        "orchestrator",
        True,
        0,
    )
    assert orchestrator.command[1:] == ("-P", "-m", "fanscribe_orchestrator")
    told = read_deployment(orchestrator.env)
    assert [(each.name, each.id) for each in told.endpoints] == [(each.name, each.name) for each in engines]
    environment = {
        name: text.replace("{url}", "http://127.0.0.1:1").replace("{key}", "k")
        for name, text in orchestrator.env.items()
    }
    settings = OrchestratorSettings.from_env(environment)
    assert settings.local
    assert settings.execution_timeout_s == orchestrator.execution_timeout_s == 3600
    check_fits(Limits(4 * 10**9), [each for each in (*engines, orchestrator) if each.ram_bytes < 2 * 10**9])


ORCHESTRATED = """
[orchestrator]
name = "one-call"
secrets = { RUNPOD_API_KEY = "calls_all", FANSCRIBE_NOTIFY_SECRET = "signs" }
env = { FANSCRIBE_RESULTS = "s3://bucket/calls" }
execution_timeout_s = 1200
"""


def test_a_files_orchestrator_is_told_of_the_profiles_endpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(PROFILES + "orchestrator = true\n" + ORCHESTRATED)
    monkeypatch.setenv("RUNPOD_SECRET_calls_all", "of-another-account")
    monkeypatch.setenv("RUNPOD_SECRET_signs", "a-secret-of-some-length")
    *engines, orchestrator = local_specs(file, "both", orchestrator=True)
    assert (orchestrator.name, orchestrator.execution_timeout_s) == ("one-call", 1200)
    assert [each.name for each in read_deployment(orchestrator.env).endpoints] == [
        each.name for each in engines
    ]
    assert orchestrator.env["RUNPOD_API_KEY"] == "{key}", "the key of this platform"
    assert orchestrator.env["FANSCRIBE_NOTIFY_SECRET"] == "a-secret-of-some-length"
    assert orchestrator.env["FANSCRIBE_RESULTS"] == "s3://bucket/calls"
    assert [each.name for each in local_specs(file, orchestrator=True)] == ["asr"], "this profile is without"
    assert "one-call" not in [each.name for each in local_specs(file, "both")]
    file.write_text(PROFILES)
    assert [each.name for each in local_specs(file, "both", orchestrator=True)] == ["asr", "diarize"]


def test_the_platforms_own_files_may_be_fetched_beside_those_that_the_file_allows(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.toml"
    allowed = '[defaults]\nenv = { FANSCRIBE_ALLOWED_ORIGINS = "http://minio:9000" }\n'
    file.write_text(
        f'[project]\nname = "a"\n{allowed}[endpoints.asr]\nvariant = "whisper-base"\n[orchestrator]\n'
    )
    specs = local_specs(file, orchestrator=True)
    assert [each.env["FANSCRIBE_ALLOWED_ORIGINS"] for each in specs] == ["{url},http://minio:9000"] * 2
