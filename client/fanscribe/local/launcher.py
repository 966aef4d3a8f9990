"""Worker processes: each in a process group of its own, with a log, ended as a group, watched by the reaper."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fanscribe.local import reaper
from fanscribe.local.secret import Secrets
from fanscribe.local.spec import EndpointSpec
from fanscribe.local.sweep import MARK, mark_of
from fanscribe.local.worker import Worker
from fanscribe.local.worker_environment import worker_environment

log = logging.getLogger("fanscribe.local")

_LOGS_KEPT = 50
_TAIL_LINES = 12
_TAIL_BYTES = 2000

Exited = Callable[[Worker, int | None], None]


@dataclass(slots=True, eq=False)
class _Process:
    worker: Worker
    process: asyncio.subprocess.Process | None
    task: asyncio.Task[None]
    doomed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it shall end before its process is there."""


class Launcher:
    """Starts and ends worker processes. `url` must be set before the first start."""

    def __init__(
        self,
        data_dir: Path,
        *,
        key: str | None,
        log_cap_bytes: int = 8 * 1024 * 1024,
        secrets: Secrets | None = None,
    ) -> None:
        self.url = ""
        self.secrets = secrets or Secrets()
        self._mark = mark_of(os.getpid())
        self.data_dir = data_dir
        self.logs = data_dir / "logs"
        self._key = key or "local"
        self._log_cap_bytes = log_cap_bytes
        self._processes: dict[str, _Process] = {}
        self._reaper: subprocess.Popen[bytes] | None = None
        self.logs.mkdir(parents=True, exist_ok=True)

    def open(self, temporary: bool) -> None:
        """Start the reaper, which ends the workers (and removes a temporary folder) if the platform dies.

        Homes of workers that an earlier platform left, killed with its reaper, are removed.
        """
        shutil.rmtree(self.data_dir / "workers", ignore_errors=True)
        command = [sys.executable, "-I", "-S", reaper.__file__, f"{MARK}={self._mark}"]
        if temporary:
            command.append(str(self.data_dir))
        self._reaper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def start(self, spec: EndpointSpec, worker: Worker, exited: Exited, delay_s: float = 0.0) -> None:
        """Start a worker's process in the background; `exited` is called once when it is gone."""
        entry = _Process(worker, None, asyncio.current_task())  # type: ignore[arg-type]
        self._processes[worker.id] = entry
        entry.task = asyncio.create_task(self._run(spec, entry, exited, delay_s))

    def end(self, worker: Worker, grace_s: float) -> None:
        """Ask a worker's process to end; end its group by force after `grace_s` seconds."""
        entry = self._processes.get(worker.id)
        if entry is None:
            return
        if entry.process is None:
            entry.doomed.set()
            return
        if grace_s <= 0:
            _signal_group(entry.process.pid, signal.SIGKILL)
            return
        # To the leader alone: it takes its heartbeat with it when it ends in order.
        with contextlib.suppress(ProcessLookupError):
            entry.process.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace_s, self._kill_if_alive, entry)

    async def end_all(self) -> None:
        """End all processes at once, by force, and return when they are gone."""
        entries = list(self._processes.values())
        for entry in entries:
            entry.doomed.set()
            if entry.process is not None:
                _signal_group(entry.process.pid, signal.SIGKILL)
        if entries:
            await asyncio.wait([entry.task for entry in entries], timeout=5)

    async def close(self) -> None:
        """End all processes and the reaper."""
        await self.end_all()
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            await asyncio.to_thread(self._reaper.wait)

    def last_lines(self, worker: Worker) -> str:
        """The end of a worker's log, for an error message."""
        try:
            with self.log_file(worker).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return self.secrets.hidden(" | ".join(line.strip() for line in lines[-_TAIL_LINES:] if line.strip()))

    def log_file(self, worker: Worker) -> Path:
        """Where a worker's output is kept."""
        return self.logs / f"{worker.endpoint}.{worker.id}.log"

    def trim_logs(self) -> None:
        """Cut logs that have grown over the cap down to their last half; remove the oldest of past workers."""
        alive = {self.log_file(entry.worker) for entry in list(self._processes.values())}
        past: dict[str, list[tuple[float, Path]]] = defaultdict(list)
        for path in self.logs.glob("*.*.log"):
            with contextlib.suppress(OSError):
                if path not in alive:
                    past[path.stem.rpartition(".")[0]].append((path.stat().st_mtime, path))
        for logs in past.values():
            for _, path in sorted(logs)[:-_LOGS_KEPT]:
                path.unlink(missing_ok=True)
        for path in self.logs.glob("*.log"):
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                if size > self._log_cap_bytes:
                    with path.open("r+b") as file:
                        file.seek(size - self._log_cap_bytes // 2)
                        kept = file.read()
                        file.truncate(0)
                        file.seek(0)
                        file.write(b"[the beginning of this log was cut]\n" + kept)

    async def _run(self, spec: EndpointSpec, entry: _Process, exited: Exited, delay_s: float) -> None:
        worker, code = entry.worker, None
        home = self.data_dir / "workers" / worker.id
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry.doomed.wait(), delay_s)
                return
            try:
                process = await self._spawn(spec, worker, home)
            except OSError as error:
                where = error.filename or spec.command[0]
                worker.note = f"cannot start {where}: {error.strerror or error}"
                return
            entry.process = process
            worker.pid = process.pid
            self._tell_reaper(f"+{process.pid}")
            if entry.doomed.is_set():
                _signal_group(process.pid, signal.SIGKILL)
            code = await process.wait()
            # The SDK's heartbeat outlives a leader that died: the group ends with it.
            _signal_group(process.pid, signal.SIGKILL)
            self._tell_reaper(f"-{process.pid}")
        finally:
            self._processes.pop(worker.id, None)
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
            exited(worker, code)

    async def _spawn(self, spec: EndpointSpec, worker: Worker, home: Path) -> asyncio.subprocess.Process:
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        with self.log_file(worker).open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *spec.command,
                env=self._environment(spec, worker, home),
                cwd=spec.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self, spec: EndpointSpec, worker: Worker, home: Path) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
        ours = {
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PYTHONUNBUFFERED": "1",
            MARK: self._mark,
            **worker_environment(self.url, spec.name, worker.id, self._key),
        }
        given = {
            name: value.replace("{url}", self.url).replace("{key}", self._key)
            for name, value in spec.env.items()
        }
        container = {
            name: self.secrets.resolved(value)
            for name, value in spec.container_env.items()
            if name not in ours
        }
        return {**clean, **ours, **given, **container}

    def _kill_if_alive(self, entry: _Process) -> None:
        if entry.process is not None and entry.process.returncode is None:
            _signal_group(entry.process.pid, signal.SIGKILL)

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._reaper.stdin.write(f"{line}\n".encode())
                self._reaper.stdin.flush()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
