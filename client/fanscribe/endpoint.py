"""One endpoint over HTTP: submit, status, cancel, health.

Reading calls are repeated on a broken connection, 429 and 5xx. A submission is repeated only where the
platform certainly did not take it (the connection was refused, or it answered 429), since the platform has
no idempotency key and a second job would be paid for.
"""

import email.utils
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from pydantic import BaseModel, Field, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from fanscribe.contracts.errors import (
    AnswerError,
    AuthenticationError,
    FanscribeError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    RateLimitedError,
    TransportError,
    UnconfirmedError,
)
from fanscribe.contracts.job import JobState

ATTEMPTS = 5
"""Tries of one HTTP call, the first included."""

RUNPOD_URL = "https://api.runpod.ai/v2"
"""Runpod's data plane, up to and without the endpoint's id."""

REQUEST_LIMIT_BYTES = 10_000_000
"""The platform's limit on the body of /run (reference: Runpod's size limits, 10 MB)."""

_TIMEOUT = httpx2.Timeout(30.0, connect=10.0, pool=None)

_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=10)
"""Some connections stay open, since a fan-out asks for its jobs again and again; more requests at once than
`max_connections` wait for one. Few are idle, since every call looks whether each of those still lives."""

_backoff = wait_random_exponential(multiplier=0.2, max=8)


def open_http(*, proxied: bool) -> httpx2.AsyncClient:
    """What endpoints are called through; `proxied` goes by the proxy that the environment names, if any."""
    return httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, trust_env=proxied)


class WorkerCounts(BaseModel):
    """Workers of an endpoint by state, from /health."""

    idle: int = 0
    initializing: int = 0
    ready: int = 0
    running: int = 0
    throttled: int = 0
    unhealthy: int = 0


class Health(BaseModel):
    """The body of /health. `jobs` counts by the platform's names: inQueue, inProgress, completed, …"""

    jobs: dict[str, int] = Field(default_factory=dict)
    workers: WorkerCounts = WorkerCounts()


class Endpoint:
    """Calls to one endpoint. `base_url` ends before the endpoint's id (https://api.runpod.ai/v2)."""

    def __init__(self, http: httpx2.AsyncClient, base_url: str, endpoint_id: str, api_key: str) -> None:
        self.id = endpoint_id
        self._http = http
        self._url = f"{base_url.rstrip('/')}/{endpoint_id}"
        self._headers = {"Authorization": f"Bearer {api_key}"}

    async def submit(self, task: dict[str, Any], policy: dict[str, Any] | None = None) -> JobState:
        """Queue a job and give its id. `policy` is the platform's own (executionTimeout and ttl, ms).

        Raises UnconfirmedError when the platform may have taken the job but its id did not arrive.
        """
        body: dict[str, Any] = {"input": task}
        if policy:
            body["policy"] = policy
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if len(content) > REQUEST_LIMIT_BYTES:
            raise PayloadTooLargeError(
                f"the request to {self.id} has {len(content):,} bytes; /run takes {REQUEST_LIMIT_BYTES:,}"
            )
        try:
            return await self._call(self._post("run", content), _never_arrived)
        except (TransportError, AnswerError) as error:
            if _never_arrived(error):
                raise
            raise UnconfirmedError(f"{error}; whether the job was taken is not known") from error

    async def status(self, job_id: str) -> JobState:
        """The job's present state. Raises NotFoundError when the platform does not know it (any more)."""
        return await self._call(self._get(f"status/{job_id}"), _worth_repeating)

    async def cancel(self, job_id: str) -> JobState:
        """Stop a queued or running job; harmless on one that has ended."""
        return await self._call(self._post(f"cancel/{job_id}", b""), _worth_repeating)

    async def health(self) -> Health:
        """Jobs and workers, counted by state; asked once, since it is only for show."""
        body = await self._once(self._get("health"))
        try:
            return Health.model_validate(body)
        except ValidationError as error:
            raise AnswerError(f"endpoint {self.id} sent a health report that cannot be read") from error

    def _get(self, path: str) -> Callable[[], Awaitable[httpx2.Response]]:
        return lambda: self._http.get(f"{self._url}/{path}", headers=self._headers)

    def _post(self, path: str, content: bytes) -> Callable[[], Awaitable[httpx2.Response]]:
        headers = {**self._headers, "Content-Type": "application/json"}
        return lambda: self._http.post(f"{self._url}/{path}", content=content, headers=headers)

    async def _call(
        self, request: Callable[[], Awaitable[httpx2.Response]], repeat: Callable[[BaseException], bool]
    ) -> JobState:
        body = await self._retrying(request, repeat)
        try:
            return JobState.model_validate(body)
        except ValidationError as error:
            raise AnswerError(f"endpoint {self.id} sent a job state that cannot be read") from error

    async def _retrying(
        self, request: Callable[[], Awaitable[httpx2.Response]], repeat: Callable[[BaseException], bool]
    ) -> Any:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=retry_if_exception(repeat), reraise=True
        ):
            with attempt:
                return await self._once(request)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, request: Callable[[], Awaitable[httpx2.Response]]) -> Any:
        try:
            response = await request()
        except httpx2.HTTPError as error:
            raise TransportError(
                f"endpoint {self.id} could not be reached: {error or type(error).__name__}"
            ) from error
        if response.is_success:
            try:
                return response.json()
            except ValueError as error:
                raise AnswerError(f"endpoint {self.id} answered with something that is not JSON") from error
        raise refusal(response, self.id)


def refusal(response: httpx2.Response, endpoint: str) -> FanscribeError:
    """The error that an HTTP status of the data plane stands for."""
    status, text = response.status_code, response.text[:300].strip()
    said = f"HTTP {status}{f': {text}' if text else ''}"
    match status:
        case 401 | 403:
            return AuthenticationError(
                f"endpoint {endpoint}: the API key was refused ({said}); check RUNPOD_API_KEY", status
            )
        case 404:
            return NotFoundError(f"endpoint {endpoint}: unknown endpoint or job ({said})", status)
        case 413:
            return PayloadTooLargeError(f"endpoint {endpoint}: the request is too large ({said})", status)
        case 429:
            return RateLimitedError(
                f"endpoint {endpoint}: too many requests ({said})",
                retry_after(response.headers.get("Retry-After")),
            )
        case _ if status >= 500:
            return TransportError(f"endpoint {endpoint}: the platform failed ({said})")
        case _:
            return PlatformError(f"endpoint {endpoint}: the platform refused the call ({said})", status)


def never_connected(error: BaseException) -> bool:
    """Whether there was no connection for a call, so that nothing of it was sent."""
    return isinstance(error, TransportError) and isinstance(
        error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
    )


def retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), at most a minute."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now()
        except ValueError:
            return None
    return min(max(seconds, 0.0), 60.0)


def _worth_repeating(error: BaseException) -> bool:
    return isinstance(error, TransportError)


def _never_arrived(error: BaseException) -> bool:
    return isinstance(error, RateLimitedError) or never_connected(error)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
    return asked if asked is not None else float(_backoff(state))
