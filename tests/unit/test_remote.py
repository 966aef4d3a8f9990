"""A request through an orchestrator, on a platform that answers by a script: what is sent, told, repeated, refused."""

import asyncio
import base64
import gzip
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.scripted import Reply, ScriptedJob, ScriptedPlatform, Time, Timeline, failed, forever

from fanscribe.contracts.errors import (
    AnswerError,
    AudioError,
    AudioUnreachableError,
    DeadlineError,
    ErrorCode,
    FanscribeError,
    JobCancelledError,
    JobLostError,
    StoppedError,
    TaskFailedError,
    UsageError,
)
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.endpoint import REQUEST_LIMIT_BYTES, Endpoint
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.job import Calls
from fanscribe.pipeline.request import make_request
from fanscribe.remote import TASK, Remote, transcribe_remotely
from fanscribe.trace.facts import Role, Status
from fanscribe.trace.phases import phases
from fanscribe.trace.recorder import Recorder

URL = "https://talks.example/monday.mp3?sig=s3cret"


def output(**about: Any) -> dict[str, Any]:
    words = [{"text": "hi", "start": 0.0, "end": 0.5}]
    segment = {"start": 0.0, "end": 0.5, "text": "hi", "speaker": "SPEAKER_00", "words": words}
    whole: dict[str, Any] = {
        "text": "hi",
        "duration": 30.0,
        "segments": [segment],
        "speakers": ["SPEAKER_00"],
    }
    return whole | {"contract_version": CONTRACT_VERSION, "durable": True, "partial": False} | about


def completed(after_s: float = 10.0, **about: Any) -> Timeline:
    return (
        (0.0, {"status": "IN_QUEUE"}),
        (1.0, {"status": "IN_PROGRESS"}),
        (2.0, progress("fetching", "prepare", 0.02)),
        (4.0, progress("running", "transcribe", 0.5, text="h")),
        (8.0, progress("running", "merge", 0.97, text="hi")),
        (after_s, {"status": "COMPLETED", "output": output(**about)}),
    )


def progress(phase: str, stage: str, share: float, **more: Any) -> dict[str, Any]:
    said = {"phase": phase, "stage": stage, "share": share, "message": "", "text": ""} | more
    return {"status": "IN_PROGRESS", "output": said}


class FakeStore:
    """Keeps what was stored, and what of it was taken away."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.log: list[str] = []

    async def put(self, file: Path, report: Callable[[float], None]) -> str:
        self.log.append("put")
        report(0.5)
        report(1.0)
        self.held["s3://inbox/one"] = file.read_bytes()
        return "s3://inbox/one"

    async def delete(self, address: str) -> None:
        self.log.append("delete")
        del self.held[address]


class Hosted:
    """An orchestrator by a script, and a call of it in time that only passes when everybody waits."""

    def __init__(
        self,
        script: Callable[[ScriptedJob], Timeline],
        *,
        on_run: Callable[[int], Reply] = lambda number: None,
        store: FakeStore | None = None,
    ) -> None:
        self.time = Time()
        self.platform = ScriptedPlatform(self.time, script, on_run)
        self.events: list[Event] = []
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.platform))
        endpoint = Endpoint(self.http, "http://p/v2", "orch", "k")
        self.remote = Remote(endpoint, store, Calls(self.time.sleep, self.time.clock), lambda: "the-key")

    async def call(self, audio: Any = URL, until_s: float | None = None, **options: Any) -> Transcript:
        until = None if until_s is None else self.time.now + until_s
        work = transcribe_remotely(self.remote, audio, make_request(**options), self.events.append, until)
        return await self.time.run(work)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [job.input for job in self.platform.jobs]


@pytest.fixture
def large(tmp_path: Path, tone: Path) -> Path:
    """A WAV that does not fit into a request."""
    file = tmp_path / "long talk.wav"
    data = bytearray(tone.read_bytes() + bytes(REQUEST_LIMIT_BYTES))
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[40:44] = (len(data) - 44).to_bytes(4, "little")
    file.write_bytes(data)
    return file


async def test_a_url_goes_as_it_is_and_only_what_was_asked_for_beside_it() -> None:
    hosted = Hosted(lambda job: completed())
    transcript = await hosted.call(diarize=True, language="en", keyterms=["a", "b"])
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", hosted.sent[0].pop("traceparent"))
    assert hosted.sent == [
        {
            "audio": URL,
            "speaker_detection": "diarize",
            "language": "en",
            "keyterms": ["a", "b"],
            "idempotency_key": "the-key",
            "contract_version": CONTRACT_VERSION,
        }
    ]
    assert hosted.platform.jobs[0].endpoint == "orch"
    assert (transcript.text, transcript.speakers, transcript.words[0].end) == ("hi", ["SPEAKER_00"], 0.5)
    assert transcript.warnings == []
    assert not transcript.partial


async def test_what_the_orchestrator_tells_becomes_events() -> None:
    hosted = Hosted(lambda job: completed())
    await hosted.call()
    told = [(each.state, each.stage, each.share, each.message) for each in hosted.events]
    assert all(each.task == TASK for each in hosted.events)
    assert [state for state, *_ in told] == [
        State.SENDING,
        State.QUEUED,
        State.STARTING,
        State.FETCHING,
        State.FETCHING,
        State.RUNNING,
        State.RUNNING,
        State.DONE,
    ]
    assert (State.RUNNING, "transcribe", 0.5, "h") in told
    assert (State.RUNNING, "merge", 0.97, "hi") in told
    assert told[-1] == (State.DONE, "merge", 1.0, "")


async def test_a_file_that_fits_goes_inside_the_request(tone: Path) -> None:
    store = FakeStore()
    hosted = Hosted(lambda job: completed(), store=store)
    for audio in (tone, tone.read_bytes()):
        await hosted.call(audio)
        head, _, body = hosted.sent[-1]["audio"].partition(",")
        assert head == "data:application/octet-stream;base64"
        assert base64.b64decode(body) == tone.read_bytes()
    assert store.log == []


async def test_a_file_that_does_not_fit_goes_by_the_store_and_is_taken_away(large: Path) -> None:
    store = FakeStore()
    seen: list[bytes] = []

    def script(job: ScriptedJob) -> Timeline:
        seen.append(store.held[job.input["audio"]])
        return completed()

    hosted = Hosted(script, store=store)
    await hosted.call(large)
    assert seen == [large.read_bytes()]
    assert (store.log, store.held) == (["put", "delete"], {})
    uploaded = [(each.state, each.share) for each in hosted.events if each.task == "upload"]
    assert uploaded[-1] == (State.DONE, 1.0)
    assert (State.SENDING, 0.5) in uploaded


async def test_the_largest_file_that_fits_really_fits(tmp_path: Path, tone: Path) -> None:
    """On both sides of the limit, beside a long prompt with characters that grow in JSON."""
    sizes: list[int] = []
    options: dict[str, Any] = {"prompt": '"ä\n' * 1300, "keyterms": ["ü" * 50] * 900}
    for size in (7_300_000, 7_350_000, 7_390_000, 7_392_000, 7_400_000, 7_450_000):
        data = bytearray(tone.read_bytes()[:44] + bytes(size - 44))
        data[4:8] = (size - 8).to_bytes(4, "little")
        data[40:44] = (size - 44).to_bytes(4, "little")
        file = tmp_path / "talk.wav"
        file.write_bytes(data)
        store = FakeStore()
        hosted = Hosted(lambda job: completed(), store=store)
        await hosted.call(file, **options)
        assert len(json.dumps({"input": hosted.sent[0]}).encode()) < REQUEST_LIMIT_BYTES + 500_000
        sizes.append(len(store.log))
    assert sizes[0] == 0
    assert sizes[-1] == 2
    assert sizes == sorted(sizes)


async def test_without_a_store_the_error_says_what_to_do(large: Path) -> None:
    hosted = Hosted(lambda job: completed())
    with pytest.raises(UsageError, match=r"long talk.wav: has 10\.0 MB, .* FANSCRIBE_UPLOADS"):
        await hosted.call(large)
    assert hosted.sent == []


async def test_what_is_no_recording_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    store = FakeStore()
    hosted = Hosted(lambda job: completed(), store=store)
    (tmp_path / "notes.mp3").write_bytes(b"Dear diary\n" * 2_000_000)
    with pytest.raises(AudioError, match="it is text"):
        await hosted.call(tmp_path / "notes.mp3")
    with pytest.raises(UsageError, match=r"^send=inline: "):
        await hosted.call(send="inline")
    with pytest.raises(UsageError, match="speaker_names"):
        await hosted.call(diarize=True, speaker_names=["x" * 300])
    assert (hosted.sent, store.log) == ([], [])


async def test_the_orchestrator_is_told_what_is_left_of_the_deadline() -> None:
    hosted = Hosted(lambda job: completed())
    await hosted.call(deadline_s=60.0, until_s=50.0)
    assert hosted.sent[0]["deadline_s"] == 48.0
    await hosted.call(deadline_s=2.0, until_s=1.0)
    assert hosted.sent[1]["deadline_s"] == pytest.approx(0.9)


@pytest.mark.parametrize("lost", ["gone", "failed", "unconfirmed"])
async def test_a_lost_job_is_sent_again_with_the_same_key(lost: str) -> None:
    gone: Timeline = ((0.0, {"status": "IN_QUEUE"}), (3.0, 404))
    scripts = {
        "gone": gone,
        "failed": failed(ErrorCode.MODEL_ERROR, retryable=True),
        "unconfirmed": completed(),
    }

    def script(job: ScriptedJob) -> Timeline:
        return scripts[lost] if job.id == "j1" and lost != "unconfirmed" else completed()

    def broken(number: int) -> Reply:
        return httpx2.ReadTimeout("broke") if number == 1 else None

    hosted = Hosted(script, on_run=broken if lost == "unconfirmed" else lambda number: None)
    transcript = await hosted.call()
    assert hosted.platform.submissions == 2
    assert {each["idempotency_key"] for each in hosted.sent} == {"the-key"}
    assert transcript.text == "hi"
    assert "1 of the orchestrator's jobs were lost" in transcript.warnings[0]
    assert "s3cret" not in transcript.warnings[0]


async def test_it_is_not_sent_without_end() -> None:
    hosted = Hosted(lambda job: ((0.0, {"status": "IN_QUEUE"}), (3.0, 404)))
    with pytest.raises(JobLostError):
        await hosted.call()
    assert len(hosted.sent) == 3


@pytest.mark.parametrize(
    ("code", "retryable", "options", "becomes"),
    [
        (ErrorCode.INVALID_INPUT, False, {}, UsageError),
        (ErrorCode.MODEL_MISSING, False, {}, UsageError),
        (ErrorCode.RESULT_TOO_LARGE, False, {}, UsageError),
        (ErrorCode.AUDIO_UNREADABLE, False, {}, AudioError),
        (ErrorCode.AUDIO_UNREACHABLE, True, {}, AudioUnreachableError),
        (ErrorCode.AUDIO_UNREACHABLE, False, {}, AudioUnreachableError),
        (ErrorCode.TIMEOUT, True, {}, TaskFailedError),
        (ErrorCode.TIMEOUT, True, {"deadline_s": 9.0}, DeadlineError),
        (ErrorCode.MODEL_ERROR, False, {}, TaskFailedError),
    ],
)
async def test_a_refusal_is_the_error_that_the_clients_own_run_would_raise(
    code: ErrorCode, retryable: bool, options: dict[str, Any], becomes: type[FanscribeError]
) -> None:
    hosted = Hosted(lambda job: failed(code, retryable=retryable))
    with pytest.raises(becomes, match="as the script says") as caught:
        await hosted.call(**options)
    assert type(caught.value) is becomes
    assert len(hosted.sent) == 1
    if code is ErrorCode.AUDIO_UNREACHABLE:
        assert caught.value.retryable is retryable
    if becomes is not TaskFailedError:
        assert "https://talks.example/monday.mp3: " in str(caught.value) or becomes is DeadlineError
    assert "s3cret" not in str(caught.value)


async def test_a_file_keeps_its_name_in_what_is_refused(tone: Path) -> None:
    error = {"code": "AUDIO_UNREADABLE", "message": "data URI: begins like wav", "retryable": False}
    hosted = Hosted(lambda job: ((0.0, {"status": "FAILED", "error": json.dumps(error)}),))
    with pytest.raises(AudioError) as caught:
        await hosted.call(tone)
    assert str(caught.value) == f"{tone}: begins like wav"


async def test_a_job_that_somebody_else_cancelled_is_not_sent_again() -> None:
    hosted = Hosted(lambda job: forever("CANCELLED"))
    with pytest.raises(JobCancelledError):
        await hosted.call()
    assert len(hosted.sent) == 1


@pytest.mark.parametrize("after_turns", [1, 3, 5, 8, 20, 200])
async def test_leaving_cancels_the_job_and_takes_the_file_away(large: Path, after_turns: int) -> None:
    store = FakeStore()
    hosted = Hosted(lambda job: forever(), store=store)

    async def left() -> None:
        request = make_request()
        calling = asyncio.ensure_future(
            transcribe_remotely(hosted.remote, large, request, hosted.events.append)
        )
        for _ in range(after_turns):
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    await hosted.time.run(left())
    assert hosted.platform.left == []
    assert store.held == {}
    assert store.log in ([], ["put", "delete"])


async def test_a_job_that_is_sent_again_has_what_is_left_of_the_deadline() -> None:
    hosted = Hosted(
        lambda job: ((0.0, {"status": "IN_QUEUE"}), (30.0, 404)) if job.id == "j1" else completed()
    )
    await hosted.call(until_s=100.0, deadline_s=100.0)
    first, second = (each["deadline_s"] for each in hosted.sent)
    assert first == pytest.approx(98.0)
    assert second == pytest.approx(98.0 - 31.0, abs=2.0)


async def test_what_the_orchestrator_would_refuse_is_not_uploaded_first(large: Path) -> None:
    store = FakeStore()
    hosted = Hosted(lambda job: completed(), store=store)
    with pytest.raises(UsageError, match=r"speaker_names\.0: "):
        await hosted.call(large, diarize=True, speaker_names=("x" * 201,))
    assert (store.log, hosted.sent) == ([], [])


async def test_its_jobs_are_noted_for_the_trace() -> None:
    hosted = Hosted(
        lambda job: ((0.0, {"status": "IN_QUEUE"}), (5.0, 404)) if job.id == "j1" else completed()
    )
    recorder = Recorder(clock=hosted.time.clock)
    work = transcribe_remotely(hosted.remote, URL, make_request(), hosted.events.append, None, recorder)
    await hosted.time.run(work)
    facts = recorder.facts()
    (task,) = facts.tasks
    lost, done = task.jobs
    assert (lost.role, lost.status, lost.error) == (Role.FIRST, Status.ERROR, "JobLostError")
    assert (done.role, done.status, done.endpoint) == (Role.RETRY, Status.OK, "orch")
    assert done.job_id == hosted.platform.jobs[1].id
    assert done.ended - done.began == pytest.approx(10.0, abs=1.5)
    told = {each.name.value for each in phases(done)}
    assert {"start", "work"} <= told
    assert "inference" not in told, "the engines' seconds are in the orchestrator's own trace"
    assert [each.name for each in facts.steps] == ["send", "read"]


async def test_leaving_while_a_large_result_is_fetched_does_not_wait_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch(*_: Any, stopped: Callable[[], bool], **__: Any) -> None:
        begun.set()
        for _turn in range(2000):
            if stopped():
                ended.set()
                raise StoppedError("stopped")
            time.sleep(0.005)

    monkeypatch.setattr("fanscribe.large_results.fetch", fetch)
    result = {"url": "https://results.example/one", "size_bytes": 2, "sha256": "0" * 64}
    hosted = Hosted(lambda job: ((0.0, {"status": "COMPLETED", "output": {"result": result}}),))
    remote = replace(hosted.remote, calls=Calls())
    calling = asyncio.ensure_future(transcribe_remotely(remote, URL, make_request(), hosted.events.append))
    assert await asyncio.to_thread(begun.wait, 10)
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    assert ended.is_set()


async def test_a_large_result_is_read_from_where_it_lies() -> None:
    whole = json.dumps(output()).encode()
    result = {
        "data": base64.b64encode(gzip.compress(whole)).decode(),
        "encoding": "gzip+base64",
        "size_bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    inline = {"contract_version": CONTRACT_VERSION, "durable": True, "result": result}
    hosted = Hosted(lambda job: ((0.0, {"status": "COMPLETED", "output": inline}),))
    assert (await hosted.call()).words[0].text == "hi"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("text", "is it an orchestrator"),
        ({"segments": 3}, r"does not fit the contract \(segments\)"),
        ({"contract_version": "9.0"}, "speaks contract 9.0"),
    ],
)
async def test_an_answer_that_is_no_transcript(answer: Any, said: str) -> None:
    hosted = Hosted(lambda job: ((0.0, {"status": "COMPLETED", "output": answer}),))
    with pytest.raises(AnswerError, match=said):
        await hosted.call()


async def test_a_partial_answer_is_partial_here_too() -> None:
    gap = {"start": 1.0, "end": 2.0, "stage": "transcribe", "reason": "out of memory"}
    said = ["idempotency_key: this orchestrator keeps no results", "talk: has a gap"]
    hosted = Hosted(lambda job: completed(partial=True, gaps=[gap], warnings=said))
    transcript = await hosted.call()
    assert transcript.partial
    assert transcript.warnings == ["talk: has a gap"]
