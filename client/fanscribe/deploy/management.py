"""One account's management API over HTTP: retries by cause, refusals as sentences, no secret in either."""

import email.utils
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from fanscribe.contracts.errors import (
    AnswerError,
    AuthenticationError,
    FanscribeError,
    NotFoundError,
    PlatformError,
    RateLimitedError,
    TransportError,
)
from fanscribe.endpoint import never_connected

RUNPOD_REST_URL = "https://api.runpod.io/v2"
RUNPOD_GRAPHQL_URL = "https://api.runpod.io/graphql"
ATTEMPTS = 5
"""How often a call is made at most."""
LONGEST_WAIT_S = 120.0
"""The longest Retry-After that is waited for; with a longer one the deployment stops and says so."""

_SAFE = frozenset({"GET", "PATCH", "DELETE"})
_backoff = wait_random_exponential(multiplier=0.5, max=8)


@dataclass(slots=True)
class Management:
    """An open connection. `data_url`: the data plane's base; `platform`: its name for people, `runpod` or `local`.

    `sleep` waits between attempts, in seconds. `calls` counts what was sent, retries included.
    """

    http: httpx2.AsyncClient
    rest_url: str
    graphql_url: str
    data_url: str
    key: str
    platform: str
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    calls: dict[str, int] = field(default_factory=dict)

    async def get(self, path: str, missing: Any = None, **parameters: str) -> Any:
        """The JSON at a path; `missing`, where given, is the answer where the platform has no such path."""
        try:
            return await self.rest("GET", path, parameters=parameters)
        except NotFoundError:
            if missing is None:
                raise
            return missing

    async def rest(
        self, method: str, path: str, body: object = None, parameters: Mapping[str, str] | None = None
    ) -> Any:
        """One REST call. GET, PATCH and DELETE are repeated on lost connections, 5xx and 429; POST only where it
        surely did nothing (429, no connection).

        Raises AuthenticationError, NotFoundError, RateLimitedError, TransportError or PlatformError.
        """
        what = f"{method} {path}"

        async def send() -> httpx2.Response:
            return await self.http.request(
                method,
                f"{self.rest_url}/{path}",
                json=body,
                params=parameters or None,
                headers=self._headers(),
            )

        response = await self._retrying(what, send, _worth_repeating if method in _SAFE else _did_nothing)
        return None if response.status_code == 204 else self._json(response, what)

    async def graphql(self, query: str, variables: Mapping[str, object], *, repeat: bool) -> Any:
        """The `data` of one GraphQL call; `repeat`: whether it may be sent again when its fate is unknown.

        Raises PlatformError with the platform's words for a query that it refuses, otherwise as `rest`.
        """
        what = "GraphQL (cached models)"

        async def send() -> httpx2.Response:
            body = {"query": query, "variables": dict(variables)}
            return await self.http.post(self.graphql_url, json=body, headers=self._headers())

        response = await self._retrying(what, send, _worth_repeating if repeat else _did_nothing)
        answer = self._json(response, what)
        if errors := answer.get("errors"):
            said = self.redacted(
                str(errors[0].get("message", "")) if isinstance(errors[0], dict) else str(errors[0])
            )
            raise PlatformError(f"{self.platform}: {what}: {said[:500]}", response.status_code)
        return answer.get("data") or {}

    def redacted(self, text: str) -> str:
        """Text of the platform's that may be shown: the key, should it be echoed, is not in it."""
        return text.replace(self.key, "(key)") if self.key else text

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def _json(self, response: httpx2.Response, what: str) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise AnswerError(
                f"{self.platform}: {what} was answered with something that is not JSON"
            ) from error

    async def _retrying(
        self,
        what: str,
        send: Callable[[], Awaitable[httpx2.Response]],
        repeat: Callable[[BaseException], bool],
    ) -> httpx2.Response:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception(repeat),
            sleep=self.sleep,
            reraise=True,
        ):
            with attempt:
                return await self._once(what, send)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, what: str, send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        self.calls[what] = self.calls.get(what, 0) + 1
        try:
            response = await send()
        except httpx2.HTTPError as error:
            raise TransportError(
                f"{self.platform}: {what} got no answer: {self.redacted(str(error)) or type(error).__name__}"
            ) from error
        if response.is_success:
            return response
        raise self._refusal(response, what)

    def _refusal(self, response: httpx2.Response, what: str) -> FanscribeError:
        status = response.status_code
        said = f"{self.platform}: {what}: {self.redacted(reason(response))} (HTTP {status})"
        if status == 401:
            return AuthenticationError(f"{said}: the API key was refused; check RUNPOD_API_KEY", status)
        if status == 403:
            return AuthenticationError(
                f"{said}: the API key may not do this; give it read and write access to endpoints", status
            )
        if status == 404:
            return NotFoundError(said, status)
        if status == 429:
            return RateLimitedError(said, retry_after(response.headers))
        if status >= 500:
            return TransportError(said)
        return PlatformError(said, status)


def reason(response: httpx2.Response) -> str:
    """What a refusal says, as one sentence: a problem's detail and the fields it names."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return " ".join(response.text.split())[:300] or response.reason_phrase or "no reason given"
    if isinstance(body.get("errors"), list) and body["errors"]:
        faults = [
            str(each.get("message", each)) if isinstance(each, dict) else str(each) for each in body["errors"]
        ]
        return "; ".join(_field(each) for each in faults)[:500]
    return str(body.get("detail") or body.get("message") or body.get("error") or body.get("title") or body)[
        :500
    ]


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a refusal asks to wait: Retry-After as a number or a date, else the reset of RateLimit."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now())
    except ValueError:
        pass
    # `"minute";r=0;t=12, …`: the window that is used up, and the seconds until it begins anew.
    for window in headers.get("RateLimit", "").split(","):
        parts = dict(part.strip().partition("=")[::2] for part in window.split(";")[1:])
        if parts.get("r") == "0" and parts.get("t", "").isdecimal():
            return float(parts["t"])
    return None


def _field(fault: str) -> str:
    # A JSON path such as `$.workers.max: must be …` reads as the field's name.
    return fault.removeprefix("$.").removeprefix("$: ")


def _worth_repeating(error: BaseException) -> bool:
    return isinstance(error, TransportError) and not _asks_too_long(error)


def _did_nothing(error: BaseException) -> bool:
    if isinstance(error, RateLimitedError):
        return not _asks_too_long(error)
    return never_connected(error)


def _asks_too_long(error: BaseException) -> bool:
    return isinstance(error, RateLimitedError) and (error.retry_after_s or 0.0) > LONGEST_WAIT_S


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
    return asked if asked is not None else float(_backoff(state))
