"""https downloads from strangers' URLs: pinned addresses, checked redirects, limits, and resumption.

The name is resolved once, every address of it is checked, and the connection goes to one of those addresses
(a second look-up could answer differently); SNI, Host and the certificate still go by the name. Requests go
straight to the transport, below httpx2's client: no proxy from the environment, no netrc, no cookies, no
redirect that was not checked, and no log line with the URL in it.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

import httpx2

from fanscribe.contracts.errors import AudioError, AudioRefusedError, AudioUnreachableError
from fanscribe.fetch.address import Resolver, address_allowed, ascii_host, is_address
from fanscribe.fetch.policy import Fetched
from fanscribe.fetch.sink import Sink, Watch

_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S = 0.5


class _BrokeOffError(Exception):
    """An attempt failed in a way that the next one may not. The text says how."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one version of a resource from the next: a strong ETag, else the time of its change."""

    validator: str
    total: int | None


def label_of(reference: str) -> str:
    """A reference for messages and logs: without user, query and fragment."""
    scheme, colon, rest = reference.partition("://")
    if not colon:
        return f"{scheme.partition(':')[0][:20]}: reference" if ":" in scheme else "the audio reference"
    rest = rest.partition("?")[0].partition("#")[0]
    host, slash, path = rest.partition("/")
    shown = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return "".join(char for char in shown if char.isprintable())[:300]


def origin_of(url: httpx2.URL) -> str:
    """Scheme, host and port, the port always given: what two URLs share when they have the same owner."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{url.port or _PORTS.get(url.scheme, 0)}"


class Web:
    """Fetches one URL after another; holds no connection between two."""

    def __init__(
        self, watch: Watch, resolver: Resolver, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._watch = watch
        self._policy = watch.policy
        self._resolve = resolver
        self._given = transport
        self._origins = frozenset(
            origin_of(_parsed(origin, origin)) for origin in self._policy.allowed_origins
        )

    def fetch(self, reference: str, sink: Sink) -> Fetched:
        """Write what is behind the URL. Raises as `fanscribe.fetch.fetch` says."""
        url = _parsed(reference, self._watch.label)
        version: _Version | None = None
        with self._transport() as transport:
            for attempt in range(1, self._policy.attempts + 1):
                try:
                    response = self._opened(transport, url, sink.size_bytes, version)
                    try:
                        version = self._begun(response, sink, version)
                        self._copied(response, sink, version)
                    finally:
                        response.close()
                    return sink.done(_name(url))
                except _BrokeOffError as error:
                    if attempt == self._policy.attempts:
                        raise AudioUnreachableError(
                            f"{self._watch.label}: could not be fetched ({error}), after {attempt} attempts; "
                            "check the address and try again"
                        ) from error
                    self._watch.check()
                    self._watch.sleep(min(_FIRST_PAUSE_S * 2 ** (attempt - 1), max(self._watch.left_s(), 0)))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _transport(self) -> Iterator[httpx2.BaseTransport]:
        if self._given is not None:
            yield self._given
            return
        with httpx2.HTTPTransport(
            verify=httpx2.create_ssl_context(),
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
        ) as transport:
            yield transport

    def _opened(
        self, transport: httpx2.BaseTransport, url: httpx2.URL, begin: int, version: _Version | None
    ) -> httpx2.Response:
        """The answer behind all redirects, its body unread; the caller closes it."""
        came_from: httpx2.URL | None = None
        for _ in range(self._policy.max_redirects + 1):
            response = self._answer(transport, url, came_from, begin, version)
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            came_from, url = url, self._redirected(url, response)
        raise AudioRefusedError(
            f"{self._watch.label}: redirects more than {self._policy.max_redirects} times; give the final address"
        )

    def _redirected(self, url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
        place = response.headers.get("location")
        if not place:
            raise AudioUnreachableError(f"{self._watch.label}: redirects to nowhere; give the final address")
        try:
            target = url.join(place)
        except (httpx2.InvalidURL, ValueError) as error:
            raise AudioRefusedError(
                f"{self._watch.label}: redirects to something that is no URL; give the final address"
            ) from error
        if url.scheme == "https" and target.scheme != "https":
            raise AudioRefusedError(
                f"{self._watch.label}: redirects from https to {label_of(str(target))}; only https is followed"
            )
        return target

    def _answer(
        self,
        transport: httpx2.BaseTransport,
        url: httpx2.URL,
        came_from: httpx2.URL | None,
        begin: int,
        version: _Version | None,
    ) -> httpx2.Response:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fanscribe"}
        headers["Host"] = url.netloc.decode("ascii")
        if begin and version is not None and version.validator:
            headers["Range"] = f"bytes={begin}-"
            headers["If-Range"] = version.validator
        failure: Exception | None = None
        for address in self._addresses(url, came_from):
            self._watch.check()
            left = max(self._watch.left_s(), 0.001)
            read = min(self._policy.read_timeout_s, left)
            connect = min(self._policy.connect_timeout_s, left)
            request = httpx2.Request(
                "GET",
                url.copy_with(host=address, fragment=None),
                headers=headers,
                extensions={
                    "timeout": {"connect": connect, "read": read, "write": read, "pool": connect},
                    "sni_hostname": ascii_host(url),
                },
            )
            try:
                response = transport.handle_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if isinstance(error.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE" in str(error):
                    raise AudioUnreachableError(
                        f"{label_of(str(url))}: its certificate cannot be trusted; check the address",
                        retryable=False,
                    ) from error
                failure = error
            except httpx2.TransportError as error:
                raise _BrokeOffError(_plain(error)) from error
            else:
                response.request = request
                return response
        raise _BrokeOffError(_plain(failure)) from failure

    def _addresses(self, url: httpx2.URL, came_from: httpx2.URL | None) -> list[str]:
        """The checked addresses of the URL's host; raises AudioRefusedError when any of them is not allowed."""
        label = label_of(str(url))
        if url.scheme not in _PORTS or not url.host:
            raise AudioRefusedError(f"{label}: give an https URL with a host")
        if url.userinfo:
            raise AudioRefusedError(
                f"{label}: holds a user or password; give a URL without, for example presigned"
            )
        own = origin_of(url) in self._origins
        if own and came_from is not None and origin_of(came_from) not in self._origins:
            raise AudioRefusedError(f"{self._watch.label}: redirects into this machine; that is not followed")
        if url.scheme == "http" and not own and not self._policy.allow_http:
            raise AudioRefusedError(f"{label}: is plain http; give an https URL")
        host = ascii_host(url)
        try:
            addresses = [host] if is_address(host) else self._resolve(host, url.port or _PORTS[url.scheme])
        except (OSError, UnicodeError) as error:
            raise _BrokeOffError("the name cannot be resolved") from error
        if not addresses:
            raise _BrokeOffError("the name has no address")
        free = own or self._policy.allow_private
        if not free and not all(address_allowed(address) for address in addresses):
            raise AudioRefusedError(
                f"{label}: leads to a private or reserved address; give a public one, or allow its origin"
            )
        return addresses

    def _begun(self, response: httpx2.Response, sink: Sink, version: _Version | None) -> _Version:
        """Check the head of an answer and bring the sink to where its body begins."""
        status = response.status_code
        if status in _WORTH_ANOTHER_TRY:
            raise _BrokeOffError(f"HTTP {status}")
        if status == 416 and sink.size_bytes:
            sink.restart()
            raise _BrokeOffError("the server could not resume")
        if status not in (200, 206):
            raise AudioUnreachableError(
                f"{self._watch.label}: the server answered HTTP {status}; check that the URL is right and has not "
                "expired",
                retryable=False,
            )
        if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise AudioRefusedError(f"{self._watch.label}: comes compressed although that was not asked for")
        if status == 206:
            if version is None or _resumed(response, sink.size_bytes) != version:
                sink.restart()
                raise _BrokeOffError("it changed while it was fetched")
        else:
            sink.restart()
            version = _Version(_validator(response), _length(response))
        sink.announce(version.total)
        return version

    def _copied(self, response: httpx2.Response, sink: Sink, version: _Version) -> None:
        try:
            for piece in response.iter_raw():
                sink.write(piece, version.total)
        except httpx2.TransportError as error:
            raise _BrokeOffError(_plain(error)) from error
        if version.total is not None and sink.size_bytes != version.total:
            raise _BrokeOffError(f"{sink.size_bytes} of {version.total} bytes came")


def _parsed(reference: str, label: str) -> httpx2.URL:
    try:
        return httpx2.URL(reference)
    except (httpx2.InvalidURL, ValueError) as error:
        raise AudioError(f"{label}: is not a valid URL; give an https URL") from error


def _validator(response: httpx2.Response) -> str:
    etag = str(response.headers.get("etag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return "" if etag else str(response.headers.get("last-modified", ""))


def _length(response: httpx2.Response) -> int | None:
    text = str(response.headers.get("content-length", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _resumed(response: httpx2.Response, begin: int) -> _Version | None:
    """The version that a 206 continues, or None when it does not continue at `begin`."""
    unit, _, span = str(response.headers.get("content-range", "")).partition(" ")
    first, _, rest = span.partition("-")
    total = rest.partition("/")[2]
    if unit.lower() != "bytes" or first != str(begin):
        return None
    return _Version(_validator(response), int(total) if total.isascii() and total.isdigit() else None)


def _name(url: httpx2.URL) -> str:
    """The last part of the path, fit for a message or a file name."""
    last = unquote(url.path.rstrip("/").rpartition("/")[2]).replace("/", "_").replace("\\", "_")
    return "".join(char for char in last if char.isprintable()).strip(". ")[:120] or url.host


def _plain(error: Exception | None) -> str:
    """What happened in the network, in words; the exception's own text may hold addresses."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "the server fell silent"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    return "the connection broke"
