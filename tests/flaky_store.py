"""An S3 endpoint on loopback that serves one object and misbehaves as it is told: for tests of downloads."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(slots=True)
class Turn:
    """How one request is answered: after `cut` bytes of the body the connection breaks (None: it does not)."""

    cut: int | None = None
    status: int | None = None
    code: str = ""
    etag: str = '"v1"'
    heeds_range: bool = True
    heeds_match: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class FlakyStore(ThreadingHTTPServer):
    """`turns` are taken one a request; the last one stays. `asked` are the paths and headers of the requests.

    `body` is what every version holds that is not among the `versions`, bodies by ETag.
    """

    daemon_threads = True

    def __init__(self, body: bytes, *turns: Turn, versions: Mapping[str, bytes] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.versions = dict(versions or {})
        self.turns = list(turns) or [Turn()]
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.on_request: Callable[[], None] = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def turn(self) -> Turn:
        """How the next request is answered."""
        return self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    server: FlakyStore

    def do_GET(self) -> None:
        turn = self.server.turn()
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.on_request()
        wanted = self.headers.get("If-Match")
        if turn.status is not None:
            self._refuse(turn.status, turn.code)
        elif wanted is not None and turn.heeds_match and wanted != turn.etag:
            self._refuse(412, "PreconditionFailed")
        else:
            self._give(turn)

    def _give(self, turn: Turn) -> None:
        whole, span = self.server.versions.get(turn.etag, self.server.body), self.headers.get("Range")
        begin = int(span.removeprefix("bytes=").rstrip("-")) if span and turn.heeds_range else 0
        body = whole[begin:]
        self.send_response(206 if span and turn.heeds_range else 200)
        headers = {"Content-Length": str(len(body)), "ETag": turn.etag, "Connection": "close"} | turn.headers
        if span and turn.heeds_range:
            headers["Content-Range"] = f"bytes {begin}-{len(whole) - 1}/{len(whole)}"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: turn.cut])
        self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """The test's output stays clean."""
