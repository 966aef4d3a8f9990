"""s3:// references against a store on loopback that breaks off, changes objects, and lies."""

import hashlib
import io
import logging
import tracemalloc
from typing import Any

import pytest
from tests.flaky_store import FlakyStore, Turn

from fanscribe.contracts.errors import AudioRefusedError, AudioUnreachableError, StoppedError
from fanscribe.fetch import FetchPolicy, fetch
from fanscribe.s3 import presigns, read_place, region_of

BODY = bytes(range(256)) * 6000
REFERENCE = "s3://calls/monday/talk.mp3"


def no_sleep(seconds: float) -> None:
    assert 0 <= seconds < 60


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "t0psecret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def fetched(store: FlakyStore, monkeypatch: pytest.MonkeyPatch, **options: Any) -> bytes:
    """The object, by its reference; the prefix that was in the target before stays."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
    target = io.BytesIO(b"kept")
    target.seek(4)
    options = {"sleep": no_sleep} | options
    done = fetch(REFERENCE, target, **options)
    data = target.getvalue()
    assert data.startswith(b"kept")
    assert (done.size_bytes, done.name) == (len(data) - 4, "talk.mp3")
    assert done.sha256 == hashlib.sha256(data[4:]).hexdigest()
    return data[4:]


def test_a_broken_connection_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    with FlakyStore(BODY, Turn(cut=600_000), Turn(cut=400_000), Turn()) as store:
        assert fetched(store, monkeypatch, on_progress=shares.append) == BODY
        first, second, third = (headers for _, headers in store.asked)
    assert "Range" not in first
    begins = [int(each["Range"].removeprefix("bytes=").rstrip("-")) for each in (second, third)]
    assert 0 < begins[0] <= 600_000 < begins[1] <= 1_000_000
    assert [each["If-Match"] for each in (second, third)] == ['"v1"', '"v1"']
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("heeds_match", [True, False])
def test_parts_of_two_versions_are_never_joined(monkeypatch: pytest.MonkeyPatch, heeds_match: bool) -> None:
    changed = Turn(etag='"v2"', heeds_match=heeds_match)
    with (
        FlakyStore(BODY, Turn(cut=600_000), changed) as store,
        pytest.raises(
            AudioUnreachableError, match=r"^s3://calls/monday/talk.mp3: changed while it was read"
        ) as caught,
    ):
        fetched(store, monkeypatch)
    assert caught.value.retryable


def test_a_store_that_cannot_resume_is_read_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    with FlakyStore(BODY, Turn(cut=600_000), Turn(heeds_range=False)) as store:
        assert fetched(store, monkeypatch) == BODY


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")]
)
def test_a_busy_store_is_asked_again(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    with FlakyStore(
        BODY, Turn(status=status, code=code), Turn(cut=500_000), Turn(status=status, code=code), Turn()
    ) as store:
        assert fetched(store, monkeypatch) == BODY
        assert len(store.asked) == 4


def test_attempts_are_bounded_and_no_secret_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with (
        FlakyStore(BODY, Turn(cut=300_000)) as store,
        pytest.raises(AudioUnreachableError, match=r"the connection broke\), after 3 attempts") as caught,
    ):
        fetched(store, monkeypatch, policy=FetchPolicy(attempts=3))
    assert len(store.asked) == 3
    assert caught.value.retryable
    told = f"{caught.value} {caplog.text}"
    assert "t0psecret" not in told
    assert "AKIDEXAMPLE" not in told


@pytest.mark.parametrize(
    ("status", "code"), [(404, "NoSuchKey"), (403, "AccessDenied"), (403, "SignatureDoesNotMatch")]
)
def test_a_refusal_is_final_and_names_the_object(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    with (
        FlakyStore(BODY, Turn(status=status, code=code)) as store,
        pytest.raises(
            AudioUnreachableError, match=rf"^{REFERENCE}: the bucket refused it \({code}\)"
        ) as caught,
    ):
        fetched(store, monkeypatch)
    assert len(store.asked) == 1
    assert not caught.value.retryable


def test_too_large_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        FlakyStore(BODY) as store,
        pytest.raises(AudioRefusedError, match="larger than the 1,000 bytes"),
    ):
        fetched(store, monkeypatch, policy=FetchPolicy(max_bytes=1000))


def test_a_compressed_object_is_never_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip bomb with the header that would make other readers unpack it."""
    import gzip

    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with FlakyStore(bomb, Turn(headers={"Content-Encoding": "gzip"})) as store:
            assert fetched(store, monkeypatch) == bomb
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with (
        FlakyStore(BODY) as store,
        pytest.raises(AudioUnreachableError, match=r"there are no credentials .* AWS_ACCESS_KEY_ID"),
    ):
        fetched(store, monkeypatch)
    assert store.asked == []


def test_stopping_and_the_total_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    with FlakyStore(BODY) as store, pytest.raises(StoppedError):
        fetched(store, monkeypatch, on_progress=told.append, stopped=lambda: bool(told))
    assert told[-1] < 1.0
    now = iter(range(0, 100_000, 40))
    with FlakyStore(BODY) as store, pytest.raises(AudioUnreachableError, match="not fetched within 100 s"):
        fetched(store, monkeypatch, policy=FetchPolicy(total_timeout_s=100), clock=lambda: float(next(now)))


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with FlakyStore(BODY) as store:
        pass
    with pytest.raises(AudioUnreachableError, match=r"no connection\), after 2 attempts"):
        fetched(store, monkeypatch, policy=FetchPolicy(attempts=2))


POISONED = [
    ("s3://", "names no bucket"),
    ("s3:///key", "names no bucket"),
    ("s3://calls", "names no object"),
    ("s3://calls/", "names no object"),
    ("s3://calls/folder/", "names no object"),
    ("s3://c/key", "names no bucket"),
    ("s3://calls..eu/key", "names no bucket"),
    ("s3://" + "c" * 64 + "/key", "names no bucket"),
    ("s3://me:t0psecret@calls/key", "names no bucket"),
    ("s3://127.0.0.1:9000/calls/key", "names no bucket"),
    ("s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/key", "names no bucket"),
    ("s3://calls/../../etc/passwd", "leads out of its folder"),
    ("s3://calls/a/../b", "leads out of its folder"),
    ("s3://calls/./a", "leads out of its folder"),
    ("s3://calls//etc/passwd", "leads out of its folder"),
    ("s3://calls/a\nHost: evil", "control characters"),
    ("s3://calls/a\0.mp3", "control characters"),
    ("s3://calls/a\x1b[2J", "control characters"),
    ("s3://calls/a\u2028b", "control characters"),
    ("s3://calls/a\ud800b", "control characters"),
    ("s3://calls/" + "a" * 1025, "a key of 1,025 bytes"),
    ("s3://calls/" + "ä" * 513, "a key of 1,026 bytes"),
]


@pytest.mark.parametrize(("reference", "said"), POISONED)
def test_a_poisoned_reference_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, reference: str, said: str
) -> None:
    with FlakyStore(BODY) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        with pytest.raises(AudioRefusedError, match=said) as caught:
            fetch(reference, io.BytesIO())
        assert store.asked == []
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert "t0psecret" not in message


def test_odd_keys_that_are_allowed_arrive_as_they_are() -> None:
    for key in ("a b/日本語 ..mp3", "a%2e%2e/b?c#d", "x//y", "..a", "録音\u3000一.wav", "a" * 1024):
        assert read_place(f"s3://calls/{key}").key == key


@pytest.mark.parametrize(
    ("endpoint", "region", "signs"),
    [
        (None, "eu-central-1", True),
        ("https://s3.eu-central-1.amazonaws.com", "eu-central-1", True),
        ("https://s3api-eu-ro-1.runpod.io/", "EU-RO-1", False),
        ("https://s3api-us-ks-2.runpod.io", "US-KS-2", False),
        ("https://0123abcd.r2.cloudflarestorage.com", "auto", True),
        ("http://127.0.0.1:9000", "eu-central-1", True),
        ("https://s3api-eu-ro-1.runpod.io.evil.example", "eu-central-1", True),
    ],
)
def test_the_host_tells_region_and_presigning(endpoint: str | None, region: str, signs: bool) -> None:
    assert region_of(endpoint, {"AWS_DEFAULT_REGION": "eu-central-1"}) == region
    assert presigns(endpoint) is signs


def test_the_request_is_signed_for_the_region_and_names_bucket_and_key_in_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    with FlakyStore(BODY) as store:
        fetched(store, monkeypatch)
        path, headers = store.asked[0]
    assert path == "/calls/monday/talk.mp3"
    assert "/eu-north-1/s3/aws4_request" in headers["Authorization"]
