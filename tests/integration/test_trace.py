"""Traces of real requests: real engines on the local platform, and an orchestrator over simulated workers."""

import asyncio
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.orchestrated import ORCHESTRATOR, WORDS, Orchestrated, orchestrated
from tests.simulated import simulated_stage, simulated_variant, spoken
from typer.testing import CliRunner

from fanscribe import Client
from fanscribe.cli import app
from fanscribe.connection import Connection
from fanscribe.contracts.task import Stage
from fanscribe.local.faults import LOST_JOB, FaultRule
from fanscribe.pipeline.events import Event, State
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, transcribe
from fanscribe.trace import tracing
from fanscribe.trace.facts import Status
from fanscribe.trace.file import FILE_NAME, Trace, read
from fanscribe.trace.spans import Kind, Span

MESSAGE_S = 0.25
"""What may lie between the platform's clock and ours: a message under way, on a machine that is busy."""


def spans(trace: Trace, kind: Kind) -> list[Span]:
    return [each for each in trace.spans if each.kind is kind]


def phases(trace: Trace, job: Span) -> dict[str, float]:
    """Seconds by phase."""
    spent: defaultdict[str, float] = defaultdict(float)
    for each in spans(trace, Kind.PHASE):
        if each.parent == job.id:
            spent[each.name] += each.duration_s
    return spent


def seconds(span: Span, name: str) -> float:
    value = span.attributes[name]
    assert isinstance(value, int | float)
    return float(value)


def counted(connection: Connection) -> Counter[str]:
    """The jobs that the platform has finished, by endpoint."""
    found: Counter[str] = Counter()
    for each in connection.catalogue.endpoints:
        answer = httpx2.get(
            f"{connection.platform.base_url}/{each.id}/health",
            headers={"Authorization": connection.platform.api_key},
            trust_env=False,
        ).raise_for_status()
        found[each.name] = answer.json()["jobs"]["completed"]
    return found


@pytest.mark.engine
@pytest.mark.speech
@pytest.mark.timeout(600)
def test_a_trace_holds_every_job_and_where_its_seconds_went(
    client: Client, speech_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANSCRIBE_TRACES", str(tmp_path))
    connection = client._loop.run(client._inner.connect())
    before = counted(connection)
    transcript = client.transcribe(speech_dir / "stereo_diarization.wav", diarize=True, language="en")
    made = counted(connection) - before
    (trace,) = read(tmp_path).traces
    jobs = spans(trace, Kind.JOB)
    assert Counter(str(each.attributes["endpoint"]) for each in jobs) == made
    assert made.total() == 2
    assert {each.name for each in jobs} == {each.job_id for each in transcript.tasks}
    assert {each.attributes["worker_id"] for each in jobs} == {each.worker_id for each in transcript.tasks}
    for job in jobs:
        spent = phases(trace, job)
        assert sum(spent.values()) == pytest.approx(job.duration_s, abs=1e-4)
        waited_s = spent["start"] if job.attributes["cold_start"] else spent["queue"]
        assert waited_s == pytest.approx(seconds(job, "delay_s"), abs=MESSAGE_S)
        assert spent["inference"] == pytest.approx(seconds(job, "inference_s"), abs=MESSAGE_S)
        assert spent["load"] <= seconds(job, "load_s") + 1e-4
        worked_s = spent["load"] + spent["inference"] + spent["work"] + seconds(job, "download_s")
        assert worked_s == pytest.approx(seconds(job, "execution_s"), abs=MESSAGE_S)
        told = next(each.timings for each in transcript.tasks if each.job_id == job.name)
        assert told["inference"] == pytest.approx(seconds(job, "inference_s"), abs=1e-4)
    written = (tmp_path / FILE_NAME).read_text()
    assert not [word.text for word in transcript.words if len(word.text) > 6 and word.text in written]
    assert "stereo_diarization" not in written
    assert connection.platform.api_key not in written
    drawn = CliRunner().invoke(app, ["trace", str(tmp_path), "--html", str(tmp_path / "trace.html")])
    assert drawn.exit_code == 0
    page = (tmp_path / "trace.html").read_text()
    assert all(each.name in page for each in jobs)


def logged(at: Orchestrated) -> list[dict[str, Any]]:
    """What the orchestrator's process has logged as JSON."""
    text = "".join(
        Path(each["path"]).read_text() for each in at.running.logs() if each["endpoint"] == ORCHESTRATOR
    )
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [each for each in lines if str(each.get("logger", "")).startswith("fanscribe")]


@pytest.mark.timeout(180)
async def test_an_orchestrators_request_leaves_its_trace_and_a_line_in_the_log(tmp_path: Path) -> None:
    recording, file = spoken(300.0, tmp_path)
    env = {"FANSCRIBE_TRACES": str(tmp_path), "FANSCRIBE_LOG_FORMAT": "json"}
    async with orchestrated(env=env) as at:
        await at.fault(FaultRule(LOST_JOB, WORDS, times=1))
        audio = await at.orchestrator.put(file)
        refused = await at.orchestrator.runsync(audio="data:audio/flac;base64,AAAA")
        state = await at.orchestrator.runsync(audio=audio, model="simulated-transcribe", diarize=True)
        paid = {each.job_id for each in at.fleet.paid}
        lines = logged(at)
    assert state.output["text"].split() == [each.text for each in recording.spoken()]
    failed, trace = read(tmp_path).traces
    assert (failed.root.status, failed.root.attributes["job_id"]) == ("error", refused.id)
    assert spans(failed, Kind.JOB) == []
    jobs = {each.name: each for each in spans(trace, Kind.JOB)}
    assert paid <= set(jobs)
    assert {each["job_id"] for each in state.output["tasks"]} <= set(jobs)
    (retried,) = [each for each in jobs.values() if each.attributes["role"] == "retry"]
    (lost,) = [each for each in jobs.values() if each.error]
    assert lost.error == "JobLostError"
    assert retried.attributes["task"] == lost.attributes["task"]
    assert (trace.root.attributes["job_id"], trace.root.attributes["retry_jobs"]) == (state.id, 1)
    assert {"fetch", "plan", "prepare", "transcribe", "diarize", "merge"} <= (
        {each.name for each in trace.spans if each.kind in (Kind.STEP, Kind.STAGE)}
    )
    (again,) = [each for each in lines if "trying again" in each["message"]]
    assert (again["job"], again["task"]) == (state.id, lost.attributes["task"])
    (summary,) = [each for each in lines if each["message"].startswith("request ok in")]
    assert (summary["job"], summary["trace"]) == (state.id, trace.root.trace)
    assert f"{len(jobs)} jobs (1 retry" in summary["message"]
    (ended,) = [each for each in lines if each["message"].startswith("request error in")]
    assert ended["job"] == refused.id
    text = json.dumps(lines) + (tmp_path / FILE_NAME).read_text()
    assert not re.search(r"\bw\d+\b", text), "a word of the recording"


@pytest.mark.timeout(120)
async def test_a_request_that_is_cancelled_leaves_its_jobs_in_its_trace(tmp_path: Path) -> None:
    _, file = spoken(60.0, tmp_path)
    at_work = asyncio.Event()

    def listener(event: Event) -> None:
        if event.stage is Stage.TRANSCRIBE and event.state is State.RUNNING:
            at_work.set()

    async with simulated_stage(words=simulated_variant(rtf=0.5)) as stage:

        async def request() -> None:
            async with tracing(tmp_path / FILE_NAME) as recorder:
                wanted = make_request(model=stage.catalogue.endpoints[0].variant.id)
                recording = Recording(file, file.name)
                await transcribe(recording, wanted, stage.catalogue, stage.platform, listener, recorder)

        running = asyncio.ensure_future(request())
        await at_work.wait()
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
    (trace,) = read(tmp_path / FILE_NAME).traces
    jobs = spans(trace, Kind.JOB)
    assert jobs
    assert {each.status for each in (trace.root, *spans(trace, Kind.TASK), *jobs)} == {Status.CANCELLED}
    assert all(phases(trace, each)["inference"] > 0 and each.attributes["worker_id"] for each in jobs)
