"""The client's way through an orchestrator: the library and the command line, on a local platform with real workers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.orchestrated import ORCHESTRATOR, SPEAKERS, WORDS, Orchestrated, orchestrated
from tests.simulated import simulated_variant

from fanscribe import AsyncClient, DeadlineError, Event, Transcript
from fanscribe.bucket import open_uploads
from fanscribe.contracts.errors import AudioError, UsageError
from fanscribe.endpoint import Endpoint
from fanscribe.pipeline.events import State, ignore
from fanscribe.pipeline.request import make_request
from fanscribe.remote import Remote, transcribe_remotely
from fanscribe.trace.file import read
from fanscribe.trace.joined import joined
from fanscribe.trace.rows import rows_of
from fanscribe.trace.spans import Kind
from fanscribe_handlers.simulated.recording import CodedRecording

MODEL = "simulated-transcribe"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[CodedRecording, Path]:
    """Five minutes as WAV: 9.6 MB, which no request takes once they are base64."""
    recording = CodedRecording.lasting(300.0)
    file = tmp_path_factory.mktemp("talks") / "talk.wav"
    recording.write_wav(file)
    return recording, file


@pytest.fixture
def short(tmp_path: Path) -> tuple[CodedRecording, Path]:
    """A minute, which fits into a request."""
    recording = CodedRecording.lasting(60.0)
    file = tmp_path / "short.wav"
    recording.write_wav(file)
    return recording, file


@asynccontextmanager
async def scene(patch: pytest.MonkeyPatch, folder: Path, **options: Any) -> AsyncIterator[Orchestrated]:
    """A platform that is up, and that clients of this process and its children find."""
    options["spec"] = {"labels": {"orchestrator": "1"}}
    async with orchestrated(data_dir=folder / "platform", **options) as stage:
        patch.setenv("FANSCRIBE_LOCAL_URL", stage.running.url)
        patch.setenv("FANSCRIBE_LOCAL_KEY", stage.running.key)
        yield stage


def stored(folder: Path) -> list[str]:
    """What is left in the platform's object store."""
    return [each.name for each in (folder / "platform" / "objects").iterdir()]


def meant(recording: CodedRecording) -> list[str]:
    return [each.text for each in recording.spoken()]


def said(transcript: Transcript) -> list[str]:
    return [each.text for each in transcript.words]


async def test_files_inside_a_request_and_by_the_store_come_back_whole(
    talk: tuple[CodedRecording, Path],
    short: tuple[CodedRecording, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch, tmp_path) as stage:
        for recording, file in (short, talk):
            events: list[Event] = []
            async with AsyncClient(platform="local", orchestrator="orchestrator") as client:
                transcript = await client.transcribe(
                    file, model=MODEL, diarize=True, on_progress=events.append
                )
            async with AsyncClient(platform="local") as client:
                own = await fan_out(client, stage, file)
            assert said(transcript) == meant(recording) == said(own)
            assert [each.speaker for each in transcript.words] == [each.speaker for each in own.words]
            assert transcript.warnings == own.warnings
            uploaded = [each for each in events if each.task == "upload"]
            assert bool(uploaded) is (file is talk[1])
            shares = [
                each.share for each in events if each.task == "orchestrator" and each.state is State.RUNNING
            ]
            assert shares == sorted(shares)
            assert events[-1].state is State.DONE
            assert stored(tmp_path) == []
        assert (await stage.orchestrator.jobs())["completed"] == 2


async def fan_out(client: AsyncClient, stage: Orchestrated, file: Path) -> Transcript:
    """The client's own run on the same endpoints, whose variants the platform does not name."""
    connection = await client.connect()
    from fanscribe.catalogue import DeployedEndpoint, Workers

    variants = {WORDS: simulated_variant(), SPEAKERS: simulated_variant("simulated-diarize", rtf=0.002)}
    connection.catalogue = connection.catalogue.deployed(
        DeployedEndpoint(name, name, variant, Workers(max=4 if name == WORDS else 1))
        for name, variant in variants.items()
    )
    return await client.transcribe(file, model=MODEL, diarize=True, cache=False)


async def test_a_request_through_the_orchestrator_is_one_trace(
    short: tuple[CodedRecording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANSCRIBE_TRACES", str(tmp_path))
    env = {"FANSCRIBE_TRACES": str(tmp_path)}
    async with (
        scene(monkeypatch, tmp_path, env=env) as stage,
        AsyncClient(platform="local", orchestrator="orchestrator") as client,
    ):
        await client.transcribe(short[1], model=MODEL, diarize=True)
        paid = {each.job_id for each in stage.fleet.paid}
    inner, outer = read(tmp_path).traces
    assert inner.root.trace == outer.root.trace
    assert inner.root.parent == outer.root.id
    whole = joined(outer, [inner, outer])
    jobs = {each.name for each in whole if each.kind is Kind.JOB}
    assert len(jobs) == 1 + len(paid)
    assert paid < jobs
    request = next(each for each in rows_of(whole)[1:] if each.label == "request")
    assert (request.depth, request.details.startswith("job_id ")) == (1, True)
    assert 0 < request.start_s < request.end_s <= outer.root.duration_s


async def test_what_is_wrong_is_the_same_error_as_in_the_clients_own_run(
    short: tuple[CodedRecording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.mp3").write_bytes(b"Dear diary, " * 50)
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(300))
    async with (
        scene(monkeypatch, tmp_path) as stage,
        AsyncClient(platform="local", orchestrator="orchestrator") as client,
    ):
        for name in ("notes.mp3", "broken.flac", "gone.wav"):
            with pytest.raises(AudioError, match=name):
                await client.transcribe(tmp_path / name, model=MODEL)
        with pytest.raises(AudioError, match=r"^https://127\.0\.0\.1/a\.mp3: .* private or reserved"):
            await client.transcribe("https://127.0.0.1/a.mp3?sig=s3cret", model=MODEL)
        with pytest.raises(UsageError, match="no-such-model"):
            await client.transcribe(short[1], model="no-such-model")
        with pytest.raises(UsageError, match="makes its own plan"):
            await client.plan(short[1])
        assert sum((await stage.child().jobs()).values()) == 0
    assert stored(tmp_path) == []


async def test_cancelling_stops_the_job_and_its_children_and_removes_the_upload(
    talk: tuple[CodedRecording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = simulated_variant(rtf=1.0)
    async with (
        scene(monkeypatch, tmp_path, words=slow) as stage,
        AsyncClient(platform="local", orchestrator="orchestrator") as client,
    ):
        handle = await client.submit(talk[1], model=MODEL)
        await until(stage, lambda counts: counts[WORDS]["inProgress"] >= 1)
        assert len(stored(tmp_path)) >= 1
        await handle.cancel()
        counts = await until(
            stage,
            lambda counts: all(not each["inProgress"] and not each["inQueue"] for each in counts.values()),
        )
        assert counts[ORCHESTRATOR]["completed"] == 0
        with pytest.raises(DeadlineError, match=r"deadline of 0\.5 s"):
            await client.transcribe(talk[1], model=MODEL, deadline_s=0.5)
        await until(
            stage,
            lambda counts: all(not each["inProgress"] and not each["inQueue"] for each in counts.values()),
        )
    assert stored(tmp_path) == []


async def until(
    stage: Orchestrated, wanted: Callable[[dict[str, dict[str, int]]], bool], seconds: float = 30.0
) -> dict[str, dict[str, int]]:
    """The jobs of each endpoint by state, once they are as wanted."""
    end = time.monotonic() + seconds
    while True:
        calls = (stage.orchestrator, stage.child(), stage.child(SPEAKERS))
        counts = {each.endpoint: await each.jobs() for each in calls}
        if wanted(counts):
            return counts
        assert time.monotonic() < end, counts
        await asyncio.sleep(0.05)


async def test_by_a_bucket_of_the_users(
    talk: tuple[CodedRecording, Path], s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Runpod with a store that knows no presigned URLs: the orchestrator reads with credentials of its own."""
    import boto3

    environ = {
        "AWS_ENDPOINT_URL_S3": s3_server,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "t0psecret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.client("s3", endpoint_url=s3_server)
    bucket.create_bucket(Bucket="inbox")
    recording, file = talk
    async with scene(monkeypatch, tmp_path, env=environ) as stage:
        uploads = open_uploads({**environ, "FANSCRIBE_UPLOADS": "s3://inbox/audio"})
        endpoint = Endpoint(stage.http, f"{stage.running.url}/v2", ORCHESTRATOR, stage.running.key)
        remote = Remote(endpoint, uploads)
        transcript = await transcribe_remotely(remote, file, make_request(model=MODEL), ignore)
        assert said(transcript) == meant(recording)
        with pytest.raises(UsageError, match="no-such-model"):
            await transcribe_remotely(remote, file, make_request(model="no-such-model"), ignore)
        assert bucket.list_objects_v2(Bucket="inbox").get("KeyCount") == 0
        assert not bucket.list_multipart_uploads(Bucket="inbox").get("Uploads")
    bucket.close()


def command(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "fanscribe.cli",
        "transcribe",
        "--platform",
        "local",
        "--model",
        MODEL,
        *arguments,
    ]


async def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run, command(*arguments), capture_output=True, text=True, timeout=90
    )


async def test_the_command_line(
    short: tuple[CodedRecording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, file = short
    (tmp_path / "notes.mp3").write_bytes(b"Dear diary, " * 50)
    broken = simulated_variant("simulated-diarize", failure_share=1.0)
    async with scene(monkeypatch, tmp_path, speakers=broken):
        done = await ran(str(file), "--orchestrator", "-q")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == meant(recording)
        told = await ran(str(file), "--orchestrator-name", ORCHESTRATOR, "--no-cache")
        assert told.returncode == 0
        assert f"{file}: orchestrator: done" in told.stderr
        partial = await ran(str(file), "--orchestrator", "--diarize")
        assert partial.returncode == 3
        assert "speakers are missing" in partial.stderr
        usage = await ran(str(tmp_path / "notes.mp3"), "--orchestrator")
        assert usage.returncode == 2
        assert "it is text" in usage.stderr
        for wrong in (["--plan"], ["--send", "reference"], ["--orchestrator-name", "nobody"]):
            refused = await ran(str(file), "--orchestrator", *wrong)
            assert refused.returncode == 2
            assert "orchestrator" in refused.stderr


async def test_control_c_cancels_the_job(
    talk: tuple[CodedRecording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(monkeypatch, tmp_path, words=simulated_variant(rtf=1.0)) as stage:
        process = await asyncio.create_subprocess_exec(
            *command(str(talk[1]), "--orchestrator"), stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        await until(stage, lambda counts: counts[WORDS]["inProgress"] >= 1)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 130, errors
        await until(
            stage,
            lambda counts: all(not each["inProgress"] and not each["inQueue"] for each in counts.values()),
        )
    assert stored(tmp_path) == []
