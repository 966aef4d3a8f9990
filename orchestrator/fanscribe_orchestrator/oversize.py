"""Results above the platform's limit: into a bucket, else compressed, else refused."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fanscribe.contracts.errors import ErrorCode, UsageError
from fanscribe.contracts.large_result import LargeResult, compressed, digest, encoded
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.contracts.task import ResponseFormat, Timestamps
from fanscribe.job_input import Refused
from fanscribe.results.store import LOCATION_VARIABLE
from fanscribe.s3 import Place, endpoint_of, presigns, read_place, s3_client

_log = logging.getLogger(__name__)

OUTPUTS_VARIABLE = "FANSCRIBE_OUTPUTS"
"""Environment variable that names where large results go, s3://bucket/prefix; else they go beside the results."""

RUN_LIMIT_BYTES, RUNSYNC_LIMIT_BYTES = 10_000_000, 20_000_000
"""What a job's result may have, by how it was submitted (Runpod's documentation of sending requests). The platform
answers a larger one with HTTP 400 and the job ends without it."""

URL_LIFETIME_S = 86_400
"""How long a presigned URL holds, in seconds: the platform itself forgets a job after half an hour."""

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 60.0

_LONG = ("text", "segments", "words", "turns", "tasks")
_HEAD_BYTES = len('{"output": }')

SLOW_WORDS_PER_S = 1.5
"""Words a second of a slow talk with pauses; a reader has 2.7. What such a talk comes to is certain to be passed."""

_PACKED_BYTES_PER_WORD = {
    ResponseFormat.NATIVE: 30.0,
    ResponseFormat.VERBOSE_JSON: 25.0,
    ResponseFormat.DIARIZED_JSON: 7.0,
    ResponseFormat.SRT: 5.0,
    ResponseFormat.VTT: 4.5,
    ResponseFormat.JSON: 2.3,
    ResponseFormat.TEXT: 2.5,
    ResponseFormat.RTTM: 1.0,
}
"""Bytes of JSON for each word, compressed and in base64: measured on an hour of 2.7 words a second with random
confidences (native: 169 bytes a word before it is compressed)."""

_PACKED_WITHOUT_WORDS = 6.5  # the native form with segments alone


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where large results are put. `client` is a boto3 S3 client; `signs`: callers can read its presigned URLs."""

    client: Any
    place: Place
    signs: bool

    def put(self, body: bytes, now: float) -> LargeResult:
        """Store a result under its digest, so that a repeat takes no more room. Blocking; raises what boto3 does."""
        about = digest(body)
        key = f"{self.place.key.rstrip('/')}/{about['sha256']}.json".lstrip("/")
        bucket = self.place.bucket
        self.client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")
        url = None
        if self.signs:
            url = self.client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=URL_LIFETIME_S
            )
        return LargeResult(
            uri=str(Place(bucket, key)),
            url=url,
            url_expires_at=int(now) + URL_LIFETIME_S if url else None,
            **about,
        )


class Outbox:
    """Makes answers fit. `clock` gives seconds since 1970."""

    def __init__(self, bucket: Bucket | None = None, clock: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._clock = clock

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Outbox":
        """The bucket that FANSCRIBE_OUTPUTS names, else the one of the results. Raises UsageError."""
        location, name = environ.get(OUTPUTS_VARIABLE, ""), OUTPUTS_VARIABLE
        results = environ.get(LOCATION_VARIABLE, "")
        if not location and results.startswith("s3://"):
            location, name = f"{results.rstrip('/')}/outputs", LOCATION_VARIABLE
        if not location:
            return cls()
        try:
            place = read_place(location)
            client = s3_client(
                connect_timeout_s=CONNECT_TIMEOUT_S,
                read_timeout_s=READ_TIMEOUT_S,
                attempts=4,
                environ=environ,
            )
        except ValueError as error:
            raise UsageError(f"{name}: {location}: {error}") from error
        except ImportError as error:
            raise UsageError(f"{name}: needs boto3; install it with: pip install 'fanscribe[s3]'") from error
        endpoint = endpoint_of(environ)
        signs = presigns(endpoint) and (endpoint is None or endpoint.startswith("https://"))
        return cls(Bucket(client, place, signs))

    def refuse_foretold(self, asked: OrchestratorInput, duration_s: float, job_id: str) -> None:
        """Refuse a recording of which the result is certain not to fit, before anything is paid for it.

        Raises Refused.
        """
        limit = limit_of(job_id)
        packed = SLOW_WORDS_PER_S * duration_s * _packed_bytes_per_word(asked)
        if self._bucket is None and packed > limit:
            raise Refused(
                ErrorCode.RESULT_TOO_LARGE,
                f"the transcript of {duration_s / 3600:.1f} h would have {packed / 1e6:.0f} MB at least, compressed; "
                f"the platform takes {limit / 1e6:.0f} MB: {_ADVICE}",
            )

    async def fitted(self, output: dict[str, Any], job_id: str, within_s: float = math.inf) -> dict[str, Any]:
        """The answer, or what can stand for it within the platform's limit. Raises Refused where nothing can.

        A bucket that has not taken it in `within_s` seconds is not waited for.
        """
        limit = limit_of(job_id) - _HEAD_BYTES
        body = await asyncio.to_thread(encoded, output)
        if len(body) <= limit:
            return output
        size = f"the result has {len(body) / 1e6:.1f} MB, more than the {limit / 1e6:.0f} MB that the platform takes"
        if self._bucket is not None:
            stored = await self._stored(self._bucket, body, within_s)
            if stored is not None:
                return _in_place_of(output, stored, f"{size}: the whole of it lies where `result` says")
        packed = await asyncio.to_thread(compressed, body)
        small = _in_place_of(output, packed, f"{size}: the whole of it is in `result`, compressed")
        if len(encoded(small)) > limit:
            raise Refused(
                ErrorCode.RESULT_TOO_LARGE,
                f"{size}, and {len(packed.data or '') / 1e6:.1f} MB compressed: {_ADVICE}",
            )
        return small

    async def _stored(self, bucket: Bucket, body: bytes, within_s: float) -> LargeResult | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            async with asyncio.timeout(within_s):
                return await asyncio.to_thread(bucket.put, body, self._clock())
        except (BotoCoreError, ClientError, TimeoutError) as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
            _log.warning(
                "a large result cannot be stored in %s (%s): it is compressed instead", bucket.place, code
            )
            return None


_ADVICE = (
    f"set {OUTPUTS_VARIABLE} to a bucket on the orchestrator's endpoint, ask for timestamps: segment or another "
    "response_format, or send clips of it"
)


def limit_of(job_id: str) -> int:
    """What a job's result may have, in bytes: the platform names jobs of /runsync so that they can be told."""
    return RUNSYNC_LIMIT_BYTES if job_id.startswith("sync-") else RUN_LIMIT_BYTES


def _packed_bytes_per_word(asked: OrchestratorInput) -> float:
    if asked.response_format is ResponseFormat.NATIVE and asked.timestamps is not Timestamps.WORD:
        return _PACKED_WITHOUT_WORDS
    return _PACKED_BYTES_PER_WORD[asked.response_format]


def _in_place_of(output: Mapping[str, Any], result: LargeResult, said: str) -> dict[str, Any]:
    short = {name: value for name, value in output.items() if name not in _LONG}
    warnings = [*output.get("warnings", ()), said]
    return {**short, "warnings": warnings, "result": result.model_dump(mode="json", exclude_none=True)}
