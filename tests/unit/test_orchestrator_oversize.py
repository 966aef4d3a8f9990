"""Results above the platform's limit: into a bucket, compressed, or refused; and read back whole."""

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from fanscribe.contracts.errors import AnswerError, ErrorCode, TransportError, UsageError
from fanscribe.contracts.large_result import LargeResult, compressed, encoded
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.transcript import Segment, Transcript, Word
from fanscribe.fetch import FetchPolicy
from fanscribe.job_input import Refused
from fanscribe.large_results import read_result
from fanscribe.render import render
from fanscribe.s3 import Place
from fanscribe_orchestrator import oversize
from fanscribe_orchestrator.oversize import SLOW_WORDS_PER_S, Outbox

NOW = 1_700_000_000.0
TEN_HOURS_S = 36_000.0


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oversize, "RUN_LIMIT_BYTES", 20_000)
    monkeypatch.setattr(oversize, "RUNSYNC_LIMIT_BYTES", 40_000)


def talk(words: int) -> Transcript:
    """Words with times and confidences as a recogniser gives them."""
    dice, made = random.Random(words), []
    for number in range(words):
        start = round(number / SLOW_WORDS_PER_S + dice.random() / 10, 3)
        text = dice.choice(["fan", "scribe", "wörter", "talk", "of", "the"]) + str(dice.randrange(100))
        made.append(Word(text, start, round(start + dice.random() / 2, 3), round(dice.random(), 6)))
    segments = [
        Segment(own[0].start, own[-1].end, " ".join(each.text for each in own), words=own)
        for own in (made[first : first + 12] for first in range(0, words, 12))
    ]
    return Transcript(
        " ".join(each.text for each in segments), "en", 1.0, words / SLOW_WORDS_PER_S, segments=segments
    )


def output(words: int) -> dict[str, Any]:
    return {"engine": "orchestrator", "durable": True, **talk(words).to_dict()}


async def test_what_fits_goes_as_it_is() -> None:
    small = output(20)
    assert await Outbox().fitted(small, "job") is small
    assert read_result(small) == small


async def test_without_a_bucket_it_is_compressed() -> None:
    large = output(200)
    assert len(encoded(large)) > 20_000
    small = await Outbox().fitted(large, "job")
    assert len(encoded({"output": small})) <= 20_000
    assert {"text", "segments", "turns", "tasks"}.isdisjoint(small)
    assert (small["engine"], small["durable"], small["language"]) == ("orchestrator", True, "en")
    assert small["warnings"] == [
        "the result has 0.0 MB, more than the 0 MB that the platform takes: the whole of it is in `result`, compressed"
    ]
    assert read_result(small) == large
    assert read_result(json.loads(json.dumps(small))) == large


async def test_a_bucket_that_is_slow_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    freed = threading.Event()

    class Stuck:
        def put_object(self, **_: Any) -> None:
            freed.wait(20)

    large = output(200)
    outbox = Outbox(oversize.Bucket(Stuck(), Place("bucket", "outputs"), False))
    try:
        small = await outbox.fitted(large, "job", within_s=0.05)
        assert not freed.is_set()
    finally:
        freed.set()
    assert read_result(small) == large
    assert small["result"]["encoding"] == "gzip+base64"
    assert "(TimeoutError): it is compressed instead" in caplog.text


async def test_runsync_takes_twice_as_much() -> None:
    large = output(200)
    assert await Outbox().fitted(large, "sync-1") is large


async def test_what_is_too_large_even_so_is_refused() -> None:
    with pytest.raises(Refused, match="FANSCRIBE_OUTPUTS") as refused:
        await Outbox().fitted(output(2000), "job")
    assert refused.value.code is ErrorCode.RESULT_TOO_LARGE


@pytest.mark.parametrize("response_format", ["native", "verbose_json", "text"])
def test_only_what_is_certain_not_to_fit_is_refused_beforehand(
    monkeypatch: pytest.MonkeyPatch, response_format: str
) -> None:
    """A reading of the length that is just refused would not fit; half of it is let pass, or a limit twice as high."""
    asked = OrchestratorInput(audio="data:,", response_format=response_format)
    bytes_per_s = SLOW_WORDS_PER_S * oversize._packed_bytes_per_word(asked)
    refused_s = 20_000 / bytes_per_s * 1.05
    with pytest.raises(Refused, match="the transcript of") as refused:
        Outbox().refuse_foretold(asked, refused_s, "job")
    assert refused.value.code is ErrorCode.RESULT_TOO_LARGE
    Outbox().refuse_foretold(asked, refused_s / 2, "job")
    Outbox().refuse_foretold(asked, refused_s, "sync-job")
    # A reader has 2.7 words a second: such a recording of this length does not fit.
    shown = render(talk(int(refused_s * 2.7)), ResponseFormat(response_format))
    packed = compressed(encoded(shown if isinstance(shown, dict) else {"text": shown}))
    assert len(packed.data or "") > 20_000


def test_ordinary_recordings_are_never_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    asked = OrchestratorInput(audio="data:,", diarize=True)
    Outbox().refuse_foretold(asked, 43_200.0, "job")
    with pytest.raises(Refused, match=r"100\.0 h"):
        Outbox().refuse_foretold(asked, 360_000.0, "job")
    Outbox().refuse_foretold(asked.model_copy(update={"timestamps": "segment"}), 360_000.0, "job")


@pytest.fixture
def environ(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    environ = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="outputs")
    yield environ
    for each in client.list_objects_v2(Bucket="outputs").get("Contents", ()):
        client.delete_object(Bucket="outputs", Key=each["Key"])
    client.delete_bucket(Bucket="outputs")
    client.close()


@pytest.mark.parametrize(
    ("setting", "prefix"),
    [
        ({"FANSCRIBE_OUTPUTS": "s3://outputs/team/a"}, "team/a/"),
        ({"FANSCRIBE_OUTPUTS": "s3://outputs"}, ""),
        ({"FANSCRIBE_RESULTS": "s3://outputs/kept/"}, "kept/outputs/"),
    ],
)
async def test_with_a_bucket_it_goes_there(
    environ: dict[str, str], setting: dict[str, str], prefix: str
) -> None:
    large, outbox = output(2000), Outbox.from_env(environ | setting)
    small = await outbox.fitted(large, "job")
    result = LargeResult.model_validate(small["result"])
    assert result.uri == f"s3://outputs/{prefix}{result.sha256}.json"
    assert result.url is None, "a plain http address on a private network helps no caller"
    assert len(encoded(small)) < 2_000
    assert "lies where `result` says" in small["warnings"][-1]
    assert read_result(small) == large
    # A repeat of the same takes no more room, and no length is too much beforehand.
    assert (await outbox.fitted(large, "job"))["result"] == small["result"]
    outbox.refuse_foretold(OrchestratorInput(audio="data:,"), 1e6, "job")


@pytest.mark.parametrize(
    ("endpoint", "signed"),
    [
        ("https://minio.example.org", True),
        ("https://s3api-eu-ro-1.runpod.io", False),
        ("http://10.0.0.5:9000", False),
        (None, True),
    ],
)
def test_where_presigned_urls_are_given(
    environ: dict[str, str],
    s3_server: str,
    endpoint: str | None,
    signed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    known = {name: value for name, value in environ.items() if name != "AWS_ENDPOINT_URL"}
    if endpoint:
        known["AWS_ENDPOINT_URL"] = endpoint
    bucket = Outbox.from_env(known | {"FANSCRIBE_OUTPUTS": "s3://outputs/a"})._bucket
    assert bucket is not None
    there = oversize.Bucket(_Taking(bucket.client), bucket.place, bucket.signs)
    result = there.put(b"{}", NOW)
    assert (result.url is not None) is signed
    if result.url is not None:
        assert result.url.startswith("https://")
        assert "X-Amz-Expires=86400" in result.url
        assert "hush" not in result.url
        assert result.url_expires_at == NOW + 86_400


class _Taking:
    """A client whose uploads go nowhere."""

    def __init__(self, client: Any) -> None:
        self.generate_presigned_url = client.generate_presigned_url

    def put_object(self, **about: Any) -> None:
        """Take it."""


async def test_a_bucket_that_refuses_leaves_the_compressed_form(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    large, outbox = output(200), Outbox.from_env(environ | {"FANSCRIBE_OUTPUTS": "s3://absent/a"})
    small = await outbox.fitted(large, "job")
    assert small["result"]["encoding"] == "gzip+base64"
    assert read_result(small) == large
    assert "NoSuchBucket" in caplog.text


@pytest.mark.parametrize("setting", ["outputs/a", "s3://", "s3:///a", "https://outputs/a"])
def test_a_wrong_bucket_is_said(setting: str) -> None:
    with pytest.raises(UsageError, match="FANSCRIBE_OUTPUTS"):
        Outbox.from_env({"FANSCRIBE_OUTPUTS": setting})


class TestReading:
    async def _small(self) -> dict[str, Any]:
        return await Outbox().fitted(output(200), "job")

    @pytest.mark.parametrize(
        "change",
        [
            {"data": "!!"},
            {"data": "aGVsbG8="},
            {"sha256": "0" * 64},
            {"size_bytes": 100},
            {"size_bytes": 999_999},
        ],
    )
    async def test_what_is_not_what_was_promised_is_refused(self, change: dict[str, Any]) -> None:
        small = await self._small()
        with pytest.raises(AnswerError, match="the large result inside the answer"):
            read_result({**small, "result": small["result"] | change})

    @pytest.mark.parametrize(
        "change",
        [
            {"data": None},
            {"size_bytes": 2_000_000_000},
            {"encoding": "br"},
            {"sha256": "?"},
            {"encoding": "identity"},
        ],
    )
    async def test_a_form_that_is_not_known_is_refused(self, change: dict[str, Any]) -> None:
        small = await self._small()
        with pytest.raises(AnswerError, match="does not say where it lies"):
            read_result({**small, "result": small["result"] | change})

    def test_a_bomb_is_unpacked_no_further_than_promised(self) -> None:
        bomb = compressed(b"0" * 200_000_000).model_copy(update={"size_bytes": 1000})
        with pytest.raises(AnswerError, match="1000 bytes that were promised"):
            read_result({"result": bomb.model_dump(mode="json")})

    def test_what_cannot_be_fetched_is_said(self, environ: dict[str, str]) -> None:
        lost = {"uri": "s3://outputs/lost.json", "size_bytes": 10, "sha256": "0" * 64}
        with pytest.raises(TransportError, match="could not be fetched"):
            read_result({"result": lost})

    def test_a_private_address_is_not_asked(self) -> None:
        inside = {"url": "https://169.254.169.254/latest", "size_bytes": 10, "sha256": "0" * 64}
        with pytest.raises(TransportError, match="could not be fetched"):
            read_result({"result": inside}, FetchPolicy(attempts=1))
