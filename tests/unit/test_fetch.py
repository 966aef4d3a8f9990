"""Fetching over real loopback servers: limits, redirects, pinned addresses, resumption, and no secret told."""

import datetime
import hashlib
import io
import ipaddress
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from fanscribe.contracts.errors import AudioError, AudioRefusedError, AudioUnreachableError, StoppedError
from fanscribe.fetch import FetchPolicy, address_allowed, fetch

BODY = bytes(range(256)) * 2000
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the path, and keeps what was asked."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.answers[self.path.partition("?")[0]](self)

    def reply(self, status: int, body: bytes = b"", cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """The test's output stays clean."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Answer] = {"/talk.mp3": lambda handler: handler.reply(200, BODY)}
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of these tests."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def policy(server: Server) -> FetchPolicy:
    return FetchPolicy(allowed_origins=(server.origin,))


def no_sleep(seconds: float) -> None:
    assert 0 <= seconds < 60


def test_a_file_is_written_counted_and_hashed(server: Server, policy: FetchPolicy) -> None:
    target = io.BytesIO(b"kept")
    target.seek(4)
    shares: list[float] = []
    done = fetch(f"{server.origin}/talk.mp3?token=s3cret", target, policy, on_progress=shares.append)
    assert target.getvalue() == b"kept" + BODY
    assert (done.size_bytes, done.name) == (len(BODY), "talk.mp3")
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    asked = server.asked[0][1]
    assert asked["Host"] == server.origin.removeprefix("http://")
    assert asked["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("http://93.184.216.34/a.mp3", "is plain http"),
        ("https://127.0.0.1/a.mp3", "private or reserved"),
        ("https://[::1]/a.mp3", "private or reserved"),
        ("https://[::ffff:10.0.0.1]/a.mp3", "private or reserved"),
        ("https://169.254.169.254/latest/meta-data", "private or reserved"),
        ("https://2130706433/a.mp3", "private or reserved"),
        ("https://user:pass@93.184.216.34/a.mp3", "holds a user or password"),
        ("ftp://93.184.216.34/a.mp3", "give an https URL"),
        ("file:///etc/passwd", "give an https URL"),
        ("/etc/passwd", "give an https URL"),
        ("concat:/etc/passwd", "give an https URL"),
    ],
)
def test_refused_before_anything_is_sent(reference: str, text: str) -> None:
    def resolver(host: str, port: int) -> list[str]:
        assert host == "2130706433"  # the system reads such a number as 127.0.0.1
        return ["127.0.0.1"]

    with pytest.raises(AudioRefusedError, match=text) as caught:
        fetch(reference, io.BytesIO(), resolver=resolver)
    assert "pass@" not in str(caught.value)


def test_one_private_address_among_several_is_enough_to_refuse() -> None:
    with pytest.raises(AudioRefusedError, match="private or reserved"):
        fetch(
            "https://example.org/a.mp3",
            io.BytesIO(),
            resolver=lambda host, port: ["93.184.216.34", "10.0.0.7"],
        )


def test_the_name_is_resolved_once_and_the_connection_goes_to_that_address(server: Server) -> None:
    looked_up: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        looked_up.append(host)
        assert len(looked_up) == 1
        return ["127.0.0.1"]

    policy = FetchPolicy(allow_http=True, allow_private=True)
    fetch(f"http://talks.example:{server.server_port}/talk.mp3", io.BytesIO(), policy, resolver=resolver)
    assert looked_up == ["talks.example"]
    assert server.asked[0][1]["Host"] == f"talks.example:{server.server_port}"


def redirect(place: str, status: int = 302) -> Answer:
    return lambda handler: handler.reply(status, Location=place)


def test_redirects_are_followed_within_an_allowed_origin(server: Server, policy: FetchPolicy) -> None:
    server.answers["/old"] = redirect("/older", 301)
    server.answers["/older"] = redirect(f"{server.origin}/talk.mp3", 307)
    assert fetch(f"{server.origin}/old", io.BytesIO(), policy).size_bytes == len(BODY)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("https://10.1.2.3/a.mp3?sig=s3cret", "private or reserved"),
        ("http://93.184.216.34/a.mp3", "is plain http"),
        ("https://me:s3cret@93.184.216.34/a.mp3", "user or password"),
        ("file:///etc/passwd", "give an https URL"),
        ("https://93.184.216.34:port/a.mp3", "no URL"),
    ],
)
def test_each_redirect_is_checked_again(server: Server, policy: FetchPolicy, place: str, text: str) -> None:
    server.answers["/old"] = redirect(place)
    with pytest.raises(AudioRefusedError, match=text) as caught:
        fetch(f"{server.origin}/old?key=s3cret", io.BytesIO(), policy)
    assert "s3cret" not in str(caught.value)


def answering(routes: dict[str, httpx2.Response]) -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda request: routes[f"{request.url.scheme}:{request.headers['host']}"])


def public(host: str, port: int) -> list[str]:
    return ["93.184.216.34"]


def test_a_redirect_from_outside_never_leads_into_an_allowed_origin(server: Server) -> None:
    inside = httpx2.Response(302, headers={"Location": f"{server.origin}/talk.mp3"})
    policy = FetchPolicy(allow_http=True, allowed_origins=(server.origin,))
    transport = answering({"http:talks.example": inside})
    with pytest.raises(AudioRefusedError, match="into this machine"):
        fetch("http://talks.example/a", io.BytesIO(), policy, resolver=public, transport=transport)
    assert server.asked == []


def test_https_is_never_left_for_http() -> None:
    plain = httpx2.Response(302, headers={"Location": "http://talks.example/b"})
    policy = FetchPolicy(allow_http=True)
    transport = answering({"https:talks.example": plain})
    with pytest.raises(AudioRefusedError, match="only https is followed"):
        fetch("https://talks.example/a", io.BytesIO(), policy, resolver=public, transport=transport)


def test_endless_redirects_end(server: Server, policy: FetchPolicy) -> None:
    server.answers["/round"] = redirect("/round")
    with pytest.raises(AudioRefusedError, match="redirects more than 5 times"):
        fetch(f"{server.origin}/round", io.BytesIO(), policy)
    assert len(server.asked) == 6


def test_a_size_above_the_limit_is_refused_by_its_announcement_and_by_count(server: Server) -> None:
    policy = FetchPolicy(max_bytes=1000, allowed_origins=(server.origin,))
    target = io.BytesIO()
    with pytest.raises(AudioRefusedError, match="larger than the 1,000 bytes"):
        fetch(f"{server.origin}/talk.mp3", target, policy)
    assert target.getvalue() == b""

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(BODY)

    server.answers["/endless"] = endless
    with pytest.raises(AudioRefusedError, match="larger than the 1,000 bytes"):
        fetch(f"{server.origin}/endless", target, policy)
    assert len(target.getvalue()) <= 1000
    with pytest.raises(AudioRefusedError, match="the data: URI: is larger"):
        fetch("data:," + "a" * 1001, io.BytesIO(), policy)


def breaking(etags: list[str], served: list[str | None]) -> Answer:
    """Breaks off after half of what is asked; each connection sees the next ETag."""

    def answer(handler: Handler) -> None:
        etag = etags[min(len(served), len(etags) - 1)]
        span = handler.headers.get("Range")
        served.append(span)
        last = len(served) == 3
        if span is not None and handler.headers.get("If-Range") == etag:
            begin = int(span.removeprefix("bytes=").rstrip("-"))
            rest = BODY[begin:]
            place = f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}"
            handler.reply(206, rest, None if last else len(rest) // 2, ETag=etag, Content_Range=place)
        else:
            handler.reply(200, BODY, None if last else len(BODY) // 2, ETag=etag)

    return answer


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, policy: FetchPolicy) -> None:
    served: list[str | None] = []
    server.answers["/talk.mp3"] = breaking(['"v1"'], served)
    target = io.BytesIO()
    done = fetch(f"{server.origin}/talk.mp3", target, policy, sleep=no_sleep)
    assert target.getvalue() == BODY
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    assert served[0] is None
    assert all(span is not None and span != "bytes=0-" for span in served[1:])


def test_parts_of_two_versions_are_never_joined(server: Server, policy: FetchPolicy) -> None:
    served: list[str | None] = []
    server.answers["/talk.mp3"] = breaking(['"v1"', '"v2"'], served)
    target = io.BytesIO()
    fetch(f"{server.origin}/talk.mp3", target, policy, sleep=no_sleep)
    assert target.getvalue() == BODY

    def lying(handler: Handler) -> None:
        """Continues another version although the request said which one it must be."""
        span = handler.headers.get("Range")
        if span is None and not tries:
            handler.reply(200, b"x" * 1000, 500, ETag='"v1"')
        elif span is not None:
            handler.reply(206, b"y" * 500, ETag='"v2"', Content_Range="bytes 500-999/1000")
        else:
            handler.reply(200, b"z" * 1000, ETag='"v2"')
        tries.append(span)

    tries: list[str | None] = []
    server.answers["/lying"] = lying
    target = io.BytesIO()
    fetch(f"{server.origin}/lying", target, policy, sleep=no_sleep)
    assert target.getvalue() == b"z" * 1000


def test_attempts_are_bounded_and_the_error_can_be_retried(server: Server, policy: FetchPolicy) -> None:
    server.answers["/busy"] = lambda handler: handler.reply(503)
    with pytest.raises(
        AudioUnreachableError, match=r"/busy: could not be fetched \(HTTP 503\), after 4"
    ) as caught:
        fetch(f"{server.origin}/busy?key=s3cret", io.BytesIO(), policy, sleep=no_sleep)
    assert caught.value.retryable
    assert len(server.asked) == 4
    assert "s3cret" not in str(caught.value)


def test_not_found_is_final(server: Server, policy: FetchPolicy) -> None:
    server.answers["/gone"] = lambda handler: handler.reply(404)
    with pytest.raises(AudioUnreachableError, match="HTTP 404") as caught:
        fetch(f"{server.origin}/gone", io.BytesIO(), policy, sleep=no_sleep)
    assert not caught.value.retryable
    assert len(server.asked) == 1


def test_nobody_there_and_no_such_name(server: Server) -> None:
    with Server() as other:
        closed = other.origin
    policy = FetchPolicy(allowed_origins=(closed,))
    with pytest.raises(AudioUnreachableError, match="no connection"):
        fetch(f"{closed}/talk.mp3", io.BytesIO(), policy, sleep=no_sleep)

    def nowhere(host: str, port: int) -> list[str]:
        raise OSError("unknown")

    with pytest.raises(AudioUnreachableError, match="cannot be resolved"):
        fetch("https://nowhere.example/a", io.BytesIO(), resolver=nowhere, sleep=no_sleep)


def test_the_total_time_is_bounded_by_the_clock(server: Server) -> None:
    now = iter(range(0, 100_000, 40))
    policy = FetchPolicy(total_timeout_s=100, allowed_origins=(server.origin,))
    with pytest.raises(AudioUnreachableError, match="not fetched within 100 s"):
        fetch(f"{server.origin}/talk.mp3", io.BytesIO(), policy, clock=lambda: float(next(now)))


def test_stopping(server: Server, policy: FetchPolicy) -> None:
    told: list[float] = []
    with pytest.raises(StoppedError):
        fetch(
            f"{server.origin}/talk.mp3",
            io.BytesIO(),
            policy,
            on_progress=told.append,
            stopped=lambda: bool(told),
        )
    assert told[-1] < 1.0


def test_a_compressed_body_is_refused(server: Server, policy: FetchPolicy) -> None:
    server.answers["/bomb"] = lambda handler: handler.reply(200, b"x", Content_Encoding="gzip")
    with pytest.raises(AudioRefusedError, match="comes compressed"):
        fetch(f"{server.origin}/bomb", io.BytesIO(), policy)


def test_proxies_and_netrc_are_ignored_and_no_log_holds_the_query(
    server: Server,
    policy: FetchPolicy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)
    fetch(f"{server.origin}/talk.mp3?X-Amz-Signature=s3cret", io.BytesIO(), policy)
    assert "Authorization" not in server.asked[0][1]
    assert "s3cret" not in caplog.text


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for a server that is `name` and for a client that trusts it alone."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificate of this test")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    return serving, ssl.create_default_context(cafile=str(pem))


def test_the_certificate_is_checked_by_name_although_the_address_is_pinned(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, "talks.example")
    policy = FetchPolicy(allow_private=True, attempts=1)
    with Server() as server:
        server.socket = serving.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with httpx2.HTTPTransport(verify=trusting) as transport:
                for name in ("talks.example", "others.example"):
                    url = f"https://{name}:{server.server_port}/talk.mp3"
                    target = io.BytesIO()

                    def call(url: str = url, target: io.BytesIO = target) -> None:
                        fetch(url, target, policy, resolver=lambda *_: ["127.0.0.1"], transport=transport)

                    if name == "talks.example":
                        call()
                        assert target.getvalue() == BODY
                    else:
                        with pytest.raises(AudioUnreachableError, match="certificate cannot be trusted"):
                            call()
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("data:audio/flac;base64", "has no comma"),
        ("data:audio/flac;base64,!!!!", "is not valid base64"),
        ("data:audio/flac;base64,", "carries no bytes"),
    ],
)
def test_broken_inline_audio(reference: str, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        fetch(reference, io.BytesIO())


def test_s3_objects_come_through_boto3(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.origin)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.answers["/calls/monday/talk.mp3"] = lambda handler: handler.reply(200, BODY, ETag='"v1"')
    server.answers["/calls/gone"] = lambda handler: handler.reply(404)
    target = io.BytesIO()
    done = fetch("s3://calls/monday/talk.mp3", target)
    assert (target.getvalue(), done.name) == (BODY, "talk.mp3")
    with pytest.raises(AudioUnreachableError, match=r"^s3://calls/gone: the bucket refused it"):
        fetch("s3://calls/gone", io.BytesIO())
    with pytest.raises(AudioRefusedError, match="larger than the 10 bytes"):
        fetch("s3://calls/monday/talk.mp3", io.BytesIO(), FetchPolicy(max_bytes=10))


def test_s3_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(AudioRefusedError, match=r"pip install 'fanscribe\[s3\]'"):
        fetch("s3://calls/talk.mp3", io.BytesIO())


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("198.18.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("2001::1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("::ffff:169.254.169.254", False),
        ("localhost", False),
    ],
)
def test_addresses(address: str, allowed: bool) -> None:
    assert address_allowed(address) is allowed
    if allowed:
        assert address_allowed(ipaddress.ip_address(address))
