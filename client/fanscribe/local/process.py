"""Start, find and stop a platform process. Imports neither the server nor its libraries."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from types import MappingProxyType, TracebackType
from typing import Any, Self

from fanscribe.local.images import ImageRule
from fanscribe.local.spec import EndpointSpec

STATE_FILE = "local.json"
LOCK_FILE = "local.lock"
KEY_VARIABLE = "FANSCRIBE_LOCAL_KEY"
ANY_KEY = ""


class PlatformError(RuntimeError):
    """The platform could not be started or reached; the message says why."""


class PortInUseError(PlatformError):
    """Another program listens on the port."""


class NotAnsweringError(PlatformError):
    """The platform of the state file runs and does not answer; `platform` can be stopped all the same."""

    def __init__(self, platform: "RunningPlatform") -> None:
        super().__init__(
            f"the local platform at {platform.url} (process {platform.pid}) runs but does not answer: wait, or end"
            " it with: fanscribe local down"
        )
        self.platform = platform


@dataclass(slots=True, eq=False)
class RunningPlatform:
    """A platform that answers at `url` for whoever sends `key`."""

    url: str
    key: str
    pid: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _state_file: Path | None = field(default=None, repr=False)
    mark: str = ""
    """When its process started, in the kernel's ticks: tells it from a later one of the same id."""

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return _alive(self.pid) and (not self.mark or _start_of(self.pid) in ("", self.mark))

    def status(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """What the platform shows of itself. Raises PlatformError when it does not answer."""
        answer: dict[str, Any] = self._call("GET", "/local/status", timeout_s)
        return answer

    def logs(self, timeout_s: float = 5.0) -> list[dict[str, str]]:
        """`endpoint` and `path` of each worker's log, the last changed last. Raises PlatformError."""
        answer: list[dict[str, str]] = self._call("GET", "/local/logs", timeout_s)
        return answer

    def wait(self) -> int:
        """Wait for the end of a platform that this process started attached; returns its exit code."""
        return 0 if self._process is None else self._process.wait()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the platform and its workers; returns when its process is gone. Safe to call again."""
        if self._process is not None:
            self._stop_child(self._process, timeout_s)
        else:
            deadline = time.monotonic() + timeout_s
            with contextlib.suppress(PlatformError):
                self._call("POST", "/local/shutdown", timeout_s)
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.02)
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)  # its reaper ends the workers
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
    specs: Sequence[EndpointSpec] = (),
    *,
    images: Sequence[ImageRule] = (),
    secrets: Mapping[str, str] = MappingProxyType({}),
    worker_limit: int | None = None,
    port: int = 0,
    data_dir: Path | None = None,
    detach: bool = False,
    key: str | None = None,
    ram_limit_bytes: int | None = None,
    vram_limit_bytes: int | None = None,
    keep_results_s: float | None = None,
    rate_limits: bool = True,
    show_log: bool = False,
    log_level: str = "warning",
    timeout_s: float = 20.0,
) -> RunningPlatform:
    """Start a platform process for these endpoints and return once it answers.

    It ends with this process, however that ends, unless `detach` is set; a detached one is noted in the state
    file, so that `find` finds it. Without a `key` an attached platform gets a random one, and a detached one
    takes any, as does one whose key is ANY_KEY, unless FANSCRIBE_LOCAL_KEY sets one. Finished jobs are kept
    `keep_results_s` seconds in place of the platform's 1800 (60 for runsync). Without `rate_limits` it answers
    429 to nobody. With `images` the management API creates endpoints that run, and the platform has a key in
    any case; `secrets` are what environments may refer to, `worker_limit` bounds all workers together.
    `show_log` lets it log to this process's standard error.
    Raises PortInUseError, or PlatformError with what the platform said.
    """
    if key is None and not detach:
        key = token_urlsafe(24)
    key = key or os.environ.get(KEY_VARIABLE)
    if images and not key:
        key = token_urlsafe(24)
    config: dict[str, Any] = {"specs": [spec.to_json() for spec in specs], "key": key, "lifeline": not detach}
    config["management"] = {
        "images": [rule.to_json() for rule in images],
        "secrets": dict(secrets),
        "worker_limit": worker_limit,
    }
    # -P: files of the folder we happen to be in must not stand in for modules.
    command = [sys.executable, "-P", "-m", "fanscribe.local", "--config-stdin", "--port", str(port)]
    command += ["--log-level", log_level]
    if not rate_limits:
        command.append("--no-rate-limits")
    for option, value in (
        ("--data-dir", data_dir),
        ("--ram-limit", ram_limit_bytes),
        ("--vram-limit", vram_limit_bytes),
        ("--keep-results", keep_results_s),
    ):
        if value is not None:
            command += [option, str(value)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if show_log else errors,
            bufsize=0,
            start_new_session=True,
        )
        try:
            said = _first_words(process, config, timeout_s)
            if "error" in said:
                process.wait()
                errors.seek(0)
                raise _start_error(said, errors.read().decode("utf-8", "replace"))
            running = RunningPlatform(said["url"], key or "local", said["pid"], process)
            running.mark = _start_of(running.pid)
            if detach:
                running._state_file = write_state(running)
        except BaseException:
            # Ctrl-C included: a detached platform that is in no state file could not be found again.
            process.kill()
            process.wait()
            _close_pipes(process)
            raise
    if detach:
        _close_pipes(process)
        running._process = None
        # It outlives us on purpose, so Popen has nothing to warn of.
        process.returncode = 0
    return running


def find() -> RunningPlatform | None:
    """The platform that was started detached and still runs; None when there is none.

    Raises NotAnsweringError when it runs and does not answer.
    """
    path = state_dir() / STATE_FILE
    try:
        said = json.loads(path.read_bytes())
        found = RunningPlatform(said["url"], said["key"], int(said["pid"]), None, path, said.get("mark", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        answers = found.status(2.0)["pid"] == found.pid
    except PlatformError:
        answers = False
    if not answers:
        # One that has just been stopped is gone in a moment.
        patience_ends = time.monotonic() + 0.5
        while found.mark and found.alive:
            if time.monotonic() > patience_ends:
                raise NotAnsweringError(found)
            time.sleep(0.02)
        if found.mark or not _alive(found.pid):
            path.unlink(missing_ok=True)
        return None
    return found


def elsewhere(environment: Mapping[str, str]) -> RunningPlatform | None:
    """A platform that others run, as in a container: FANSCRIBE_LOCAL_URL, and FANSCRIBE_LOCAL_KEY."""
    url = environment.get("FANSCRIBE_LOCAL_URL", "").rstrip("/")
    return RunningPlatform(url, environment.get(KEY_VARIABLE) or "local", 0) if url else None


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold off other starts of this user: between `find` and the state file nobody else may start one.

    Raises PlatformError when the state folder cannot be written.
    """
    folder = state_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def state_dir() -> Path:
    """The folder of the state file: FANSCRIBE_STATE_DIR, else the user's own state folder."""
    chosen = os.environ.get("FANSCRIBE_STATE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_state_dir("fanscribe"))


def write_state(platform: RunningPlatform) -> Path:
    """Note a running platform where `find` looks, readable by its owner only. Raises PlatformError."""
    folder = state_dir()
    path, text = (
        folder / STATE_FILE,
        json.dumps({"url": platform.url, "key": platform.key, "pid": platform.pid, "mark": platform.mark}),
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(error) from error
    return path


def _unwritable(error: OSError) -> PlatformError:
    return PlatformError(
        f"the state file cannot be written in {state_dir()} ({error.strerror or error}): set "
        "FANSCRIBE_STATE_DIR to a folder of yours"
    )


def _first_words(
    process: subprocess.Popen[bytes], config: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """Hand over the configuration and read the line that says where the platform listens, or what is wrong."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(config).encode() + b"\n")
    deadline, line = time.monotonic() + timeout_s, b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise PlatformError(f"the local platform was not ready after {timeout_s:g} s")
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            return {"error": "", "kind": "silent"}
        line += part
    words: dict[str, Any] = json.loads(line)
    return words


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _start_error(said: dict[str, Any], log: str) -> PlatformError:
    if said["kind"] == "port_in_use":
        return PortInUseError(said["error"])
    last = log.strip().splitlines()[-1] if log.strip() else "it ended without a word"
    return PlatformError(f"the local platform did not start: {said['error'] or last}")


def _start_of(pid: int) -> str:
    """When a process started, in ticks; empty where the system does not show it."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # One that has ended but that its parent has not asked about yet is gone for our purposes.
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
