"""Status, logs, smoke, adoption and discovery, against a platform that answers from memory."""

import base64
import io
import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.catalogue import DeployedEndpoint, load_catalogue
from fanscribe.contracts.errors import AnswerError, DeadlineError, NotFoundError, TaskFailedError, UsageError
from fanscribe.deploy.adopt import find, id_variables
from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.discovery import (
    deployed_endpoints,
    deployed_orchestrator,
    endpoints_of,
    orchestrator_of,
)
from fanscribe.deploy.logs import all_lines, last_lines
from fanscribe.deploy.management import Management
from fanscribe.deploy.rollout import wait_all, wait_live
from fanscribe.deploy.smoke import smoke, smoke_orchestrator, task_for, tone
from fanscribe.deploy.state import Account, Desired, LiveEndpoint
from fanscribe.deploy.status import read_status
from fanscribe.deploy.wire import create_body

VARIANTS = load_catalogue().variants
FILE = """
[project]
name = "calls"
[endpoints.asr]
variant = "whisper-base"
[endpoints.speakers]
variant = "diarize-onnx"
"""


class Memory:
    """Answers by path, a list of answers one after the other; the last one stays."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[httpx2.Request] = []

    def management(self) -> Management:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        return Management(http, "https://rest/v2", "https://rest/graphql", "https://data/v2", "key", "runpod")

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        name = request.url.path.rpartition("/")[2].replace("-", "_")
        found = self.answers.get(name, httpx2.Response(404, json={"detail": f"no {name}"}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, httpx2.Response) else httpx2.Response(200, json=found)


@pytest.fixture
def desired(tmp_path: Path) -> Desired:
    file = tmp_path / "endpoints.toml"
    file.write_text(FILE)
    return read_desired(file)


def _live(desired: Desired) -> list[LiveEndpoint]:
    return [LiveEndpoint(f"id-{each.endpoint}", each.state) for each in desired.endpoints]


def _served(desired: Desired) -> list[dict[str, Any]]:
    return [create_body(each.state) | {"id": f"id-{each.endpoint}"} for each in desired.endpoints]


def _rollout(version: int, on_latest: int, total: int, *workers: str, stale: str = "") -> dict[str, Any]:
    listed = [
        {"id": f"w{number}", "status": status, "isStale": False} for number, status in enumerate(workers)
    ]
    listed += [{"id": "old", "status": stale, "isStale": True}] if stale else []
    counts = {name: sum(each["status"] == name.upper() for each in listed) for name in _STATES}
    return {
        "releases": {
            "endpointVersion": version,
            "rollout": {"inProgress": on_latest < total, "workersOnLatest": on_latest, "workersTotal": total},
            "releases": [{"version": version}],
        },
        "workers": {"workers": listed, "summary": {**counts, "total": len(listed)}},
    }


_STATES = ("running", "idle", "initializing", "throttled", "unhealthy")


async def test_a_rollout_is_waited_for_until_nothing_old_runs() -> None:
    steps = [_rollout(2, 0, 1, stale="RUNNING"), _rollout(2, 1, 1, "INITIALIZING"), _rollout(2, 1, 1, "IDLE")]
    platform = Memory(
        releases=[each["releases"] for each in steps], workers=[each["workers"] for each in steps]
    )
    said: list[str] = []

    async def sleep(seconds: float) -> None:
        return

    rollout = await wait_live(
        platform.management(),
        "x",
        1,
        deadline_s=60,
        clock=lambda: 0.0,
        sleep=sleep,
        progress=lambda now: said.append(str(now)),
    )
    assert rollout.live
    assert said == [
        "version 2, 0 of 1 workers on it, 0 ready",
        "version 2, 1 of 1 workers on it, 0 ready",
        "version 2, 1 of 1 workers on it, 1 ready",
    ]


async def test_workers_that_do_not_come_up_are_named_at_the_deadline() -> None:
    sick = _rollout(1, 1, 1, "UNHEALTHY")
    now = iter(range(100))

    async def sleep(seconds: float) -> None:
        return

    errors = await wait_all(
        Memory(**sick).management(),
        {"asr": ("x", 1)},
        deadline_s=3,
        clock=lambda: float(next(now)),
        progress=lambda name, text: None,
        sleep=sleep,
    )
    assert isinstance(errors["asr"], DeadlineError)
    assert "1 unhealthy; `fanscribe logs` shows why" in str(errors["asr"])


def _events(*lines: str) -> httpx2.Response:
    text = "".join(
        f"id: 1\ndata: {json.dumps({'source': 'container', 'line': each, 'ts': 't'})}\n\n" for each in lines
    )
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


async def test_status_tells_workers_queue_release_price_and_last_error(desired: Desired) -> None:
    platform = Memory(
        serverless={"endpoints": _served(desired)},
        health={"jobs": {"inQueue": 4, "inProgress": 2}, "workers": {}},
        logs=_events("cannot load the model"),
        **_rollout(3, 1, 2, "RUNNING", "UNHEALTHY", stale="IDLE"),
    )
    asr, speakers = await read_status(platform.management(), "calls", VARIANTS)
    assert asr.endpoint == "asr"
    assert dict(asr.workers) == {"running": 1, "idle": 1, "unhealthy": 1}
    assert (asr.queued, asr.running) == (4, 2)
    assert asr.release == "version 3, on 1 of 2 workers"
    assert asr.usd_per_hour_now == pytest.approx(2 * 0.00016 * 3600)
    assert asr.last_error == "cannot load the model"
    assert speakers.usd_per_hour_now is None, "the table has no price for CPU workers"
    assert await read_status(platform.management(), "others", VARIANTS) == []


async def test_an_endpoint_that_cannot_be_asked_does_not_hide_the_others(desired: Desired) -> None:
    platform = Memory(serverless={"endpoints": _served(desired)})
    found = await read_status(platform.management(), "calls", VARIANTS)
    assert ["no " in each.last_error for each in found] == [True, True]


async def test_logs_of_several_workers_and_of_one_that_is_gone() -> None:
    assert await last_lines(Memory(logs=_events("a", "b")).management(), "e", "w", 2) == ["a", "b"]
    gone = Memory().management()
    with pytest.raises(NotFoundError, match="the log of worker w: no logs"):
        await last_lines(gone, "e", "w", 2)
    found = [each async for each in all_lines(gone, "e", ["w"], tail=1, follow=False)]
    assert found == [("w", "the log of worker w: no logs (HTTP 404)")]


def _deployed(variant: str) -> DeployedEndpoint:
    return DeployedEndpoint("asr", "id-asr", VARIANTS[variant])


def test_the_tone_is_audio_that_a_handler_takes() -> None:
    with wave.open(io.BytesIO(tone())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 32_000)
    audio = task_for(_deployed("whisper-base"))["audio"]
    assert base64.b64decode(audio.partition(",")[2]) == tone()


def test_a_variant_that_a_tone_cannot_try_is_named() -> None:
    variant = VARIANTS["whisper-base"].model_copy(update={"stages": []})
    with pytest.raises(UsageError, match="endpoint asr has no stage"):
        task_for(DeployedEndpoint("asr", "x", variant))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            {"status": "COMPLETED", "output": {"variant": "whisper-large-v3"}},
            AnswerError,
            "answered as whisper-large-v3",
        ),
        ({"status": "COMPLETED", "output": {}}, AnswerError, "as no variant of ours, not as whisper-base"),
        ({"status": "COMPLETED", "output": "?"}, AnswerError, "something that is no JSON object"),
        ({"status": "FAILED", "error": "boom"}, TaskFailedError, "boom"),
    ],
)
async def test_a_job_that_ends_wrongly_fails_the_smoke(
    answer: dict[str, Any], kind: type[Exception], words: str
) -> None:
    platform = Memory(run={"id": "j", **answer})
    (result,) = await smoke(platform.management(), (_deployed("whisper-base"),), deadline_s=5)
    assert isinstance(result.error, kind)
    assert words in str(result.error)


async def test_a_job_that_never_ends_is_cancelled() -> None:
    platform = Memory(run={"id": "j", "status": "IN_QUEUE"}, j={"id": "j", "status": "IN_QUEUE"})
    (result,) = await smoke(platform.management(), (_deployed("whisper-base"),), deadline_s=0.05)
    assert isinstance(result.error, DeadlineError)
    assert platform.asked[-1].url.path == "/v2/id-asr/cancel/j"


async def test_a_right_answer_passes() -> None:
    output = {"variant": "whisper-base", "timing": {"cold_start": True}}
    platform = Memory(run={"id": "j", "status": "COMPLETED", "output": output})
    (result,) = await smoke(platform.management(), (_deployed("whisper-base"),), deadline_s=5)
    assert (result.error, result.cold) == (None, True)


def _orchestrator(desired: Desired, identity: str, project: str = "calls", made: str = "1") -> LiveEndpoint:
    env = {"FANSCRIBE_PROJECT": project, "FANSCRIBE_ENDPOINT": "one-call", "FANSCRIBE_DEPLOYMENT": "[]"}
    return LiveEndpoint(identity, replace(desired.endpoints[0].state, env=env), made)


async def test_the_orchestrator_is_smoked_through_the_whole_pipeline() -> None:
    transcript = {"text": "", "segments": [], "durable": False, "partial": False, "variant": "whisper-base"}
    platform = Memory(run={"id": "j", "status": "COMPLETED", "output": transcript})
    result = await smoke_orchestrator(platform.management(), "id-o", "one-call", diarize=True, deadline_s=5)
    assert (result.endpoint, result.error) == ("one-call", None)
    sent = json.loads(platform.asked[0].content)["input"]
    assert platform.asked[0].url.path == "/v2/id-o/run"
    assert (sent["diarize"], sent["cache"]) == (True, False)
    assert sent["audio"].startswith("data:audio/wav;base64,")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            {"status": "COMPLETED", "output": {"partial": True, "durable": False, "segments": []}},
            AnswerError,
            "gaps",
        ),
        (
            {"status": "COMPLETED", "output": {"variant": "whisper-base"}},
            AnswerError,
            "no transcript of ours",
        ),
        ({"status": "COMPLETED", "output": {"partial": "?"}}, AnswerError, "no transcript of ours"),
        ({"status": "FAILED", "error": "boom"}, TaskFailedError, "boom"),
    ],
)
async def test_an_orchestrator_that_answers_wrongly_fails_the_smoke(
    answer: dict[str, Any], kind: type[Exception], words: str
) -> None:
    platform = Memory(run={"id": "j", **answer})
    result = await smoke_orchestrator(platform.management(), "id-o", "one-call", diarize=True, deadline_s=5)
    assert isinstance(result.error, kind)
    assert words in str(result.error)


async def test_the_orchestrator_is_found_by_what_it_is_told(desired: Desired) -> None:
    others = _live(desired)
    younger, older = _orchestrator(desired, "id-b", made="2"), _orchestrator(desired, "id-a", made="1")
    elsewhere = _orchestrator(desired, "id-c", project="another", made="0")
    assert orchestrator_of([*others, elsewhere, younger, older], "calls") is older
    assert orchestrator_of([*others, elsewhere], "calls") is None
    assert endpoints_of([older], "calls", VARIANTS) == ()
    assert (
        await deployed_orchestrator(Memory(serverless={"endpoints": _served(desired)}).management(), "calls")
        is None
    )


async def test_a_projects_endpoints_are_discovered_by_their_mark(desired: Desired) -> None:
    platform = Memory(serverless={"endpoints": _served(desired)})
    found = await deployed_endpoints(platform.management(), "calls")
    assert [(each.name, each.id, each.variant.id) for each in found] == [
        ("asr", "id-asr", "whisper-base"),
        ("speakers", "id-speakers", "diarize-onnx"),
    ]


def test_discovery_reads_a_variant_that_travels_along_and_passes_over_what_it_does_not_know(
    desired: Desired,
) -> None:
    asr, speakers = _live(desired)
    own = VARIANTS["whisper-base"].model_copy(update={"id": "mine"})
    spelled = {**asr.state.env, "FANSCRIBE_VARIANT_JSON": own.model_dump_json(exclude_defaults=True)}
    unknown = {**speakers.state.env, "FANSCRIBE_VARIANT": "away"}
    broken = {**asr.state.env, "FANSCRIBE_VARIANT_JSON": "{", "FANSCRIBE_ENDPOINT": "b"}
    live = [
        replace(asr, state=replace(asr.state, env=spelled)),
        replace(speakers, state=replace(speakers.state, env=unknown)),
        replace(asr, state=replace(asr.state, env=broken)),
    ]
    assert [each.variant.id for each in endpoints_of(live, "calls", VARIANTS)] == ["mine"]


def test_the_variables_that_may_hold_an_id(desired: Desired) -> None:
    speakers = desired.endpoints[1]
    names = id_variables(speakers, VARIANTS["diarize-onnx"])
    assert names[:2] == ("SPEAKERS_ENDPOINT_ID", "RUNPOD_SPEAKERS_ENDPOINT_ID")
    assert {"DIARIZE_ENDPOINT_ID", "RUNPOD_DIARIZE_ENDPOINT_ID", "DIARIZATION_ENDPOINT_ID"} <= set(names)


def test_what_is_adopted_is_the_one_that_is_meant(desired: Desired) -> None:
    asr, speakers = _live(desired)
    by_hand = replace(asr, state=replace(asr.state, env={}, name="whisper"))
    account = Account((by_hand, replace(by_hand, id="second"), speakers))

    def chosen(environment: dict[str, str], identity: str | None = None, name: str = "asr") -> str:
        return find(desired, account, name, VARIANTS, environment, identity).id

    assert chosen({"WHISPER_ENDPOINT_ID": "second"}) == "second"
    assert chosen({"WHISPER_ENDPOINT_ID": "second"}, "id-asr") == "id-asr"
    with pytest.raises(
        UsageError, match="no endpoint is called asr or calls-asr; give --id, or set ASR_ENDPOINT_ID"
    ):
        chosen({})
    with pytest.raises(UsageError, match=r"the account has no endpoint away \(RUNPOD_ASR_ENDPOINT_ID\)"):
        chosen({"RUNPOD_ASR_ENDPOINT_ID": "away"})
    with pytest.raises(UsageError, match="the file has no such endpoint; it has asr, speakers"):
        chosen({}, None, "other")
    renamed = replace(by_hand, state=replace(by_hand.state, name="asr"))
    twice = Account((renamed, replace(renamed, id="second")))
    with pytest.raises(UsageError, match=r"there are several \(id-asr, second\); say which with --id"):
        find(desired, twice, "asr", VARIANTS, {})
    foreign = Account((replace(asr, state=replace(asr.state, env={"FANSCRIBE_PROJECT": "x"})),))
    with pytest.raises(UsageError, match="belongs to project x"):
        find(desired, foreign, "asr", VARIANTS, {}, "id-asr")
