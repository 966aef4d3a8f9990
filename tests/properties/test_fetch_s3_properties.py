"""Whatever a store does to a download, its bytes come out whole, or there is an error."""

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.flaky_store import FlakyStore, Turn

from fanscribe.contracts.errors import AudioUnreachableError
from fanscribe.fetch import FetchPolicy, fetch
from fanscribe.s3 import MAX_KEY_BYTES, read_object

BODY = bytes(range(251)) * 4000
OTHER = BODY[::-1] + b"longer"

often = st.sampled_from([True, True, True, False])
turns = st.builds(
    Turn,
    cut=st.integers(0, len(BODY)) | st.integers(300_000, 900_000) | st.none(),
    status=st.sampled_from([None, None, None, 503, 429]),
    etag=st.sampled_from(['"v1"', '"v2"']),
    heeds_range=often,
    heeds_match=st.booleans(),
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(turns, min_size=1, max_size=6))
def test_the_bytes_are_those_of_the_object_or_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, plan: list[Turn]
) -> None:
    target, failure = io.BytesIO(), None
    with FlakyStore(BODY, *plan, versions={'"v2"': OTHER}) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        try:
            done = fetch("s3://calls/talk", target, FetchPolicy(attempts=6), sleep=lambda seconds: None)
        except AudioUnreachableError as error:
            failure = error
        assert len(store.asked) <= 6
    if failure is None:
        assert target.getvalue() in (BODY, OTHER)
        assert done.size_bytes == len(target.getvalue())
        return
    assert failure.retryable
    sizes = {'"v1"': len(BODY), '"v2"': len(OTHER)}
    broken = [turn for turn in plan if turn.status or (turn.cut is not None and turn.cut < sizes[turn.etag])]
    assert broken, "it fails only where something failed"


@given(key=st.text(max_size=1100))
def test_a_key_is_taken_as_it_is_or_refused(key: str) -> None:
    refused: ValueError | None = None
    try:
        place = read_object(f"s3://calls/{key}")
    except ValueError as error:
        refused = error
    if refused is not None:
        assert str(refused).isprintable()
        return
    assert (place.bucket, place.key) == ("calls", key)
    assert 0 < len(key.encode()) <= MAX_KEY_BYTES
    assert not {".", ".."} & set(key.split("/"))
