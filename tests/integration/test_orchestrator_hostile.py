"""Hostile input to a real orchestrator worker: each refused with a clear error, no child job made, the worker alive."""

import base64
import gzip
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.orchestrated import SPEAKERS, WORDS, Orchestrated, orchestrated
from tests.silent_flac import silent_flac

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe_handlers.simulated.recording import CodedRecording

SECRET = "t0psecret"
LARGEST_BYTES = 3_000_000
INVALID, UNREADABLE, UNREACHABLE = (
    ErrorCode.INVALID_INPUT,
    ErrorCode.AUDIO_UNREADABLE,
    ErrorCode.AUDIO_UNREACHABLE,
)


class _Handler(BaseHTTPRequestHandler):
    server: "Outside"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answers[self.path.partition("?")[0]](self)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(10_000):
            self.wfile.write(bytes(10_000))

    def log_message(self, format: str, *args: object) -> None:
        """The test's output stays clean."""


class Outside(ThreadingHTTPServer):
    """Stands for the web: a server whose origin the orchestrator may read, with pages that lead elsewhere."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[_Handler], None]] = {}
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of these tests."""


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with Outside() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[Any]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="calls")
    yield client
    client.close()


@pytest.fixture(scope="module")
async def stage(outside: Outside, s3_server: str) -> AsyncIterator[Orchestrated]:
    env = {
        "AWS_ENDPOINT_URL_S3": s3_server,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "FANSCRIBE_MAX_BYTES": str(LARGEST_BYTES),
        "FANSCRIBE_ALLOWED_ORIGINS": f"{{url}},{outside.origin}",
    }
    async with orchestrated(env=env) as stage:
        yield stage


def flac(seconds: int = 20) -> bytes:
    file = io.BytesIO()
    CodedRecording(seconds).write_flac(file)
    return file.getvalue()


def inline(data: bytes) -> str:
    return "data:audio/flac;base64," + base64.b64encode(data).decode()


def playlist(*places: str) -> bytes:
    return "\n".join(["#EXTM3U", *(f"#EXTINF:10,\n{place}" for place in places)]).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """`audio` is sent, after `web` and `objects` were put in place; the refusal has this code and text."""

    audio: str
    code: ErrorCode
    said: str
    web: dict[str, Callable[[_Handler], None]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


def to(place: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.reply(302, Location=place)


def body(data: bytes, **headers: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.reply(200, data, **headers)


BOMB = silent_flac(100 * 3600)
PACKED = gzip.compress(bytes(10_000_000))
HUGE = bytes(LARGEST_BYTES + 1)
LYING, SILENT = silent_flac(100 * 3600, claimed_s=1), silent_flac(100 * 3600, claimed_s=0)
CLAIMS = silent_flac(60, claimed_s=100 * 3600)
TOO_LONG = "holds more than the 43200 s of sound that are allowed"

CASES = {
    # Poisoned keys.
    "no key": Case("s3://calls", INVALID, "names no object"),
    "a folder": Case("s3://calls/monday/", INVALID, "names no object"),
    "traversal": Case("s3://calls/../../etc/passwd", INVALID, "leads out of its folder"),
    "traversal inside": Case("s3://calls/a/../../b", INVALID, "leads out of its folder"),
    "absolute": Case("s3://calls//etc/passwd", INVALID, "leads out of its folder"),
    "line break": Case("s3://calls/a\r\nHost: evil", INVALID, "control characters"),
    "escape": Case("s3://calls/\x1b[2Ja.mp3", INVALID, "control characters"),
    "nul": Case("s3://calls/a\0.mp3", INVALID, "control characters"),
    "long": Case("s3://calls/" + "a" * 100_000, INVALID, "a key of 100,000 bytes"),
    "credentials": Case(f"s3://me:{SECRET}@calls/a", INVALID, "names no bucket"),
    "arn": Case("s3://arn:aws:s3:eu-west-1:1:accesspoint/x/a", INVALID, "names no bucket"),
    "no object": Case("s3://calls/gone.mp3", UNREACHABLE, "the bucket refused it (NoSuchKey)"),
    "no bucket": Case("s3://nowhere/a.mp3", UNREACHABLE, "the bucket refused it (NoSuchBucket)"),
    "playlist in a bucket": Case(
        "s3://calls/list.mp3",
        UNREADABLE,
        "it is a playlist",
        objects={"list.mp3": playlist("file:///etc/passwd")},
    ),
    "ffconcat in a bucket": Case(
        "s3://calls/list.flac",
        UNREADABLE,
        "it is a playlist",
        objects={"list.flac": b"ffconcat version 1.0\nfile '/etc/passwd'\n"},
    ),
    "too many bytes in a bucket": Case(
        "s3://calls/huge.wav",
        INVALID,
        "larger than the 3,000,000 bytes",
        objects={"huge.wav": HUGE},
    ),
    # Paths and schemes.
    "a path": Case("/etc/passwd", INVALID, "field audio: must be an https URL"),
    "file": Case("file:///etc/passwd", INVALID, "field audio: must be an https URL"),
    "ftp": Case("ftp://talks.example/a.mp3", INVALID, "field audio: must be an https URL"),
    "concat": Case("concat:/etc/passwd|/etc/hosts", INVALID, "field audio: must be an https URL"),
    # Addresses.
    "loopback": Case("https://127.0.0.1/a.mp3", INVALID, "private or reserved"),
    "loopback by number": Case("https://2130706433/a.mp3", INVALID, "private or reserved"),
    "metadata": Case("https://169.254.169.254/latest/meta-data", INVALID, "private or reserved"),
    "private v6": Case("https://[::ffff:10.0.0.1]/a.mp3", INVALID, "private or reserved"),
    "plain http": Case("http://93.184.216.34/a.mp3", INVALID, "is plain http"),
    "a password": Case(f"https://me:{SECRET}@93.184.216.34/a.mp3", INVALID, "holds a user or password"),
    # Redirects.
    "redirect to private": Case(
        "{web}/a", INVALID, "private or reserved", web={"/a": to(f"https://10.1.2.3/a.mp3?sig={SECRET}")}
    ),
    "redirect to metadata": Case(
        "{web}/a", INVALID, "is plain http", web={"/a": to("http://169.254.169.254/latest/meta-data")}
    ),
    "redirect to a file": Case("{web}/a", INVALID, "give an https URL", web={"/a": to("file:///etc/passwd")}),
    "redirect in a circle": Case("{web}/a", INVALID, "redirects more than 5 times", web={"/a": to("/a")}),
    # Bombs.
    "gzip": Case(
        "{web}/a",
        INVALID,
        "comes compressed",
        web={"/a": body(PACKED, Content_Encoding="gzip")},
    ),
    "gzip file": Case("{web}/a", UNREADABLE, "it is a gzip archive", web={"/a": body(PACKED)}),
    "endless": Case("{web}/a", INVALID, "larger than the 3,000,000 bytes", web={"/a": _Handler.endless}),
    "100 hours": Case(inline(BOMB), UNREADABLE, TOO_LONG),
    "100 hours by URL": Case("{web}/a", UNREADABLE, TOO_LONG, web={"/a": body(BOMB)}),
    "100 hours from a bucket": Case(
        "s3://calls/long.flac", UNREADABLE, TOO_LONG, objects={"long.flac": BOMB}
    ),
    "100 hours of one channel": Case(inline(BOMB), UNREADABLE, TOO_LONG, more={"channel": 0}),
    "100 hours, the header says nothing": Case(inline(SILENT), UNREADABLE, TOO_LONG),
    "100 hours, the header says a second": Case(inline(LYING), UNREADABLE, TOO_LONG),
    "a minute, the header says 100 hours": Case(inline(CLAIMS), UNREADABLE, TOO_LONG),
    "13 hours of 100": Case(
        inline(LYING), UNREADABLE, TOO_LONG, more={"clip": {"start": 0, "end": 13 * 3600}}
    ),
    "the last minute of 100 hours": Case(
        inline(SILENT), UNREADABLE, TOO_LONG, more={"clip": {"start": 99 * 3600, "end": 99 * 3600 + 60}}
    ),
    # What is no recording.
    "text": Case(inline(b"Dear diary, " * 50), UNREADABLE, "it is text"),
    "nothing": Case("data:audio/flac;base64,", UNREADABLE, "carries no bytes"),
    "no base64": Case("data:audio/flac;base64,!!!", UNREADABLE, "is not valid base64"),
    "too short": Case(inline(flac()[:60]), UNREADABLE, "data URI: "),
}


async def child_jobs(stage: Orchestrated) -> int:
    return sum([sum((await stage.child(name).jobs()).values()) for name in (WORDS, SPEAKERS)])


async def served(stage: Orchestrated) -> JobState:
    """A good request, which must succeed."""
    state = await stage.orchestrator.runsync(audio=inline(flac()), model="simulated-transcribe", cache=False)
    assert state.status is JobStatus.COMPLETED, state.error
    assert state.output["text"].startswith("w0 w1 ")
    return state


@pytest.mark.parametrize("name", CASES)
async def test_it_is_refused_before_any_child_and_the_worker_lives(
    stage: Orchestrated, outside: Outside, bucket: Any, name: str
) -> None:
    case = CASES[name]
    outside.answers = case.web
    for key, data in case.objects.items():
        bucket.put_object(Bucket="calls", Key=key, Body=data)
    before = await child_jobs(stage)
    audio = case.audio.replace("{web}", outside.origin)
    state = await stage.orchestrator.runsync(
        audio=audio, model="simulated-transcribe", diarize=True, **case.more
    )
    assert state.status is JobStatus.FAILED, state.output
    error = TaskError.model_validate_json(state.error)
    assert (error.code, case.said in error.message) == (case.code, True), error.message
    assert SECRET not in state.error
    assert error.message.isprintable()
    assert len(error.message) < 1000
    assert await child_jobs(stage) == before, "a child job was made"


async def test_the_same_worker_serves_all_of_it(stage: Orchestrated, outside: Outside) -> None:
    first = await served(stage)
    hostile = ["100 hours, the header says nothing", "traversal", "loopback", "text"]
    for name in hostile:
        await stage.orchestrator.runsync(audio=CASES[name].audio, model="simulated-transcribe")
    last = await served(stage)
    assert last.worker_id == first.worker_id


async def test_bombs_beside_good_requests_hold_nobody_up(stage: Orchestrated) -> None:
    ids = [
        await stage.orchestrator.run(audio=CASES[name].audio, model="simulated-transcribe")
        for name in ("100 hours", "100 hours, the header says nothing", "100 hours, the header says a second")
        * 4
    ]
    good = await served(stage)
    states = [await stage.orchestrator.done(each) for each in ids]
    assert {json.loads(each.error)["code"] for each in states} == {"AUDIO_UNREADABLE"}
    assert {each.worker_id for each in states} == {good.worker_id}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "field audio: "),
        ({"audio": 3}, "field audio: "),
        ({"audio": "https://talks.example/a.mp3", "endpoint_url": "http://evil"}, "field endpoint_url: "),
        ({"audio": "https://talks.example/a.mp3", "aws_access_key_id": "x"}, "field aws_access_key_id: "),
        ({"audio": "https://talks.example/a.mp3", "clip": {"start": 2, "end": 1}}, "field clip: "),
    ],
)
async def test_no_field_leads_elsewhere(stage: Orchestrated, body: dict[str, Any], said: str) -> None:
    state = await stage.orchestrator.runsync(**body)
    error = TaskError.model_validate_json(state.error)
    assert (error.code, said in error.message) == (ErrorCode.INVALID_INPUT, True), error.message
