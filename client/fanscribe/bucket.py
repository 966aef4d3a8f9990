"""A user's own bucket as the place for audio on its way: put there in parts, read by one job, taken away again.

FANSCRIBE_UPLOADS names it: s3://bucket/prefix. Objects have names that nobody can guess. What a killed process
leaves behind goes by the bucket's own lifecycle rule.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any
from uuid import uuid4

from fanscribe.background import in_thread
from fanscribe.contracts.errors import FanscribeError, StoppedError, TransportError, UsageError
from fanscribe.fetch.address import Resolver, resolve
from fanscribe.pipeline.cleanup import to_its_end
from fanscribe.presigned import presigned
from fanscribe.s3 import Place, endpoint_of, read_place, s3_client

LOCATION_VARIABLE = "FANSCRIBE_UPLOADS"
"""Environment variable that names the bucket for audio that does not fit into a request: s3://bucket/prefix."""

PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4

_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S, _ATTEMPTS = 10.0, 60.0, 5
_TURN_S = 0.1  # seconds between two looks at whether the upload should stop

Report = Callable[[float], None]
"""Takes the share of an upload that is done, 0 to 1; called from other threads."""


def open_uploads(environ: Mapping[str, str] = os.environ) -> "BucketUploads | None":
    """The bucket that FANSCRIBE_UPLOADS names, None where it names none. Nothing is sent yet.

    Raises UsageError when boto3 is missing or the variable names no bucket.
    """
    location = environ.get(LOCATION_VARIABLE)
    if not location:
        return None
    try:
        place = read_place(location)
    except ValueError as error:
        raise UsageError(f"{LOCATION_VARIABLE}: {error}, with a prefix for the key") from error
    try:
        client = s3_client(
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            read_timeout_s=_READ_TIMEOUT_S,
            attempts=_ATTEMPTS,
            connections=PARTS_AT_ONCE,
            environ=environ,
        )
    except ImportError as error:
        raise UsageError(
            f"{LOCATION_VARIABLE}: needs boto3; install it with: pip install 'fanscribe[s3]'"
        ) from error
    except UsageError as error:
        raise UsageError(f"{LOCATION_VARIABLE}: {error}") from error
    return BucketUploads(client, place, endpoint=endpoint_of(environ))


class BucketUploads:
    """Files as objects under `place`. `client` is a boto3 S3 client of the store at `endpoint` (None: Amazon's)."""

    def __init__(
        self,
        client: Any,
        place: Place,
        *,
        endpoint: str | None = None,
        make_name: Callable[[], str] = lambda: uuid4().hex,
        resolver: Resolver = resolve,
    ) -> None:
        self._client = client
        self._bucket = place.bucket
        self._prefix = f"{place.key.rstrip('/')}/" if place.key else ""
        self._endpoint = endpoint
        self._make_name = make_name
        self._resolve = resolver
        self._places: dict[str, Place] = {}

    async def put(self, file: Path, report: Report = lambda share: None) -> str:
        """Store a file, in parts where it is large, and give the address under which a worker can read it.

        That is a presigned https URL where the store has such and can be reached from outside, else s3://bucket/key,
        which the worker reads with credentials of its own. When this is cancelled or fails, nothing stays behind.
        Raises UsageError when the bucket refuses, TransportError when it cannot be reached.
        """
        place = Place(self._bucket, self._prefix + self._make_name())
        try:
            await in_thread(lambda stopped: self._upload(file, place, report, stopped))
            url = await asyncio.to_thread(
                presigned, self._client, place, self._endpoint, resolver=self._resolve
            )
        except BaseException:
            await self._remove(place)  # it may have been complete when we were told to leave
            raise
        address = url or str(place)
        self._places[address] = place
        return address

    async def delete(self, address: str) -> None:
        """Remove an object that this has stored; one that is gone already is fine. Raises TransportError."""
        place = self._places.pop(address, None)
        if place is not None:
            await asyncio.to_thread(self._delete, place)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    async def _remove(self, place: Place) -> None:
        async def removed() -> None:
            await asyncio.to_thread(self._delete, place)

        try:
            await to_its_end(removed())
        except (FanscribeError, TimeoutError):
            return  # the bucket's lifecycle rule is the net below

    def _upload(self, file: Path, place: Place, report: Report, stopped: Callable[[], bool]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError
        from s3transfer.manager import TransferConfig, TransferManager

        told = _Told(max(file.stat().st_size, 1), report)
        config = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_request_concurrency=PARTS_AT_ONCE,
        )
        try:
            with TransferManager(self._client, config) as manager:
                future = manager.upload(str(file), place.bucket, place.key, subscribers=[told])
                while not future.done():
                    if stopped():
                        future.cancel()
                        break
                    told.ended.wait(_TURN_S)
                future.result()  # also of a cancelled one: it returns when its parts are removed
        except CancelledError as error:
            raise StoppedError(f"{file.name}: stopped while it was uploaded") from error
        except ClientError as error:
            raise self._refused(error, "may not be written to") from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        except OSError as error:
            raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from error

    def _delete(self, place: Place) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.delete_object(Bucket=place.bucket, Key=place.key)
        except ClientError as error:
            raise self._refused(error, "an object of ours could not be removed") from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error

    def _refused(self, error: Any, what: str) -> FanscribeError:
        response: dict[str, Any] = error.response
        code = str(response.get("Error", {}).get("Code", "unknown"))
        said = f"{LOCATION_VARIABLE}: s3://{self._bucket}/{self._prefix}: {what} ({code})"
        if int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500:
            return TransportError(f"{said}; try again")
        return UsageError(f"{said}; check bucket, region and credentials")

    def _unreachable(self, error: Exception) -> FanscribeError:
        return TransportError(
            f"{LOCATION_VARIABLE}: s3://{self._bucket}/{self._prefix}: could not be reached "
            f"({type(error).__name__}); check region, endpoint and credentials"
        )


class _Told:
    """A subscriber of s3transfer's: counts bytes, which go back when a part is sent again."""

    def __init__(self, total: int, report: Report) -> None:
        self.ended = threading.Event()
        self._total = total
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    def on_queued(self, **_: Any) -> None:
        """Nothing is sent yet."""

    def on_progress(self, bytes_transferred: int, **_: Any) -> None:
        """So many bytes more were sent."""
        with self._lock:
            self._done += bytes_transferred
            share = min(max(self._done / self._total, 0.0), 1.0)
        self._report(share)

    def on_done(self, **_: Any) -> None:
        """The upload has ended, in whatever way."""
        self.ended.set()
