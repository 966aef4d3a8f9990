"""The plan: what is ours is found by mark and name, what differs is named field by field, what is foreign is left."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.diff import Action, Change, Plan, make_plan
from fanscribe.deploy.prices import MONTH_S, price_of
from fanscribe.deploy.state import UNKNOWN, Account, Desired, EndpointState, LiveEndpoint, LiveVolume
from fanscribe.deploy.view import HIDDEN, plan_json, plan_lines
from fanscribe.gpu_pools import POOLS

FILE = """
[project]
name = "calls"
[images]
registry = "ghcr.io/acme"
tag = "1.2.3"
[endpoints.asr]
variant = "whisper-large-v3-turbo"
workers = { min = 1, max = 3 }
[endpoints.speakers]
variant = "diarize-onnx"
"""


@pytest.fixture
def wanted(tmp_path: Path) -> Desired:
    return _desired(tmp_path, FILE)


def _desired(folder: Path, text: str) -> Desired:
    file = folder / "endpoints.toml"
    file.write_text(text)
    return read_desired(file)


def _live(wanted: Desired) -> list[LiveEndpoint]:
    return [
        LiveEndpoint(f"id{number}", each.state, f"2026-01-0{number + 1}T00:00:00Z")
        for number, each in enumerate(wanted.endpoints)
    ]


def _account(*live: LiveEndpoint) -> Account:
    return Account(live)


def _actions(plan: Plan) -> list[str]:
    return [f"{each.action} {each.endpoint}" for each in plan.steps]


def test_from_nothing_everything_is_created(wanted: Desired) -> None:
    plan = make_plan(wanted, Account(()))
    assert _actions(plan) == ["create asr", "create speakers"]


def test_what_is_as_wanted_is_unchanged(wanted: Desired) -> None:
    plan = make_plan(wanted, _account(*_live(wanted)))
    assert _actions(plan) == ["unchanged asr", "unchanged speakers"]
    assert not plan.changes


def test_an_endpoint_is_found_by_its_mark_when_its_name_was_changed(wanted: Desired) -> None:
    first, second = _live(wanted)
    renamed = replace(first, state=replace(first.state, name="my favourite"))
    plan = make_plan(wanted, _account(renamed, second))
    assert plan.steps[0].changes == (Change("name", "my favourite", "calls-asr"),)
    assert plan.steps[0].action is Action.UPDATE


def test_an_endpoint_is_found_by_its_name_when_its_entry_was_changed(wanted: Desired) -> None:
    first, second = _live(wanted)
    other = replace(first, state=replace(first.state, env={**first.state.env, "FANSCRIBE_ENDPOINT": "x"}))
    plan = make_plan(wanted, _account(other, second))
    assert plan.steps[0].changes == (Change("env.FANSCRIBE_ENDPOINT", "x", "asr"),)


def test_what_is_ours_and_not_wanted_is_deleted_last(wanted: Desired) -> None:
    first, second = _live(wanted)
    old_env = {**first.state.env, "FANSCRIBE_ENDPOINT": "old"}
    old = LiveEndpoint("id9", replace(first.state, name="calls-old", env=old_env))
    plan = make_plan(wanted, _account(old, first, second))
    assert _actions(plan) == ["unchanged asr", "unchanged speakers", "delete old"]
    assert plan.steps[2].live is old


def test_of_two_with_one_mark_the_older_stays(wanted: Desired) -> None:
    first, second = _live(wanted)
    twin = replace(first, id="id0b", created_at="2026-02-01T00:00:00Z")
    plan = make_plan(wanted, _account(twin, second, first))
    assert [(each.action.value, each.live.id) for each in plan.steps if each.live] == [
        ("unchanged", "id0"),
        ("unchanged", "id1"),
        ("delete", "id0b"),
    ]


def test_another_project_and_an_unmarked_endpoint_of_our_name_are_left_alone(wanted: Desired) -> None:
    first, second = _live(wanted)
    foreign = replace(first, state=replace(first.state, env={**first.state.env, "FANSCRIBE_PROJECT": "x"}))
    unmarked = replace(second, state=replace(second.state, env={}))
    plan = make_plan(wanted, _account(foreign, unmarked))
    assert [each.action for each in plan.steps] == [Action.CONFLICT, Action.CONFLICT]
    assert "id0 has this name and the mark of project x" in plan.steps[0].reason
    assert "id1 has this name and no mark" in plan.steps[1].reason
    assert "fanscribe adopt speakers" in plan.steps[1].reason


def test_a_change_of_kind_replaces_with_the_reason(wanted: Desired) -> None:
    first, second = _live(wanted)
    on_cpu = replace(
        first, state=replace(first.state, kind="cpu", gpus=(), cpu=("cpu3c-4",), cached_model=())
    )
    step = make_plan(wanted, _account(on_cpu, second)).steps[0]
    assert step.action is Action.REPLACE
    assert step.reason.startswith("kind cpu -> gpu: ")


def test_what_the_platform_does_not_tell_is_unknown_and_no_change(wanted: Desired) -> None:
    first, second = _live(wanted)
    untold = replace(first, state=replace(first.state, cached_model=UNKNOWN, disk_gb=UNKNOWN))
    step = make_plan(wanted, _account(untold, second)).steps[0]
    assert step.action is Action.UNCHANGED
    assert step.unknown == ("cached_model", "disk_gb")


def test_an_endpoint_named_by_id_is_used_as_it_is_until_it_is_adopted(tmp_path: Path) -> None:
    wanted = _desired(tmp_path, FILE.replace('"diarize-onnx"', '"diarize-onnx"\nid = "byhand"'))
    first, second = _live(wanted)
    by_hand = replace(second, id="byhand", state=replace(second.state, name="mine", env={}))
    step = make_plan(wanted, _account(first, by_hand)).steps[1]
    assert step.action is Action.UNMANAGED
    assert not make_plan(wanted, _account(first, by_hand)).changes
    gone = make_plan(wanted, _account(first)).steps[1]
    assert gone.action is Action.CONFLICT
    assert "the account has no endpoint byhand: correct endpoints.speakers.id" in gone.reason


VOLUMES = FILE + 'volumes = ["models"]\n[volumes.models]\ndata_centre = "EU-RO-1"\nsize_gb = 50\n'


def test_a_volume_is_found_by_name_else_made(tmp_path: Path) -> None:
    wanted = _desired(tmp_path, VOLUMES)
    plan = make_plan(wanted, Account(()))
    assert [each.name for each in plan.volumes] == ["calls-models"]
    there = Account((), (LiveVolume("vol1", "calls-models", "EU-RO-1", 50),))
    plan = make_plan(wanted, there)
    assert plan.volumes == ()
    assert plan.steps[1].wanted is not None
    assert plan.steps[1].wanted.state.volumes == ("vol1",)


def test_a_credential_that_is_not_there_is_refused(tmp_path: Path) -> None:
    wanted = _desired(tmp_path, FILE.replace('tag = "1.2.3"', 'tag = "1.2.3"\ncredential = "acme"'))
    with pytest.raises(UsageError, match=r"images\.credential: .* 'acme' \(it has other\)"):
        make_plan(wanted, Account((), credentials={"other": "r1"}))
    plan = make_plan(wanted, Account((), credentials={"acme": "r2"}))
    assert plan.steps[0].wanted is not None
    assert plan.steps[0].wanted.state.credential == "r2"


def test_the_orchestrator_is_told_of_the_others(tmp_path: Path) -> None:
    wanted = _desired(tmp_path, FILE + "[orchestrator]\n")
    step = make_plan(wanted, _account(*_live(wanted)[:2])).steps[2]
    assert step.action is Action.CREATE
    assert step.wanted is not None
    told = json.loads(step.wanted.state.env["FANSCRIBE_DEPLOYMENT"])
    assert [(each["name"], each["id"], each["variant"]) for each in told] == [
        ("asr", "id0", "whisper-large-v3-turbo"),
        ("speakers", "id1", "diarize-onnx"),
    ]
    assert told[0]["workers"] == {"min": 1, "max": 3}
    assert step.wanted.state.env["FANSCRIBE_EXECUTION_TIMEOUT_S"] == "600"


def test_prices_by_month_and_by_hour_of_audio(wanted: Desired) -> None:
    variants = load_catalogue().variants
    asr, speakers = (each.state for each in wanted.endpoints)
    cheap = POOLS["AMPERE_16"].usd_per_s
    assert cheap is not None
    turbo = variants["whisper-large-v3-turbo"]
    (rtf,) = turbo.performance.rtf.values()
    price = price_of(asr, turbo, {})
    assert price.usd_per_month == pytest.approx(cheap * MONTH_S)
    assert price.usd_per_audio_hour == pytest.approx(cheap * 3600 * rtf.value)
    quoted = price_of(asr, turbo, {"AMPERE_16": 0.001})
    assert quoted.usd_per_month == pytest.approx(0.001 * MONTH_S)
    unknown = price_of(speakers, variants["diarize-onnx"], {})
    assert (unknown.usd_per_month, unknown.usd_per_audio_hour) == (0.0, None)
    on_cpu = variants["diarize-onnx"].performance.rtf["cpu_2"].value
    known = price_of(speakers, variants["diarize-onnx"], {"cpu3c": 0.00001})
    assert known.usd_per_audio_hour == pytest.approx(0.00002 * 3600 * on_cpu)


def test_a_plan_shows_no_value_that_may_be_secret(wanted: Desired) -> None:
    first, second = _live(wanted)
    planted = "s3cr3t-planted-by-hand"
    env = {**first.state.env, "MY_TOKEN": planted, "FANSCRIBE_VARIANT": planted}
    live = replace(first, state=replace(first.state, env=env, args=f"--key {planted}"))
    account = _account(live, second)
    plan = make_plan(wanted, account)
    variants = load_catalogue().variants
    text = "\n".join(plan_lines(plan, account, variants, platform="runpod", profile=None))
    told = json.dumps(plan_json(plan, account, variants, platform="runpod", profile=None))
    assert planted not in text + told
    assert "env.MY_TOKEN" in text
    assert HIDDEN in text
    assert "whisper-large-v3-turbo" in text, "what we write ourselves is shown"


def test_the_plan_as_text_and_json(wanted: Desired) -> None:
    first, _second = _live(wanted)
    more: EndpointState = replace(first.state, workers_max=5, image="ghcr.io/acme/fanscribe-whisper:1.2.2")
    account = _account(replace(first, state=more))
    plan = make_plan(wanted, account)
    variants = load_catalogue().variants
    text = plan_lines(plan, account, variants, platform="runpod", profile="day")
    assert "      workers.max: 5 -> 3" in text
    assert "      image: ghcr.io/acme/fanscribe-whisper:1.2.2 -> ghcr.io/acme/fanscribe-whisper:1.2.3" in text
    assert text[-1] == "1 to create, 1 to update"
    assert any("a month at the smallest number of workers" in line for line in text)
    told = plan_json(plan, account, variants, platform="runpod", profile="day")
    assert told["changes"] is True
    assert told["endpoints"][0]["changes"][1] == {"field": "workers.max", "live": 5, "wanted": 3}
    assert told["endpoints"][1]["name"] == "calls-speakers"
    assert told["usd_per_month_at_min_workers"] == pytest.approx(0.00016 * MONTH_S)
