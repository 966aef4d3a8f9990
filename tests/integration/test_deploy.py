"""Deploying to the real local platform: from nothing, again, after drift, and with a fault after every call.

The workers are not started here (the endpoints stay at zero workers); test_deploy_from_nothing.py runs them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import (
    AuthenticationError,
    DeadlineError,
    NotFoundError,
    PlatformError,
    UsageError,
)
from fanscribe.deploy import account
from fanscribe.deploy.account import read_account, read_everything
from fanscribe.deploy.adopt import adopt, find
from fanscribe.deploy.apply import Outcome, Progress, Report, apply
from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.destroy import destroy, inventory
from fanscribe.deploy.diff import Action, Plan, make_plan
from fanscribe.deploy.discovery import deployed_endpoints
from fanscribe.deploy.local import image_rules
from fanscribe.deploy.management import Management
from fanscribe.deploy.preflight import check
from fanscribe.deploy.rollout import wait_live
from fanscribe.deploy.state import Desired
from fanscribe.local.process import RunningPlatform, start

FILE = """
[project]
name = "calls"
[images]
registry = "registry.invalid/acme"
tag = "1"
[defaults]
idle_timeout_s = 5
[endpoints.asr]
variant = "whisper-large-v3-turbo"
volumes = ["models"]
[endpoints.speakers]
variant = "diarize-onnx"
workers = { min = 0, max = 2 }
[orchestrator]
[volumes.models]
data_centre = "EU-RO-1"
size_gb = 50
"""
SECOND = (
    FILE.replace('tag = "1"', 'tag = "2"')
    .replace("max = 2", "max = 3")
    .replace('"whisper-large-v3-turbo"', '"whisper-large-v3"')
)


@pytest.fixture(scope="module")
def running(private_state: Path) -> Iterator[RunningPlatform]:
    with start(images=image_rules(), worker_limit=20) as running:
        yield running


@pytest.fixture
async def platform(running: RunningPlatform) -> RunningPlatform:
    """The platform, emptied of what an earlier test has left there."""
    _faults(running)
    opened = account.local(running.url, running.key)
    await _empty(opened)
    await opened.http.aclose()
    return running


@pytest.fixture
async def management(platform: RunningPlatform) -> AsyncIterator[Management]:
    async def no_wait(seconds: float) -> None:
        return

    opened = replace(account.local(platform.url, platform.key), sleep=no_wait)
    yield opened
    await opened.http.aclose()


async def _empty(management: Management) -> None:
    found = await read_everything(management)
    await destroy(management, found.endpoints, lambda report: None)
    for volume in found.volumes:
        await management.rest("DELETE", f"network-volumes/{volume.id}")


@pytest.fixture
def desired(tmp_path: Path) -> Callable[[str], Desired]:
    def read(text: str) -> Desired:
        file = tmp_path / "endpoints.toml"
        file.write_text(text)
        return read_desired(file)

    return read


async def _plan(management: Management, wanted: Desired) -> Plan:
    return make_plan(wanted, await read_account(management, wanted))


async def _deploy(management: Management, wanted: Desired) -> tuple[Outcome, ...]:
    return await apply(await _plan(management, wanted), management, lambda report: None)


async def _live(management: Management) -> dict[str, Any]:
    """The account without what differs from run to run: the ids."""
    found = await read_account(management, Desired("calls", ()))
    whole = await read_everything(management)
    ids = {each.id: f"<{each.endpoint}>" for each in found.endpoints}
    ids |= {each.id: f"<{each.name}>" for each in whole.volumes}
    text = json.dumps(
        {
            "endpoints": sorted(
                (
                    [name, value]
                    for each in found.endpoints
                    for name, value in _named(each.state.fields(), each.endpoint)
                ),
                key=str,
            ),
            "volumes": [[each.name, each.size_gb, each.data_centre] for each in whole.volumes],
        }
    )
    for identity, name in ids.items():
        text = text.replace(identity, name)
    result: dict[str, Any] = json.loads(text)
    return result


def _named(fields: dict[str, Any], endpoint: str | None) -> list[tuple[str, Any]]:
    return [(f"{endpoint}.{name}", value) for name, value in fields.items()]


def _writes(platform: RunningPlatform) -> int:
    return int(platform.status()["management"]["writes"])


def _calls(platform: RunningPlatform, operation: str) -> int:
    return int(platform.status()["management"]["operations"].get(operation, 0))


def _faults(platform: RunningPlatform, *rules: dict[str, Any]) -> None:
    answer = httpx2.put(
        f"{platform.url}/local/faults",
        json=list(rules),
        headers={"Authorization": f"Bearer {platform.key}"},
        trust_env=False,
    )
    assert answer.is_success, answer.text


async def test_from_nothing_again_and_gone(
    management: Management, platform: RunningPlatform, desired: Callable[[str], Desired]
) -> None:
    wanted = desired(FILE)
    outcomes = await _deploy(management, wanted)
    assert [each.error for each in outcomes] == [None, None, None]
    again = await _plan(management, wanted)
    assert again.changes == ()
    assert again.volumes == ()
    before = _writes(platform)
    await _deploy(management, wanted)
    assert _writes(platform) == before, "a second deployment makes no write call"
    told = {each.endpoint: each for each in (await read_account(management)).of("calls")}
    ids = {each.step.endpoint: each.id for each in outcomes}
    listed = json.loads(told["orchestrator"].state.env["FANSCRIBE_DEPLOYMENT"])
    assert {each["name"]: each["id"] for each in listed} == {name: ids[name] for name in ("asr", "speakers")}
    assert told["asr"].state.cached_model == (
        "https://huggingface.co/mobiuslabsgmbh/faster-whisper-large-v3-turbo:main",
    )
    found = inventory(await read_everything(management), "calls")
    assert await destroy(management, found.endpoints, lambda report: None) == {}
    left = inventory(await read_everything(management), "calls")
    assert left.endpoints == ()
    assert [each.name for each in left.volumes] == ["calls-models"]


async def test_the_endpoints_reach_the_client_by_themselves(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    outcomes = await _deploy(management, desired(FILE))
    found = await deployed_endpoints(management, "calls")
    assert [(each.name, each.variant.id) for each in found] == [
        ("asr", "whisper-large-v3-turbo"),
        ("speakers", "diarize-onnx"),
    ]
    ids = {each.step.endpoint: each.id for each in outcomes}
    assert {each.name: each.id for each in found} == {name: ids[name] for name in ("asr", "speakers")}
    assert found[0].gpus == ("AMPERE_16", "AMPERE_24")
    assert (found[1].workers.max, found[1].idle_timeout_s, found[1].execution_timeout_s) == (2, 5, 600.0)
    assert await deployed_endpoints(management, "somebody-else") == ()


async def test_a_changed_file_is_an_update_in_place(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    first = {each.step.endpoint: each.id for each in await _deploy(management, desired(FILE))}
    plan = await _plan(management, desired(SECOND))
    assert {each.endpoint: each.action.value for each in plan.steps} == dict.fromkeys(first, "update")
    changed = {each.endpoint: {change.field for change in each.changes} for each in plan.steps}
    assert changed["asr"] == {"image", "cached_model", "env.FANSCRIBE_CACHED_MODEL", "env.FANSCRIBE_VARIANT"}
    assert changed["speakers"] == {"image", "workers.max"}
    second = {each.step.endpoint: each.id for each in await _deploy(management, desired(SECOND))}
    assert second == first
    assert not (await _plan(management, desired(SECOND))).changes


async def test_another_kind_of_worker_replaces_the_endpoint(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    first = {each.step.endpoint: each.id for each in await _deploy(management, desired(FILE))}
    on_gpu = FILE.replace('variant = "diarize-onnx"', 'variant = "diarize-onnx"\ngpus = ["AMPERE_16"]')
    plan = await _plan(management, desired(on_gpu))
    steps = {each.endpoint: each for each in plan.steps}
    assert steps["speakers"].action is Action.REPLACE
    assert steps["orchestrator"].action is Action.UPDATE
    second = {each.step.endpoint: each.id for each in await _deploy(management, desired(on_gpu))}
    assert second["asr"] == first["asr"]
    assert second["speakers"] != first["speakers"]
    assert not (await _plan(management, desired(on_gpu))).changes
    assert len((await read_account(management)).endpoints) == 3


async def test_a_replacement_whose_old_one_stays_is_named(
    management: Management, platform: RunningPlatform, desired: Callable[[str], Desired]
) -> None:
    old = {each.step.endpoint: each.id for each in await _deploy(management, desired(FILE))}["speakers"]
    _faults(platform, {"kind": "error", "calls": "management", "operation": "DELETE *", "status": 409})
    outcomes = {each.step.endpoint: each for each in await _deploy(management, desired(REPLACED))}
    assert f"is made, but the old one, {old}, is still there" in str(outcomes["speakers"].error)
    _faults(platform)
    assert [each.endpoint for each in (await _plan(management, desired(REPLACED))).changes][-1] == "speakers"
    assert all(each.error is None for each in await _deploy(management, desired(REPLACED)))
    assert len((await read_account(management)).endpoints) == 3
    assert not (await _plan(management, desired(REPLACED))).changes


async def test_what_a_profile_leaves_out_is_deleted(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    await _deploy(management, desired(FILE))
    less = FILE.replace("[orchestrator]", "").replace(
        '[endpoints.speakers]\nvariant = "diarize-onnx"\nworkers = { min = 0, max = 2 }', ""
    )
    outcomes = await _deploy(management, desired(less))
    assert [each.step.action.value for each in outcomes] == ["unchanged", "delete", "delete"]
    assert [each.endpoint for each in (await read_account(management)).endpoints] == ["asr"]


async def test_an_endpoint_deleted_behind_our_back_is_made_anew(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    wanted = desired(FILE)
    await _deploy(management, wanted)
    plan = await _plan(management, desired(SECOND))
    (gone,) = [each for each in (await read_account(management)).endpoints if each.endpoint == "speakers"]
    await destroy(management, (gone,), lambda report: None)
    outcomes = {each.step.endpoint: each for each in await apply(plan, management, lambda report: None)}
    assert outcomes["asr"].error is None
    error = outcomes["speakers"].error
    assert isinstance(error, NotFoundError)
    assert f"endpoint {gone.id} was deleted by somebody else meanwhile: deploy again" in str(error)
    assert all(each.error is None for each in await _deploy(management, desired(SECOND)))
    assert not (await _plan(management, desired(SECOND))).changes


@pytest.mark.parametrize("how", ["at once", "one after the other"])
async def test_two_deployments_of_one_plan_end_in_one_of_each(
    management: Management, desired: Callable[[str], Desired], how: str
) -> None:
    wanted = desired(FILE.replace('volumes = ["models"]\n', ""))
    plans = [await _plan(management, wanted) for _ in range(2)]
    if how == "at once":
        both = await asyncio.gather(*(apply(each, management, lambda report: None) for each in plans))
    else:
        both = [await apply(each, management, lambda report: None) for each in plans]
    assert [each.error for outcomes in both for each in outcomes] == [None] * 6
    first, second = ({each.step.endpoint: each.id for each in outcomes} for outcomes in both)
    assert first == second, "both name the one that stays"
    found = (await read_account(management)).endpoints
    assert sorted(each.endpoint or "" for each in found) == ["asr", "orchestrator", "speakers"]
    assert not (await _plan(management, wanted)).changes


class Crashed(BaseException):
    """The deploying process is gone."""


class Mortal(httpx2.AsyncHTTPTransport):
    """Carries so many calls; with the next one the process is gone, and nothing is sent any more."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.left <= 0:
            raise Crashed
        self.left -= 1
        return await super().handle_async_request(request)


REPLACED = FILE.replace('variant = "diarize-onnx"', 'variant = "diarize-onnx"\ngpus = ["AMPERE_16"]')
LESS = FILE.replace("[orchestrator]", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [("", FILE), (FILE, SECOND), (FILE, REPLACED), (FILE, LESS)],
    ids=["new", "update", "replace", "delete"],
)
async def test_a_crash_after_any_call_and_a_second_run_end_in_the_same_state(
    management: Management,
    platform: RunningPlatform,
    desired: Callable[[str], Desired],
    before: str,
    after: str,
) -> None:
    async def reset() -> None:
        await _empty(management)
        if before:
            assert all(each.error is None for each in await _deploy(management, desired(before)))

    wanted = desired(after)

    async def life(calls: int) -> bool:
        http = httpx2.AsyncClient(transport=Mortal(calls))
        try:
            await _deploy(replace(management, http=http), wanted)
        except Crashed:
            return True
        finally:
            # What the process had under way ends with it.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await http.aclose()
        return False

    async def until_it_dies(calls: int) -> bool:
        return await asyncio.to_thread(lambda: asyncio.run(life(calls)))

    await reset()
    assert all(each.error is None for each in await _deploy(management, desired(after)))
    clean = await _live(management)
    calls = 0
    while True:
        await reset()
        crashed = await until_it_dies(calls)
        second = await _deploy(management, desired(after))
        assert all(each.error is None for each in second), [str(each.error) for each in second if each.error]
        assert await _live(management) == clean, f"after call {calls}"
        if not crashed:
            break
        calls += 1
    assert calls >= 5, "the deployment makes several calls"


@pytest.mark.parametrize("status", [401, 403, 409, 422, 500])
@pytest.mark.parametrize("operation", ["POST /v2/serverless", "PATCH /v2/serverless/*", "saveEndpoint"])
async def test_a_refusal_is_named_the_rest_is_done_and_a_second_run_mends_it(
    management: Management,
    platform: RunningPlatform,
    desired: Callable[[str], Desired],
    operation: str,
    status: int,
) -> None:
    wanted = desired(FILE)
    _faults(platform, {"kind": "error", "calls": "management", "operation": operation, "status": status})
    said: list[Report] = []
    outcomes = await apply(await _plan(management, wanted), management, said.append)
    failed = {each.step.endpoint: str(each.error) for each in outcomes if each.error is not None}
    assert "asr" in failed, "its creation takes all three calls"
    assert all(f"HTTP {status}" in error for error in failed.values())
    assert {each.name for each in said if each.progress is Progress.FAILED} == set(failed)
    done = {each.name for each in said if each.progress is Progress.DONE}
    assert done == {"calls-models", "asr", "speakers", "orchestrator"} - set(failed)
    _faults(platform)
    assert all(each.error is None for each in await _deploy(management, wanted))
    assert not (await _plan(management, wanted)).changes


@pytest.mark.parametrize(
    "operation", ["POST /v2/serverless", "PATCH /v2/serverless/*", "saveEndpoint", "POST *"]
)
async def test_an_answer_that_is_lost_once_changes_nothing(
    management: Management, platform: RunningPlatform, desired: Callable[[str], Desired], operation: str
) -> None:
    wanted = desired(FILE)
    _faults(platform, {"kind": "lost_reply", "operation": operation, "status": 500, "times": 1})
    before = _calls(platform, "POST /v2/serverless")
    assert [each.error for each in await _deploy(management, wanted)] == [None, None, None]
    assert _calls(platform, "POST /v2/serverless") == before + 3, "what was made is found, not made again"
    assert not (await _plan(management, wanted)).changes
    assert len((await read_account(management)).endpoints) == 3


async def test_being_told_to_slow_down_is_obeyed(
    platform: RunningPlatform, desired: Callable[[str], Desired]
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    opened = replace(account.local(platform.url, platform.key), sleep=sleep)
    _faults(platform, {"kind": "error", "calls": "management", "status": 429, "seconds": 9, "times": 2})
    assert [each.error for each in await _deploy(opened, desired(FILE))] == [None, None, None]
    assert slept.count(9.0) == 2
    await opened.http.aclose()


async def test_a_refused_key_is_said_before_anything_else(
    platform: RunningPlatform, desired: Callable[[str], Desired]
) -> None:
    before = _writes(platform)
    opened = account.local(platform.url, "another-key")
    with pytest.raises(AuthenticationError, match="the API key was refused"):
        await _plan(opened, desired(FILE))
    await opened.http.aclose()
    assert _writes(platform) == before


async def test_a_quota_that_is_too_small_makes_nothing(
    management: Management, platform: RunningPlatform, desired: Callable[[str], Desired]
) -> None:
    wanted = desired(FILE.replace("max = 2", "max = 30"))
    found = await read_account(management, wanted)
    assert found.worker_limit == 20
    with pytest.raises(UsageError, match="the account may have 20 workers, but the plan wants 32"):
        check(make_plan(wanted, found), wanted, found)
    # Where nobody checked beforehand, the platform's own refusal is passed on and the others are made.
    outcomes = {
        each.step.endpoint: each for each in await apply(make_plan(wanted, found), management, lambda _: None)
    }
    assert isinstance(outcomes["speakers"].error, PlatformError)
    assert outcomes["asr"].error is None


async def test_drift_is_seen_and_mended(management: Management, desired: Callable[[str], Desired]) -> None:
    wanted = desired(FILE)
    ids = {each.step.endpoint: each.id for each in await _deploy(management, wanted)}
    await management.rest("PATCH", f"serverless/{ids['speakers']}", {"workers": {"min": 0, "max": 7}})
    await management.rest("PATCH", f"serverless/{ids['asr']}", {"timeout": 1000, "name": "renamed"})
    plan = await _plan(management, wanted)
    assert {each.endpoint: [change.field for change in each.changes] for each in plan.steps} == {
        "asr": ["execution_timeout_s", "name"],
        "speakers": ["workers.max"],
        "orchestrator": [],
    }
    await apply(plan, management, lambda _: None)
    assert not (await _plan(management, wanted)).changes


async def test_an_endpoint_made_by_hand_is_taken_over(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    made = await management.rest(
        "POST",
        "serverless",
        {
            "name": "whisper by hand",
            "type": "QUEUE",
            "image": "registry.invalid/acme/fanscribe-whisper:0.9",
            "env": {"KEEP": "me"},
            "gpu": {"pools": ["ADA_24"]},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        },
    )
    wanted = desired(FILE)
    variants = load_catalogue().variants
    found = await read_account(management)
    live = find(wanted, found, "asr", variants, {"RUNPOD_TRANSCRIBE_ENDPOINT_ID": made["id"]})
    assert await adopt(management, live, "calls", "asr") is True
    found = await read_account(management, wanted)
    step = make_plan(wanted, found).steps[0]
    assert step.action is Action.UPDATE
    assert step.live is not None
    assert step.live.id == made["id"]
    assert step.live.state.env["KEEP"] == "me"
    assert await adopt(management, step.live, "calls", "asr") is False
    outcomes = await apply(make_plan(wanted, found), management, lambda _: None)
    assert outcomes[0].id == made["id"]
    assert not (await _plan(management, wanted)).changes


async def test_without_graphql_the_cached_model_is_unknown_and_nothing_else_is_lost(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    wanted = desired(FILE)
    blind = replace(management, graphql_url=f"{management.rest_url}/retired")
    outcomes = {each.step.endpoint: each.error for each in await _deploy(blind, wanted)}
    assert outcomes["speakers"] is None
    half = next(each for each in (await read_account(management)).endpoints if each.endpoint == "asr")
    assert str(outcomes["asr"]).startswith(f"endpoint {half.id} is made, but not complete: local: GraphQL")
    assert half.state.workers_max == 0, "an endpoint without its model takes no jobs"
    assert "FANSCRIBE_CACHED_MODEL" not in half.state.env, "the entry says that the model is set"
    await _deploy(management, wanted)
    found = await read_account(blind, wanted)
    plan = make_plan(wanted, found)
    assert not plan.changes
    assert plan.steps[0].unknown == ("cached_model",)
    assert any(note.startswith("cached models cannot be read back") for note in found.notes)
    # The entry in the environment still tells when another model is wanted.
    second = desired(SECOND)
    changed = make_plan(second, await read_account(blind, second)).steps[0]
    assert "env.FANSCRIBE_CACHED_MODEL" in {change.field for change in changed.changes}


async def test_destroy_touches_only_what_carries_the_mark(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    await _deploy(management, desired(FILE))
    await _deploy(management, desired(FILE.replace('"calls"', '"other"')))
    body = {"name": "calls-by-hand", "type": "QUEUE", "image": "x", "gpu": {"pools": ["ADA_24"]}}
    await management.rest("POST", "serverless", {**body, "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}})
    found = inventory(await read_everything(management), "calls")
    assert len(found.endpoints) == 3
    assert [each.state.name for each in found.orphans] == ["calls-by-hand"]
    await destroy(management, found.endpoints, lambda report: None)
    left = [each.state.name for each in (await read_everything(management)).endpoints]
    assert sorted(left) == ["calls-by-hand", "other-asr", "other-orchestrator", "other-speakers"]


async def test_waiting_ends_at_zero_workers_and_at_the_deadline(
    management: Management, desired: Callable[[str], Desired]
) -> None:
    ids = {each.step.endpoint: each.id or "" for each in await _deploy(management, desired(FILE))}
    rollout = await wait_live(management, ids["speakers"], 0, deadline_s=5, clock=lambda: 0.0)
    assert (rollout.live, rollout.total) == (True, 0)
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(DeadlineError, match=r"is not live after 7 s: version 1, no workers"):
        await wait_live(management, ids["speakers"], 1, deadline_s=7, clock=lambda: now[0], sleep=sleep)
    assert now[0] >= 7
