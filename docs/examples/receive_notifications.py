"""A receiver of fanscribe's notifications: checks who sent each, and takes each event once.

    FANSCRIBE_NOTIFY_SECRET=… python receive_notifications.py --port 8765 --folder events

Every event becomes a file of that folder. Needs the standard library alone; put a server that speaks TLS before it.
"""

import argparse
import contextlib
import hashlib
import hmac
import json
import os
import re
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOLERANCE_S = 300
"""A signature that is older, or further in the future, is refused: nobody can send an old request again."""

LARGEST_BYTES = 5_000_000

_SIGNATURE = re.compile(r"t=(\d{1,12}),v0=([0-9a-f]{64})")
_EVENT = re.compile(r"evt_[0-9a-f]{32}")


def genuine(secret: bytes, header: str, body: bytes, now: float) -> bool:
    """Whether the holder of the secret signed this body in the last minutes. `now`: seconds since 1970."""
    found = _SIGNATURE.fullmatch(header.strip())
    if found is None or abs(now - int(found[1])) > TOLERANCE_S:
        return False
    wanted = hmac.new(secret, found[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, found[2])


def keep(folder: Path, body: bytes) -> bool:
    """Keep an event as a file, whole or not at all; False for one that is there already.

    Notifications come at least once: the same event may come again, and always has the same id.
    """
    event = json.loads(body)
    if not _EVENT.fullmatch(event["id"]):
        raise ValueError("not an event's id")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, folder / f"{event['id']}.json")
        except FileExistsError:
            return False
    return True


def server(address: tuple[str, int], secret: bytes, folder: Path) -> ThreadingHTTPServer:
    """An HTTP server that takes notifications at any path."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds without a byte

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LARGEST_BYTES:
                self._end(413)
                return
            body = self.rfile.read(int(length))
            if not genuine(secret, self.headers.get("Fanscribe-Signature", ""), body, time.time()):
                self._end(401)
                return
            try:
                new = keep(folder, body)
            except (ValueError, KeyError, TypeError):
                self._end(400)
                return
            except OSError:
                self._end(503)  # it comes again
                return
            if new:
                event = json.loads(body)
                print(f"{event['event']}: job {event['job_id']}", flush=True)
            self._end(204)

        def _end(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(address, Handler)


def main() -> None:
    """Take notifications until Ctrl-C."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--folder", type=Path, default=Path("events"))
    options = parser.parse_args()
    secret = os.environ.get("FANSCRIBE_NOTIFY_SECRET", "")
    if not secret:
        sys.exit("set FANSCRIBE_NOTIFY_SECRET to the secret of the orchestrator's endpoint")
    options.folder.mkdir(parents=True, exist_ok=True)
    with server((options.host, options.port), secret.encode(), options.folder) as listening:
        print(f"listening on http://{options.host}:{listening.server_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            listening.serve_forever()


if __name__ == "__main__":
    main()
