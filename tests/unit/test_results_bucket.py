"""Results in S3, against moto's server on loopback: the same behaviour as the folder, and faults that only warn."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from fanscribe.contracts.errors import TransportError
from fanscribe.results.bucket import PAUSE_S, BucketResults, open_bucket
from fanscribe.results.envelope import pack


def key(number: int, kind: str = "task") -> str:
    return f"{kind}/{number:064x}"


@pytest.fixture
def client(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
    client.create_bucket(Bucket="results")
    yield client
    for each in client.list_objects_v2(Bucket="results").get("Contents", ()):
        client.delete_object(Bucket="results", Key=each["Key"])
    client.delete_bucket(Bucket="results")
    client.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(client: Any) -> BucketResults:
    return BucketResults(client, "results", "team/a")


def test_a_value_comes_back_as_it_was_kept(store: BucketResults) -> None:
    assert store.get(key(1)) is None
    store.put(key(1), {"text": "日本語", "words": [1.5]})
    assert store.get(key(1)) == {"text": "日本語", "words": [1.5]}
    assert store.location == "s3://results/team/a/"


def test_the_location_is_enough(client: Any) -> None:
    open_bucket("s3://results/team/b").put(key(1), {"text": "kept"})
    assert open_bucket("s3://results/team/b/").get(key(1)) == {"text": "kept"}
    assert open_bucket("s3://results").get(key(1)) is None


@pytest.mark.parametrize("data", [b"", b"half", pack(key(2), {"text": "of another key"})])
def test_damage_counts_as_missing_and_is_removed(store: BucketResults, client: Any, data: bytes) -> None:
    client.put_object(Bucket="results", Key=f"team/a/{key(1)}", Body=data)
    assert store.get(key(1)) is None
    assert list(store.entries()) == []


def test_entries_and_clear_see_ours_and_nothing_else(store: BucketResults, client: Any) -> None:
    store.put(key(1), {})
    store.put(key(2, "cuts"), {})
    client.put_object(Bucket="results", Key="team/a/notes.txt", Body=b"mine")
    client.put_object(Bucket="results", Key=key(3), Body=b"of another prefix")
    assert {each.key for each in store.entries()} == {key(1), key(2, "cuts")}
    assert all(each.size_bytes > 0 and each.used_at > 1e9 for each in store.entries())
    assert store.clear() == 2
    left = {each["Key"] for each in client.list_objects_v2(Bucket="results")["Contents"]}
    assert left == {"team/a/notes.txt", key(3)}


def test_a_volume_of_runpod_is_cleared_without_delete_objects(
    store: BucketResults, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(**about: Any) -> None:
        raise AssertionError("a volume does not know this call")

    monkeypatch.setattr(
        "fanscribe.results.bucket.is_volume", lambda endpoint: endpoint == client.meta.endpoint_url
    )
    monkeypatch.setattr(client, "delete_objects", unknown)
    store.put(key(1), {})
    store.put(key(2), {})
    assert store.clear() == 2
    assert list(store.entries()) == []


def test_a_missing_bucket_is_a_warning_and_then_left_alone_for_a_while(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    store = BucketResults(client, "not-there", clock=clock)
    store.put(key(1), {"text": "a secret"})
    assert store.get(key(1)) is None
    assert caplog.text.count("NoSuchBucket") == 1
    assert "a secret" not in caplog.text
    client.create_bucket(Bucket="not-there")
    store.put(key(1), {})
    clock.now = PAUSE_S + 1
    store.put(key(2), {})
    assert [each.key for each in store.entries()] == [key(2)]
    store.clear()
    client.delete_bucket(Bucket="not-there")


def test_listing_a_missing_bucket_is_an_error(client: Any) -> None:
    store = BucketResults(client, "not-there")
    with pytest.raises(TransportError, match="s3://not-there/: cannot be listed: NoSuchBucket"):
        list(store.entries())


def test_a_server_that_is_gone_is_a_warning(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    gone = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1})
    )
    store = BucketResults(gone, "results")
    store.put(key(1), {})
    assert store.get(key(1)) is None
    assert caplog.text.count("EndpointConnectionError") == 1
    gone.close()
