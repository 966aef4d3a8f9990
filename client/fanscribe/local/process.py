"""Start, find and stop a platform process. Imports neither the server nor its libraries."""

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fanscribe.local.spec import EndpointSpec

STATE_FILE = "local.json"


class PlatformError(RuntimeError):
    """The platform could not be started or reached; the message says why."""


class PortInUseError(PlatformError):
    """Another program listens on the port."""


@dataclass(slots=True, eq=False)
class RunningPlatform:
    """A platform that answers at `url` for whoever sends `key`."""

    url: str
    key: str
    pid: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _state_file: Path | None = field(default=None, repr=False)

    def status(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """What the platform shows of itself. Raises PlatformError when it does not answer."""
        answer: dict[str, Any] = self._call("GET", "/local/status", timeout_s)
        return answer

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the platform and its workers; returns when its process is gone. Safe to call again."""
        if self._process is not None:
            self._stop_child(self._process, timeout_s)
        else:
            with contextlib.suppress(PlatformError):
                self._call("POST", "/local/shutdown", timeout_s)
            deadline = time.monotonic() + timeout_s
            while _alive(self.pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._state_file is not None:
            self._state_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _stop_child(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        if process.stdin is not None:
            process.stdin.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                # Its reaper ends the workers.
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _call(self, method: str, path: str, timeout_s: float) -> Any:
        request = urllib.request.Request(  # noqa: S310 - always our own http URL
            self.url + path, method=method, headers={"Authorization": f"Bearer {self.key}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as response:
                return json.loads(response.read())
        except (OSError, ValueError) as error:
            raise PlatformError(f"the local platform at {self.url} does not answer: {error}") from error


def start(
    specs: Sequence[EndpointSpec],
    *,
    port: int = 0,
    data_dir: Path | None = None,
    detach: bool = False,
    key: str | None = None,
    ram_limit_bytes: int | None = None,
    vram_limit_bytes: int | None = None,
    log_level: str = "warning",
    timeout_s: float = 20.0,
) -> RunningPlatform:
    """Start a platform process for these endpoints and return once it answers.

    It ends with this process, however that ends, unless `detach` is set; a detached one is noted in the state
    file, so that `find` finds it. Without a `key` an attached platform gets a random one, and a detached one
    takes any. Raises PortInUseError, or PlatformError with what the platform said.
    """
    if key is None and not detach:
        key = secrets.token_urlsafe(24)
    config = {"specs": [spec.to_json() for spec in specs], "key": key, "lifeline": not detach}
    command = [sys.executable, "-m", "fanscribe.local", "--config-stdin", "--port", str(port)]
    command += ["--log-level", log_level]
    for option, value in (
        ("--data-dir", data_dir),
        ("--ram-limit", ram_limit_bytes),
        ("--vram-limit", vram_limit_bytes),
    ):
        if value is not None:
            command += [option, str(value)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(config).encode() + b"\n")
            if detach:
                process.stdin.close()
            line = _ready_line(process, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
            raise
        if not line:
            code = process.wait()
            process.stdin.close()
            process.stdout.close()
            errors.seek(0)
            raise _start_error(errors.read().decode("utf-8", "replace"), code, port)
    said = json.loads(line)
    running = RunningPlatform(said["url"], key or "local", said["pid"], process)
    if detach:
        process.stdout.close()
        running._process = None
        # The child outlives us; its exit status is nobody's business here.
        process.returncode = 0
        running._state_file = write_state(running)
    return running


def find() -> RunningPlatform | None:
    """The platform that was started detached and still runs; None when there is none."""
    path = state_dir() / STATE_FILE
    try:
        said = json.loads(path.read_bytes())
        found = RunningPlatform(said["url"], said["key"], int(said["pid"]), None, path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        answers = found.status(2.0)["pid"] == found.pid
    except PlatformError:
        answers = False
    if not answers:
        if not _alive(found.pid):
            path.unlink(missing_ok=True)
        return None
    return found


def state_dir() -> Path:
    """The folder of the state file: FANSCRIBE_STATE_DIR, else the user's own state folder."""
    chosen = os.environ.get("FANSCRIBE_STATE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_state_dir("fanscribe"))


def write_state(platform: RunningPlatform) -> Path:
    """Note a running platform where `find` looks, readable by its owner only."""
    folder = state_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, text = (
        folder / STATE_FILE,
        json.dumps({"url": platform.url, "key": platform.key, "pid": platform.pid}),
    )
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)
    return path


def _ready_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes:
    assert process.stdout is not None
    deadline, line = time.monotonic() + timeout_s, b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise PlatformError(f"the local platform was not ready after {timeout_s:g} s")
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            return b""
        line += part
    return line


def _start_error(said: str, code: int, port: int) -> PlatformError:
    last = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}, nothing said"
    if "cannot listen" in last:
        return PortInUseError(f"port {port} is in use; choose another with --port, or 0 for any free one")
    return PlatformError(f"the local platform did not start: {last.removeprefix('fanscribe.local: ')}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
