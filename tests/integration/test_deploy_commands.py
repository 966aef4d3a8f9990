"""The commands of a deployment, against a local platform that stands in for Runpod: exit codes, output, secrets."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from fanscribe.catalogue import load_catalogue
from fanscribe.cli import app
from fanscribe.contracts.transcript import TaskRecord
from fanscribe.deploy.local import image_rules, local_specs
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe.run_records import keep, record_of

PLANTED = "planted-s3cr3t-value"

FILE = """
[project]
name = "calls"
profile = "one"
[images]
registry = "127.0.0.1:9/acme"
tag = "1"
[endpoints.asr]
variant = "whisper-large-v3-turbo"
workers = { min = 0, max = 1 }
secrets = { HF_TOKEN = "hf_token" }
[endpoints.speakers]
variant = "diarize-onnx"
[profiles.one]
endpoints = ["asr"]
[profiles.both]
endpoints = ["asr", "speakers"]
"""


@pytest.fixture(scope="module")
def platform(private_state: Path) -> Iterator[RunningPlatform]:
    with start(images=image_rules(), secrets={"hf_token": PLANTED}) as running:
        yield running


@pytest.fixture
def runpod(
    platform: RunningPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningPlatform]:
    """Runpod by its addresses and key; emptied at the end."""
    (tmp_path / "endpoints.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNPOD_API_KEY", platform.key)
    monkeypatch.setenv("RUNPOD_REST_V2_API_URL", f"{platform.url}/v2")
    monkeypatch.setenv("RUNPOD_API_BASE_URL", platform.url)
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", f"{platform.url}/v2")
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    monkeypatch.delenv("FANSCRIBE_ENDPOINTS", raising=False)
    yield platform
    monkeypatch.setenv("RUNPOD_API_KEY", platform.key)
    (tmp_path / "endpoints.toml").write_text(FILE)
    assert _run("destroy", "--yes").exit_code == 0


def _run(*arguments: str) -> Result:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert PLANTED not in done.stdout + done.stderr
    return done


def _call(platform: RunningPlatform, method: str, path: str, body: object = None) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {platform.key}"}
    answer = httpx2.request(method, f"{platform.url}/v2/{path}", json=body, headers=headers, trust_env=False)
    assert answer.is_success, answer.text
    return answer


def _endpoint(platform: RunningPlatform, name: str) -> dict[str, object]:
    listed = _call(platform, "GET", "serverless").json()["endpoints"]
    found: dict[str, object] = next(each for each in listed if each["name"] == name)
    return found


def test_plan_tells_by_its_exit_code_and_shows_prices(runpod: RunningPlatform) -> None:
    first = _run("plan")
    assert first.exit_code == 2
    assert "+ asr  create" in first.stdout
    assert "$0.00 a month at the smallest number of workers (Runpod's flex prices of" in first.stdout
    assert "an audio hour" in first.stdout
    told = json.loads(_run("plan", "--json").stdout)
    figures = load_catalogue().variants["whisper-large-v3-turbo"].performance.rtf
    slowest = max(fact.value for fact in figures.values())
    assert told["endpoints"][0]["usd_per_audio_hour"] == pytest.approx(0.00016 * 3600 * slowest)
    deployed = _run("deploy", "--yes")
    assert deployed.exit_code == 0, deployed.stderr
    assert "its registry does not tell whether it exists" in deployed.stdout
    assert _run("plan").exit_code == 0
    more = _run("plan", "--profile", "both")
    assert more.exit_code == 2
    assert "1 to create" in more.stdout


def test_every_fault_ends_plan_with_1(
    runpod: RunningPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoints.toml").write_text(
        FILE.replace("max = 1", "max = 0").replace('tag = "1"', 'tag = "latest"')
    )
    faulty = _run("plan")
    assert faulty.exit_code == 1
    assert len(faulty.stderr.splitlines()) == 2
    assert _run("plan", "--endpoints", "away.toml").exit_code == 1
    (tmp_path / "endpoints.toml").write_text(FILE)
    monkeypatch.setenv("RUNPOD_API_KEY", "another-key")
    refused = _run("plan")
    assert refused.exit_code == 1
    assert "the API key was refused; check RUNPOD_API_KEY" in refused.stderr
    assert "another-key" not in refused.stderr
    assert _run("deploy", "--yes").exit_code == 1
    assert "choose runpod or local" in _run("plan", "--platform", "moon").stderr


def test_a_deployment_is_confirmed(runpod: RunningPlatform) -> None:
    asked = _run("deploy")
    assert asked.exit_code == 2
    assert "nobody is there to confirm: add --yes" in asked.stderr
    assert _run("plan").exit_code == 2, "nothing was changed"


def test_a_secret_that_somebody_put_in_by_hand_is_not_shown(runpod: RunningPlatform) -> None:
    assert _run("deploy", "--yes").exit_code == 0
    asr = _endpoint(runpod, "calls-asr")
    env = asr["env"]
    assert isinstance(env, dict)
    assert env["HF_TOKEN"] == "{{ RUNPOD_SECRET_hf_token }}"
    _call(
        runpod, "PATCH", f"serverless/{asr['id']}", {"env": {**env, "MY_KEY": PLANTED, "HF_TOKEN": PLANTED}}
    )
    seen = _run("plan")
    assert "env.MY_KEY: (not shown) -> (none)" in seen.stdout
    assert "env.HF_TOKEN: (not shown) -> {{ RUNPOD_SECRET_hf_token }}" in seen.stdout
    _run("plan", "--json")
    assert _run("deploy", "--yes").exit_code == 0
    assert PLANTED not in json.dumps(_endpoint(runpod, "calls-asr"))
    assert _run("status").exit_code == 0


def test_a_partial_failure_names_what_is_done_and_a_second_run_goes_on(runpod: RunningPlatform) -> None:
    headers = {"Authorization": f"Bearer {runpod.key}"}
    rule = {"kind": "error", "calls": "management", "operation": "saveEndpoint", "status": 409}
    httpx2.put(f"{runpod.url}/local/faults", json=[rule], headers=headers, trust_env=False).raise_for_status()
    failed = _run("deploy", "--yes", "--profile", "both")
    assert failed.exit_code == 1
    assert "fanscribe: done: speakers" in failed.stderr
    assert "fanscribe: not done: asr: " in failed.stderr
    assert "deploy again to go on from here" in failed.stderr
    httpx2.put(f"{runpod.url}/local/faults", json=[], headers=headers, trust_env=False).raise_for_status()
    assert _run("deploy", "--yes", "--profile", "both").exit_code == 0
    assert _run("plan", "--profile", "both").exit_code == 0


def test_an_endpoint_made_by_hand_is_adopted_by_the_variable_of_its_id(
    runpod: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "my whisper", "type": "QUEUE", "image": "x", "gpu": {"pools": ["ADA_24"]}}
    made = _call(
        runpod, "POST", "serverless", {**body, "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}}
    ).json()
    monkeypatch.setenv("WHISPER_ENDPOINT_ID", made["id"])
    adopted = _run("adopt", "asr", "--yes")
    assert adopted.exit_code == 0, adopted.stderr
    told = json.loads(_run("plan", "--json").stdout)
    assert [(each["endpoint"], each["action"], each["id"]) for each in told["endpoints"]] == [
        ("asr", "update", made["id"])
    ]
    assert "carried the mark already" in _run("adopt", "asr").stdout
    assert _run("adopt", "talkers").exit_code == 2


def test_logs_and_smoke_say_what_is_not_deployed(runpod: RunningPlatform) -> None:
    assert "nothing is deployed" in _run("status").stdout
    assert "project calls has no such endpoint on runpod; it has nothing" in _run("logs", "asr").stderr
    assert "nothing of it is deployed on runpod" in _run("smoke").stderr
    assert _run("deploy", "--yes").exit_code == 0
    assert "has no workers at this moment" in _run("logs", "asr").stdout


def test_a_profile_narrows_what_is_shown_and_destroyed(runpod: RunningPlatform) -> None:
    assert _run("deploy", "--yes", "--profile", "both").exit_code == 0
    shown = json.loads(_run("status", "--profile", "one", "--json").stdout)
    assert [each["endpoint"] for each in shown] == ["asr"]
    assert len(json.loads(_run("status", "--json").stdout)) == 2
    gone = _run("destroy", "--profile", "one", "--yes")
    assert "asr: deleted" in gone.stdout
    assert [each["endpoint"] for each in json.loads(_run("status", "--json").stdout)] == ["speakers"]
    assert "--profile week" in _run("status", "--profile", "week").stderr


def test_an_interrupted_deployment_says_how_to_go_on(
    runpod: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fanscribe.deploy.apply.apply", interrupted)
    stopped = _run("deploy", "--yes")
    assert stopped.exit_code == 130
    assert "what is done stays done; run it again to go on from there" in stopped.stderr


def test_a_platform_without_our_images_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANSCRIBE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "endpoints.toml").write_text(FILE.replace('["asr"]', '["speakers"]'))
    asked = _run("plan", "--platform", "local")
    assert "start one: fanscribe local up --managed" in asked.stderr
    with start([EndpointSpec("x", ("true",))], detach=True):
        failed = _run("deploy", "--platform", "local", "--yes")
    assert failed.exit_code == 1
    assert (
        "not done: speakers: image 127.0.0.1:9/acme/fanscribe-diarize-onnx:1 cannot be pulled"
        in failed.stderr
    )
    assert "`local up --managed`" in failed.stderr


def test_a_variant_that_this_machine_cannot_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fanscribe.deploy.local._gpu_visible", lambda: False)
    (tmp_path / "endpoints.toml").write_text(FILE)
    refused = _run("deploy", "--platform", "local", "--yes")
    assert refused.exit_code == 2
    assert "endpoints.asr: whisper-large-v3-turbo needs a GPU, and this machine has none" in refused.stderr


def test_statistics_of_a_file_that_is_no_transcript(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    refused = _run("stats", str(tmp_path / "x.json"))
    assert refused.exit_code == 2
    assert "is not a native transcript (--format native)" in refused.stderr


def test_statistics_by_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runs.jsonl"
    monkeypatch.setenv("FANSCRIBE_RECORDS", str(file))
    assert "there are no run records yet" in _run("stats").stdout
    task = TaskRecord("t", "transcribe", "whisper-base", 0.0, 60.0, {"inference": 2.0}, endpoint="asr")
    keep(file, [record_of(task, time.time(), "local"), record_of(task, 0.0, "local")])
    (figures,) = json.loads(_run("stats", "--json").stdout)
    assert (figures["endpoint"], figures["tasks"], figures["mean_execution_s"]) == ("asr", 1, 2.0)
    assert json.loads(_run("stats", "--json", "--platform", "runpod").stdout) == []
    assert "asr" in _run("stats", "--days", "99999").stdout


def test_a_local_platform_elsewhere_is_asked_by_its_address(
    platform: RunningPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoints.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fanscribe.local.process.find", lambda: pytest.fail("the variable goes before"))
    monkeypatch.setenv("FANSCRIBE_LOCAL_URL", platform.url)
    monkeypatch.setenv("FANSCRIBE_LOCAL_KEY", platform.key)
    assert "nothing is deployed" in _run("status", "--platform", "local").stdout
    assert _run("plan", "--platform", "local", "--profile", "both").exit_code in (1, 2)
    assert json.loads(_run("local", "status", "--json").stdout)["pid"] == platform.pid
    refused = _run("logs", "asr", "--platform", "local")
    assert "project calls has no such endpoint on local" in refused.stderr


@pytest.mark.engine
@pytest.mark.slow
def test_what_a_local_platform_was_started_with_is_smoked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on one box, where a compose file starts the platform and its workers; nothing there carries a mark."""
    file = tmp_path / "endpoints.toml"
    file.write_text(
        '[project]\nname = "box"\n[endpoints.asr]\nvariant = "whisper-base"\n'
        '[endpoints.speakers]\nvariant = "diarize-onnx"\n[orchestrator]\nname = "one-call"\n'
    )
    monkeypatch.chdir(tmp_path)
    with start(local_specs(file, orchestrator=True), key="of-the-box") as running:
        monkeypatch.setenv("FANSCRIBE_LOCAL_URL", running.url)
        monkeypatch.setenv("FANSCRIBE_LOCAL_KEY", running.key)
        done = _run("smoke", "--platform", "local")
    assert done.exit_code == 0, done.stderr
    said = [line.split(" after ")[0] for line in done.stdout.splitlines()]
    assert sorted(said[:2]) == ["asr: ok", "speakers: ok"]
    assert said[2:] == ["pipeline: ok", "one-call: ok"]
