"""Results in an S3 bucket (boto3), for many clients or an orchestrator without a disk.

The bucket's owner says how long they live, by a lifecycle rule on the prefix: S3 tells nobody when an object
was last read, so nothing here removes what is old.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from fanscribe.contracts.errors import TransportError, UsageError
from fanscribe.results.envelope import DamagedError, pack, unpack
from fanscribe.results.keys import is_key
from fanscribe.results.store import Entry
from fanscribe.s3 import is_volume, s3_client

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0

PAUSE_S = 60.0
"""After a failed call the bucket is left alone for so long, so that no run waits for it task by task."""

_MISSING = ("NoSuchKey", "404")
_DELETED_AT_ONCE = 1000  # the most that one DeleteObjects call takes

_log = logging.getLogger(__name__)


def open_bucket(location: str) -> "BucketResults":
    """Results under s3://bucket/prefix, with the credentials and the endpoint that boto3 finds by itself.

    Raises UsageError when boto3 is missing or the location names no bucket.
    """
    name, _, prefix = location.removeprefix("s3://").partition("/")
    if not name:
        raise UsageError(f"{location}: names no bucket; write s3://bucket/prefix")
    try:
        client = s3_client(connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S, attempts=2)
    except ImportError as error:
        raise UsageError(f"{location}: needs boto3; install it with: pip install 'fanscribe[s3]'") from error
    except UsageError as error:
        raise UsageError(f"{location}: {error}") from error
    return BucketResults(client, name, prefix)


class BucketResults:
    """Results in a bucket, one object a value, under `prefix`. `client` is a boto3 S3 client."""

    def __init__(
        self, client: Any, bucket: str, prefix: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._clock = clock
        self._ask_again_at = float("-inf")

    @property
    def location(self) -> str:
        """The bucket and the prefix."""
        return f"s3://{self._bucket}/{self._prefix}"

    def get(self, key: str) -> dict[str, Any] | None:
        """See ResultStore."""
        name = self._name(key)
        if self._paused():
            return None
        try:
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        except _failures() as error:
            if _code(error) not in _MISSING:
                self._pause(error)
            return None
        try:
            return unpack(key, data)
        except DamagedError as damage:
            _log.warning(
                "the result %s is damaged (%s): it is removed and the work done again", key[:17], damage
            )
            try:
                self._client.delete_object(Bucket=self._bucket, Key=name)
            except _failures() as error:
                self._pause(error)
            return None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """See ResultStore."""
        name = self._name(key)
        if self._paused():
            return
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=name, Body=pack(key, value), ContentType="application/octet-stream"
            )
        except _failures() as error:
            self._pause(error)

    def entries(self) -> Iterator[Entry]:
        """See ResultStore."""
        try:
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for each in page.get("Contents", ()):
                    key = each["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        yield Entry(key, each["Size"], each["LastModified"].timestamp())
        except _failures() as error:
            raise TransportError(f"{self.location}: cannot be listed: {_told(error)}") from error

    def clear(self) -> int:
        """See ResultStore. Other objects under the prefix stay."""
        keys = [self._prefix + each.key for each in self.entries()]
        if is_volume(self._client.meta.endpoint_url):
            return self._cleared_one_by_one(keys)
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            batch = [{"Key": key} for key in keys[first : first + _DELETED_AT_ONCE]]
            try:
                reply = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            except _failures() as error:
                raise TransportError(f"{self.location}: cannot be cleared: {_told(error)}") from error
            if refused := reply.get("Errors"):
                reason = refused[0].get("Code")
                raise TransportError(f"{self.location}: {len(refused)} results cannot be removed: {reason}")
        return len(keys)

    def _cleared_one_by_one(self, keys: list[str]) -> int:
        """For stores that do not know DeleteObjects."""
        for key in keys:
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            except _failures() as error:
                raise TransportError(f"{self.location}: cannot be cleared: {_told(error)}") from error
        return len(keys)

    def _name(self, key: str) -> str:
        if not is_key(key):
            raise ValueError(f"not a key: {key[:80]!r}")
        return self._prefix + key

    def _paused(self) -> bool:
        return self._clock() < self._ask_again_at

    def _pause(self, error: Exception) -> None:
        self._ask_again_at = self._clock() + PAUSE_S
        _log.warning(
            "results in %s cannot be used (%s): for %g s none are looked up or kept",
            self.location,
            _told(error),
            PAUSE_S,
        )


def _failures() -> tuple[type[Exception], ...]:
    """What boto3 raises. Read here, since this module loads without it. OSError: a body that breaks off."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, OSError


def _code(error: Exception) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _told(error: Exception) -> str:
    return _code(error) or type(error).__name__
