"""Tells a receiver what became of a request: a signed POST, repeated until it is taken, never in the transcript's way.

The receiver's name is looked up once for each attempt, every address of it is checked, and the connection goes to one
of those addresses. Requests go straight to the transport, below httpx2's client: no proxy from the environment, no
cookies, no redirect, and no log line with the URL in it, since receivers' URLs often hold a token.
"""

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.orchestration import Notify, NotifyEvent
from fanscribe.fetch.address import Resolver, address_allowed, ascii_host, is_address, resolve
from fanscribe.fetch.web import origin_of
from fanscribe.worker_environment import SettingsError
from fanscribe_orchestrator.notification import SIGNATURE_HEADER, body_of, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET_VARIABLE = "FANSCRIBE_NOTIFY_SECRET"  # noqa: S105 - names the variable, holds no secret
ORIGINS_VARIABLE = "FANSCRIBE_NOTIFY_ORIGINS"

SHORTEST_SECRET = 16
"""Characters; what is shorter can be guessed from one signed message."""

_PORTS = {"https": 443, "http": 80}
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_backoff = wait_random_exponential(multiplier=0.5, max=8)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How long a receiver is tried. The request's answer waits for the last notification, so all of it is short."""

    attempts: int = 5
    attempt_timeout_s: float = 10.0
    total_timeout_s: float = 30.0
    largest_output_bytes: int = 1_000_000
    """A larger output is left out: many servers refuse more than this (nginx: 1 MiB, unless told otherwise)."""


class Notifier:
    """Notifications of one worker. `secret` signs them; without one, requests that ask for them are refused.

    `origins` (scheme, host, port) may be plain http and may have private addresses. `now` gives seconds since 1970.
    """

    def __init__(
        self,
        secret: str | None,
        origins: tuple[str, ...] = (),
        policy: DeliveryPolicy | None = None,
        *,
        resolver: Resolver = resolve,
        transport: httpx2.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._secret = secret.encode() if secret else None
        self._origins = frozenset(origin_of(httpx2.URL(each)) for each in origins)
        self._policy = policy or DeliveryPolicy()
        self._resolve = resolver
        self._given = transport
        self._now = now
        self._sleep = sleep
        self._context: ssl.SSLContext | None = None
        self._under_way: set[asyncio.Task[str | None]] = set()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Notifier":
        """Read FANSCRIBE_NOTIFY_SECRET and FANSCRIBE_NOTIFY_ORIGINS. Raises SettingsError."""
        secret = environ.get(SECRET_VARIABLE, "").strip()
        if secret and len(secret) < SHORTEST_SECRET:
            raise SettingsError(
                f"{SECRET_VARIABLE} has fewer than {SHORTEST_SECRET} characters: take a random one, as of "
                "`openssl rand -hex 32`"
            )
        origins = environ.get(ORIGINS_VARIABLE, "")
        try:
            return cls(secret or None, tuple(each.strip() for each in origins.split(",") if each.strip()))
        except httpx2.InvalidURL as error:
            raise SettingsError(
                f"{ORIGINS_VARIABLE} holds what is no origin: write it like http://10.0.0.5:8080"
            ) from error

    async def check(self, notify: Notify | None) -> None:
        """Refuse what could not be delivered, before any work. Raises UsageError."""
        if notify is None:
            return
        if self._secret is None:
            raise UsageError(
                f"field notify: this orchestrator has no secret to sign with: set {SECRET_VARIABLE} in its "
                "environment, or leave notify out"
            )
        try:
            await self._addresses(_parsed(notify.url))
        except (_NotTakenError, _AgainError) as error:
            raise UsageError(f"field notify.url: {error}") from error

    async def tell(
        self,
        notify: Notify | None,
        event: NotifyEvent,
        job_id: str,
        more: Mapping[str, Any] | None = None,
        within_s: float = math.inf,
    ) -> str | None:
        """Deliver one notification, if it is asked for; the sentence that says why it was not, else None.

        Takes at most `within_s` seconds and the policy's `total_timeout_s`, and raises nothing but CancelledError.
        """
        if notify is None or event not in notify.events or self._secret is None:
            return None
        body = await asyncio.to_thread(
            body_of, event, job_id, int(self._now()), more or {}, self._policy.largest_output_bytes
        )
        limit_s = min(within_s, self._policy.total_timeout_s)
        why = await self._delivered(notify.url, body, limit_s)
        if why is None:
            return None
        warning = f"the notification {event} was not delivered to {_host(notify.url)}: {why}"
        _log.warning("job %s: %s", job_id, warning)
        return warning

    def tell_in_background(
        self, notify: Notify | None, event: NotifyEvent, job_id: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """The same beside other work, or after the job's end; a warning goes to the log alone."""
        task = asyncio.create_task(self.tell(notify, event, job_id, more))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _delivered(self, url: str, body: bytes, limit_s: float) -> str | None:
        tries = 0
        why = "no answer"
        try:
            async with asyncio.timeout(limit_s), self._transport() as transport:
                async for attempt in AsyncRetrying(
                    stop=stop_after_attempt(self._policy.attempts),
                    wait=_backoff,
                    retry=retry_if_exception_type(_AgainError),
                    sleep=self._sleep,
                    reraise=True,
                ):
                    with attempt:
                        tries += 1
                        try:
                            await self._post(transport, _parsed(url), body)
                        except _AgainError as error:
                            why = str(error)
                            raise
            return None
        except TimeoutError:
            return f"{why}, within {limit_s:.3g} s and {tries} attempts"
        except _AgainError as error:
            return f"{error}, after {tries} attempts"
        except _NotTakenError as error:
            return str(error)
        except Exception as error:
            # Whatever it is, the transcript is worth more than the news of it.
            _log.exception("a notification failed")
            return f"it failed with {type(error).__name__}"

    async def _post(self, transport: httpx2.AsyncBaseTransport, url: httpx2.URL, body: bytes) -> None:
        """One attempt. Raises _AgainError or _NotTakenError unless the receiver took it."""
        assert self._secret is not None
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "fanscribe",
            SIGNATURE_HEADER: sign(self._secret, int(self._now()), body),
        }
        limit_s = self._policy.attempt_timeout_s
        try:
            # The whole attempt: single time-outs would let a receiver that drips its answer go on for ever.
            async with asyncio.timeout(limit_s):
                status = await self._status(transport, url, headers, body)
        except TimeoutError as error:
            raise _AgainError(f"no answer in {limit_s:g} s") from error
        if 200 <= status < 300:
            return
        if status in _WORTH_ANOTHER_TRY:
            raise _AgainError(f"HTTP {status}")
        if 300 <= status < 400:
            raise _NotTakenError(f"HTTP {status}: redirects are not followed, give the final address")
        raise _NotTakenError(f"HTTP {status}")

    async def _status(
        self, transport: httpx2.AsyncBaseTransport, url: httpx2.URL, headers: dict[str, str], body: bytes
    ) -> int:
        """The HTTP status of the first of the receiver's addresses that takes a connection; its body is not read."""
        limit_s = self._policy.attempt_timeout_s
        failure: httpx2.TransportError | None = None
        addresses = await self._addresses(url)
        connect_s = limit_s / (
            1 + len(addresses)
        )  # an address that swallows everything leaves time for the others
        for address in addresses:
            request = httpx2.Request(
                "POST",
                url.copy_with(host=address, fragment=None),
                headers=headers,
                content=body,
                extensions={
                    "timeout": {"connect": connect_s, "read": limit_s, "write": limit_s, "pool": limit_s},
                    "sni_hostname": ascii_host(url),
                },
            )
            try:
                response = await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if "CERTIFICATE" in str(error):
                    raise _NotTakenError("its certificate cannot be trusted") from error
                failure = error
            except httpx2.TransportError as error:
                raise _AgainError("it broke off") from error
            else:
                await response.aclose()
                return response.status_code
        raise _AgainError("no connection") from failure

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        """The checked addresses of the receiver. Raises _NotTakenError when any of them is not allowed."""
        own = origin_of(url) in self._origins
        if url.scheme not in _PORTS or not url.host or url.userinfo:
            raise _NotTakenError("give an https URL without a user")
        if url.scheme == "http" and not own:
            raise _NotTakenError("is plain http; give an https URL")
        host = ascii_host(url)
        try:
            if is_address(host):
                found = [host]
            else:
                found = await asyncio.to_thread(self._resolve, host, url.port or _PORTS[url.scheme])
        except (OSError, UnicodeError) as error:
            raise _AgainError("the name cannot be resolved") from error
        if not found:
            raise _AgainError("the name has no address")
        if not own and not all(address_allowed(each) for each in found):
            raise _NotTakenError(
                f"leads to a private or reserved address; give a public one, or allow its origin by {ORIGINS_VARIABLE}"
            )
        return found

    @asynccontextmanager
    async def _transport(self) -> "AsyncIterator[httpx2.AsyncBaseTransport]":
        if self._given is not None:
            yield self._given
            return
        if self._context is None:
            # Reading the machine's certificates takes long enough for others to notice.
            self._context = await asyncio.to_thread(httpx2.create_ssl_context)
        async with httpx2.AsyncHTTPTransport(
            verify=self._context, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
        ) as transport:
            yield transport


class _AgainError(Exception):
    """The receiver did not take it, and may at the next attempt. The text says why."""


class _NotTakenError(Exception):
    """The receiver will not take it, or must not be asked. The text says why."""


def _parsed(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise _NotTakenError("is not a valid URL") from error


def _host(url: str) -> str:
    """What is shown of a receiver's URL: the rest may be secret."""
    try:
        host = _parsed(url).host
    except _NotTakenError:
        return "its receiver"
    return "".join(char for char in host if char.isprintable())[:200]
