"""Uploads into a user's bucket, against moto's server on loopback: in parts, with progress, and nothing left behind."""

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from fanscribe.bucket import LOCATION_VARIABLE, PART_BYTES, BucketUploads, open_uploads
from fanscribe.contracts.errors import TransportError, UsageError
from fanscribe.fetch import FetchPolicy, fetch
from fanscribe.presigned import reading_address
from fanscribe.s3 import Place

LARGE = 2 * PART_BYTES + 12_345


@pytest.fixture
def client(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "t0psecret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
    client.create_bucket(Bucket="inbox")
    yield client
    for each in keys(client):
        client.delete_object(Bucket="inbox", Key=each)
    client.delete_bucket(Bucket="inbox")
    client.close()


@pytest.fixture
def uploads(client: Any) -> Iterator[BucketUploads]:
    uploads = open_uploads(
        {LOCATION_VARIABLE: "s3://inbox/audio/", "AWS_ENDPOINT_URL": client.meta.endpoint_url}
    )
    assert uploads is not None
    yield uploads
    uploads.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("uploads") / "talk.wav"
    file.write_bytes(bytes(range(256)) * (LARGE // 256) + bytes(LARGE % 256))
    return file


def keys(client: Any) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket="inbox").get("Contents", ())]


def unfinished(client: Any) -> list[str]:
    return [each["Key"] for each in client.list_multipart_uploads(Bucket="inbox").get("Uploads", ())]


def operations(uploads: BucketUploads) -> list[str]:
    """The names of the operations that its client sends from now on."""
    sent: list[str] = []
    uploads._client.meta.events.register("before-call.s3", lambda model, **_: sent.append(model.name))
    return sent


async def test_a_large_file_goes_up_in_parts_with_progress_and_is_taken_away(
    uploads: BucketUploads, client: Any, large: Path
) -> None:
    sent, shares = operations(uploads), list[float]()
    address = await uploads.put(large, shares.append)
    assert sent.count("UploadPart") == 3
    bucket, _, key = address.removeprefix("s3://").partition("/")
    assert bucket == "inbox"
    assert key.startswith("audio/")
    assert "talk" not in key
    assert client.get_object(Bucket="inbox", Key=key)["Body"].read() == large.read_bytes()
    assert shares[-1] == 1.0
    assert len(shares) > 10
    target = io.BytesIO()
    fetch(address, target)
    assert target.getvalue() == large.read_bytes()
    await uploads.delete(address)
    assert (keys(client), unfinished(client)) == ([], [])
    await uploads.delete(address)


async def test_a_small_file_goes_up_at_once_and_without_checksums_that_other_stores_refuse(
    uploads: BucketUploads, client: Any, tmp_path: Path
) -> None:
    headers: list[dict[str, str]] = []
    uploads._client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: headers.append(dict(request.headers))
    )
    (tmp_path / "a.mp3").write_bytes(b"x" * 1000)
    address = await uploads.put(tmp_path / "a.mp3")
    assert len(headers) == 1
    assert not [name for name in headers[0] if "checksum" in name.lower() or "trailer" in name.lower()]
    assert str(headers[0]["Content-Length"]) == "1000"
    await uploads.delete(address)
    assert keys(client) == []


def public(host: str, port: int) -> list[str]:
    return ["93.184.216.34"]


async def test_a_store_that_can_be_reached_gives_an_address_that_needs_no_credentials(
    client: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x" * 1000)
    place = Place("inbox", "")
    uploads = BucketUploads(client, place, endpoint="https://store.example", resolver=public)
    address = await uploads.put(tmp_path / "a.mp3")
    origin = client.meta.endpoint_url
    assert address.startswith(f"{origin}/inbox/")
    assert "X-Amz-Signature=" in address or "Signature=" in address
    assert "t0psecret" not in address
    target = io.BytesIO()
    fetch(address, target, FetchPolicy(allowed_origins=(origin,)))
    assert target.getvalue() == b"x" * 1000
    await uploads.delete(address)
    assert keys(client) == []


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://s3api-eu-ro-1.runpod.io", "93.184.216.34"),
        ("https://minio.example", "10.0.0.7"),
        ("http://minio.example", "93.184.216.34"),
        ("https://minio.example", None),
    ],
)
async def test_elsewhere_the_worker_reads_with_its_own_credentials(
    client: Any, tmp_path: Path, endpoint: str, address: str | None
) -> None:
    def resolver(host: str, port: int) -> list[str]:
        if address is None:
            raise OSError("unknown")
        return [address]

    (tmp_path / "a.mp3").write_bytes(b"x")
    uploads = BucketUploads(
        client, Place("inbox", "deep/er/"), endpoint=endpoint, make_name=lambda: "one", resolver=resolver
    )
    assert await uploads.put(tmp_path / "a.mp3") == "s3://inbox/deep/er/one"


@pytest.mark.parametrize(
    "operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
)
async def test_a_cancelled_upload_leaves_nothing_behind(
    uploads: BucketUploads, client: Any, large: Path, tmp_path: Path, operation: str
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def held(**_: Any) -> None:
        reached.set()
        assert go_on.wait(20)

    uploads._client.meta.events.register(f"before-send.s3.{operation}", held)
    file = large
    if operation == "PutObject":
        file = tmp_path / "small"
        file.write_bytes(b"x" * 1000)
    putting = asyncio.ensure_future(uploads.put(file))
    await asyncio.to_thread(reached.wait, 20)
    putting.cancel()
    await asyncio.sleep(0.3)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert (keys(client), unfinished(client)) == ([], [])


async def test_a_part_that_fails_for_good_takes_the_others_with_it(
    uploads: BucketUploads, client: Any, large: Path
) -> None:
    from botocore.awsrequest import AWSResponse

    class Raw(io.BytesIO):
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield self.read()

    def refused(request: Any, **_: Any) -> Any:
        body = b"<Error><Code>QuotaExceeded</Code></Error>"
        return AWSResponse(request.url, 403, {}, Raw(body)) if "partNumber=3" in request.url else None

    uploads._client.meta.events.register("before-send.s3.UploadPart", refused)
    with pytest.raises(UsageError, match=r"^FANSCRIBE_UPLOADS: s3://inbox/audio/: .* \(QuotaExceeded\)"):
        await uploads.put(large)
    assert (keys(client), unfinished(client)) == ([], [])


async def test_a_connection_that_breaks_is_taken_up_and_the_share_stays_true(
    uploads: BucketUploads, client: Any, large: Path
) -> None:
    from botocore.exceptions import ConnectionClosedError

    broken: list[str] = []

    def breaks(request: Any, **_: Any) -> None:
        if "partNumber=2" in request.url and len(broken) < 2:
            request.body.read(PART_BYTES // 2)
            broken.append(request.url)
            raise ConnectionClosedError(endpoint_url="http://store")

    uploads._client.meta.events.register("before-send.s3.UploadPart", breaks)
    shares: list[float] = []
    address = await uploads.put(large, shares.append)
    assert len(broken) == 2
    assert max(shares) == 1.0 == shares[-1]
    assert (
        client.head_object(Bucket="inbox", Key=address.removeprefix("s3://inbox/"))["ContentLength"] == LARGE
    )


async def test_what_cannot_work_says_so_without_secrets(client: Any, tmp_path: Path) -> None:
    environ = {"AWS_ENDPOINT_URL": client.meta.endpoint_url, LOCATION_VARIABLE: "s3://not-there/a"}
    uploads = open_uploads(environ)
    assert uploads is not None
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"^FANSCRIBE_UPLOADS: s3://not-there/a/: .*NoSuchBucket") as caught:
        await uploads.put(tmp_path / "a")
    assert "t0psecret" not in str(caught.value)
    gone = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1})
    )
    with pytest.raises(TransportError, match="could not be reached"):
        await BucketUploads(gone, Place("inbox", "")).put(tmp_path / "a")
    gone.close()


def test_a_reference_becomes_an_address_for_workers_where_that_can_be(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reading_address("https://talks.example/a.mp3?sig=x") == "https://talks.example/a.mp3?sig=x"
    assert reading_address("https://me:secret@talks.example/a.mp3") is None
    assert reading_address("data:audio/flac;base64,AAAA") is None
    assert reading_address("s3://inbox/a.mp3") is None, "the store has a private address"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3api-eu-ro-1.runpod.io")
    assert reading_address("s3://inbox/a.mp3") is None, "volumes know no presigned URLs"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name)
    address = reading_address("s3://inbox/a b.mp3")
    assert address is not None
    assert address.startswith("https://inbox.s3.")
    assert "/a%20b.mp3?" in address
    assert "X-Amz-Expires=86400" in address
    assert "t0psecret" not in address


def test_which_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_uploads({}) is None
    for wrong in (
        "inbox",
        "https://inbox",
        "s3://",
        "s3://../x",
        "s3://inbox/../x",
        "s3://me:t0psecret@inbox/",
    ):
        with pytest.raises(UsageError, match=r"^FANSCRIBE_UPLOADS: ") as caught:
            open_uploads({LOCATION_VARIABLE: wrong})
        assert "t0psecret" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(UsageError, match=r"pip install 'fanscribe\[s3\]'"):
        open_uploads({LOCATION_VARIABLE: "s3://inbox"})
