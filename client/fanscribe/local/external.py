"""`python -m fanscribe.local.external`: run a worker, in a container of its own, for a platform elsewhere.

python -m fanscribe.local.external --url http://platform:8008 --endpoint echo python my_handler.py

It waits for the platform, starts the command with what the SDK needs to find it, and ends as the command ends. Told
to end (SIGTERM, as when a container or a spot machine goes), it first takes leave: the platform gives the worker no
more jobs and answers the requests that it holds open. Only then the worker is told, finishes what it has and ends.
The SDK alone would go on holding its request for up to half a minute, and drop a job that it is given in that time.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from uuid import uuid4

from fanscribe.local.process import KEY_VARIABLE
from fanscribe.local.worker_environment import worker_environment

_ASK_AGAIN_S = 1.0
_TIMEOUT_S = 5.0

LEAVE_S = 0.5
"""Seconds between the leave and the signal: time for the worker to begin a job that was under way to it."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker; returns its exit code, 128 and the signal's number where a signal ended it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("name the command that starts the worker")
    key = os.environ.get(KEY_VARIABLE) or "local"
    url, worker_id = options.url.rstrip("/"), uuid4().hex[:14]
    told = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if not wait_until_up(url, told):
        return 0
    process = subprocess.Popen(
        options.command, env=environment(os.environ, url, options.endpoint, worker_id, key)
    )
    while not told.wait(0.2):
        if (code := process.poll()) is not None:
            return code if code >= 0 else 128 - code
    if take_leave(url, options.endpoint, worker_id, key):
        time.sleep(LEAVE_S)
    process.terminate()
    code = process.wait()
    return code if code >= 0 else 128 - code


def environment(
    given: Mapping[str, str], url: str, endpoint: str, worker_id: str, key: str
) -> dict[str, str]:
    """What the worker is started with: the container's own, without the platform's key under its other name."""
    own = {name: value for name, value in given.items() if name != KEY_VARIABLE}
    return own | worker_environment(url, endpoint, worker_id, key)


def wait_until_up(url: str, told: threading.Event, wait: Callable[[float], object] | None = None) -> bool:
    """Return True once the platform answers, False when told to end before.

    The SDK asks a platform that is not there again without a pause.
    """
    wait, silent = wait or told.wait, True
    while not told.is_set():
        try:
            with _opener.open(f"{url}/ping", timeout=_TIMEOUT_S):
                return True
        except (OSError, ValueError) as error:
            if silent:
                print(f"waiting for the platform at {url}: {error}", file=sys.stderr, flush=True)
                silent = False
        wait(_ASK_AGAIN_S)
    return False


def take_leave(url: str, endpoint: str, worker_id: str, key: str) -> bool:
    """Tell the platform that the worker takes no more jobs; False where it could not be told."""
    request = urllib.request.Request(  # noqa: S310 - http or https, as its options were checked
        f"{url}/v2/{endpoint}/job-leave/{worker_id}", method="POST", headers={"Authorization": key}
    )
    try:
        with _opener.open(request, timeout=_TIMEOUT_S):
            return True
    except OSError as error:
        print(f"the platform at {url} could not be told: {error}", file=sys.stderr, flush=True)
        return False


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write it like http://platform:8008")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fanscribe.local.external",
        description=f"Run a worker for a local platform elsewhere, whose key is in {KEY_VARIABLE}.",
    )
    parser.add_argument("--url", type=_url, required=True, help="the platform's address")
    parser.add_argument("--endpoint", required=True, help="the endpoint that it serves")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what starts the worker")
    return parser


if __name__ == "__main__":
    sys.exit(main())
