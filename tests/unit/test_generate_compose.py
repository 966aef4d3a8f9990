"""The generated compose file: valid by the compose specification, whole, repeatable, and without secrets."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML
from typer.testing import CliRunner

from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.errors import UsageError
from fanscribe.generate.compose import URL, compose
from fanscribe.generate.workers import read_deployment
from fanscribe.local.spec import EndpointSpec

FILE = """
[project]
name = "calls"
profile = "standard"
[images]
registry = "ghcr.io/you"
tag = "1.2.3"
[defaults]
workers = { min = 0, max = 2 }
env = { NOTE = "100$ {HOME} 1e3", FANSCRIBE_MAX_BYTES = "1_000" }
[endpoints.turbo]
variant = "whisper-large-v3-turbo"
group = "speech"
prefetch = true
[endpoints.speakers]
variant = "pyannote-community-1"
group = "speech"
secrets = { HF_TOKEN = "hub.token" }
workers = { min = 0, max = 1 }
[endpoints.large]
variant = "whisper-large-v3"
gpus = ["ADA_24"]
gpu_count = 2
[endpoints.diarize]
variant = "diarize-onnx"
cpu = ["cpu3c-4"]
[orchestrator]
secrets = { SOMEWHERE = "fanscribe_api_key", RUNPOD_API_KEY = "of_runpod" }
[profiles.standard]
endpoints = ["turbo", "speakers", "large", "diarize"]
orchestrator = true
[profiles.small]
endpoints = ["diarize"]
defaults = { workers = { min = 0, max = 5 } }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.toml"
    path.write_text(FILE)
    return path


def made(file: Path, profile: str | None = None) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(compose(read_deployment(file, profile, URL)))
    return document


def test_it_fits_the_compose_specification(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "compose.yaml"
    target.write_text(compose(read_deployment(file, None, URL)))
    tool = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [tool, "--builtin-schema", "vendor.compose-spec", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    target.write_text(target.read_text().replace("\nservices:", "\nservice:"))
    assert subprocess.run(command, capture_output=True).returncode == 1, "the check can fail"


def test_parsers_of_both_yaml_versions_read_the_same(file: Path) -> None:
    text = compose(read_deployment(file, None, URL))
    assert YAML(typ="safe", pure=True).load(io.StringIO(text)) == yaml.safe_load(text)


def test_each_endpoint_has_its_workers_and_the_platform_knows_it(file: Path) -> None:
    document = made(file)
    services = document["services"]
    assert list(services) == ["platform", "turbo", "speakers", "large", "diarize", "orchestrator"]
    told = [EndpointSpec.from_json(each) for each in json.loads(document["configs"]["endpoints"]["content"])]
    assert [each.name for each in told] == list(services)[1:]
    assert [each.max_workers for each in told] == [2, 1, 2, 2, 2]
    assert all(each.command == () for each in told), "containers serve them"
    assert told[0].labels == {"variant": "whisper-large-v3-turbo", "stages": "transcribe"}
    assert services["turbo"]["image"] == "ghcr.io/you/fanscribe-whisper:1.2.3"
    assert services["platform"]["image"] == "ghcr.io/you/fanscribe-platform:1.2.3"
    assert [services[each.name]["deploy"]["replicas"] for each in told] == [2, 1, 2, 2, 2]
    assert services["turbo"]["command"][-3:] == ["python", "-m", "fanscribe_handlers.whisper"]
    assert services["turbo"]["environment"]["FANSCRIBE_PREFETCH"] == "1"
    assert "FANSCRIBE_PREFETCH" not in services["large"]["environment"]
    assert services["orchestrator"]["command"][-3:] == ["python", "-m", "fanscribe_orchestrator"]
    listed = json.loads(services["orchestrator"]["environment"]["FANSCRIBE_DEPLOYMENT"])
    assert [(each["name"], each["id"]) for each in listed] == [(each.name, each.name) for each in told[:-1]]


def test_a_profile_is_a_choice_with_defaults_of_its_own(file: Path) -> None:
    services = made(file, "small")["services"]
    assert list(services) == ["platform", "diarize"]
    assert services["diarize"]["deploy"]["replicas"] == 5


def test_a_group_shares_a_card_and_others_have_their_own(file: Path) -> None:
    services = made(file)["services"]

    def cards(name: str) -> Any:
        return services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]

    assert cards("turbo") == cards("speakers") == ["${FANSCRIBE_GPU_SPEECH:-0}"]
    assert cards("large") == ["${FANSCRIBE_GPU_LARGE_0:-0}", "${FANSCRIBE_GPU_LARGE_1:-1}"]
    assert "devices" not in services["diarize"]["deploy"]["resources"]["reservations"]
    assert services["diarize"]["deploy"]["resources"]["limits"]["cpus"] == "4"
    assert services["diarize"]["environment"]["FANSCRIBE_THREADS"] == "4"
    head = compose(read_deployment(file, None, URL))
    assert "speech: turbo 2 x 6 GB, speakers 1 x 4 GB: 16 GB" in head


def test_what_the_file_says_reaches_the_container_unchanged(file: Path) -> None:
    environment = made(file)["services"]["turbo"]["environment"]
    assert environment["NOTE"] == "100$$ {HOME} 1e3", "compose would replace a single dollar"
    assert environment["FANSCRIBE_MAX_BYTES"] == "1_000"
    assert not [name for name in environment if name in ("FANSCRIBE_PROJECT", "FANSCRIBE_CACHED_MODEL")]


def test_only_this_machine_reaches_it_and_only_with_a_key(file: Path) -> None:
    services = made(file)["services"]
    assert [each["ports"] for each in services.values() if "ports" in each] == [["127.0.0.1:8008:8008"]]
    assert all(
        each["environment"]["FANSCRIBE_LOCAL_KEY"].startswith("${FANSCRIBE_LOCAL_KEY:?")
        for each in services.values()
    )
    assert all(
        each["depends_on"] == {"platform": {"condition": "service_healthy"}}
        for name, each in services.items()
        if name != "platform"
    )


def test_models_are_kept_where_the_user_of_the_image_may_write(file: Path) -> None:
    document = made(file)
    assert set(document["volumes"]) == {"models", "jobs"}
    for name, service in document["services"].items():
        assert service["volumes"] == ["jobs:/home/worker" if name == "platform" else "models:/home/worker"]


@pytest.mark.parametrize("kind", ["compose", "ecs"])
def test_secrets_are_named_and_never_written(
    kind: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "rpa_PLANTEDPLANTEDPLANTED"
    names = ("HF_TOKEN", "RUNPOD_API_KEY", "FANSCRIBE_LOCAL_KEY", "AWS_SECRET_ACCESS_KEY", "SOMEWHERE")
    for name in (
        *names,
        "RUNPOD_SECRET_hub.token",
        "RUNPOD_SECRET_hub_token",
        "RUNPOD_SECRET_fanscribe_api_key",
    ):
        monkeypatch.setenv(name, planted)
    target = tmp_path / "out.yaml"
    done = CliRunner().invoke(app, ["generate", kind, "--endpoints", str(file), "-o", str(target)])
    assert done.exit_code == Exit.DONE, done.output
    assert planted not in target.read_text() + done.output
    assert "hub.token" in target.read_text()


def test_secrets_are_the_variables_of_the_local_platform(file: Path) -> None:
    environment = made(file)["services"]["speakers"]["environment"]
    assert environment["HF_TOKEN"].startswith("${RUNPOD_SECRET_hub_token:?")
    text = compose(read_deployment(file, None, URL))
    assert "of_runpod" not in text, "the orchestrator calls this platform with this platform's key"
    assert "#   RUNPOD_SECRET_hub_token: the secret hub.token, for speakers" in text
    file.write_text(FILE.replace('"fanscribe_api_key"', '"hub_token"'))
    with pytest.raises(UsageError, match=r"secrets hub\.token and hub_token: both would be the variable"):
        compose(read_deployment(file, None, URL))


@pytest.mark.parametrize("kind", ["compose", "ecs"])
def test_the_same_file_makes_the_same_text(kind: str, file: Path) -> None:
    texts = {CliRunner().invoke(app, ["generate", kind, "--endpoints", str(file)]).stdout for _ in range(2)}
    (text,) = texts
    assert text.startswith("# Project calls, profile standard: made by ")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[endpoints.diarize]",
            "[endpoints.platform]",
            "endpoints.platform: the queue's own service has this name",
        ),
        ("[endpoints.diarize]", "[endpoints.templates]", "name is a word of the management API"),
        ("[endpoints.diarize]", "[endpoints.speech]", "endpoints.speech: is also the name of a group"),
        ('NOTE = "100$ {HOME} 1e3"', 'NOTE = "x {{ RUNPOD_SECRET_a }}"', "a secret amid other text"),
    ],
)
def test_what_containers_cannot_be_is_named(old: str, new: str, said: str, file: Path) -> None:
    name = new.removeprefix("[endpoints.").removesuffix("]") if new.startswith("[") else "diarize"
    file.write_text(FILE.replace(old, new).replace('"diarize"', f'"{name}"'))
    done = CliRunner().invoke(app, ["generate", "compose", "--endpoints", str(file)])
    assert done.exit_code == Exit.USAGE
    assert said in done.stderr


def test_a_file_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "no" / "compose.yaml"
    done = CliRunner().invoke(app, ["generate", "compose", "--endpoints", str(file), "-o", str(target)])
    assert (done.exit_code, "cannot be written: No such file" in done.stderr) == (Exit.FAILED, True)
