"""A worker: takes jobs from the platform through its SDK, has the engine do them, gives answers back.

`serve` is what an engine family's `__main__` calls. The engine, one job at a time, runs in a thread, so that
the SDK's event loop stays free for pings and for the platform's word that a job is to stop.

Stopping a job. A cancelled job's engine is told through `Context.cancelled` and looks between its calls into
native code, which nothing can interrupt. Where such a call takes longer than `GRACE_S`, the process ends
itself, so that no more engine seconds are spent on work that nobody wants; the platform starts a fresh worker
when one is needed. Until the engine has stopped the cancelled job counts as held, so the SDK takes no other in
its place. A worker that does hold a second job (it was told to prefetch) stays, because ending would take
that job with it: it waits for the engine's next look.
"""

import asyncio
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fanscribe import logs
from fanscribe.contracts.errors import (
    AudioError,
    AudioRefusedError,
    AudioUnreachableError,
    ErrorCode,
    StoppedError,
    UsageError,
)
from fanscribe.contracts.task import Progress, Provenance, TaskInput, Timing
from fanscribe.contracts.variant import Variant
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.fetch import FetchPolicy, fetch
from fanscribe.job_input import Refused
from fanscribe.media import Decoded, decode
from fanscribe.pipeline.merge import shift
from fanscribe.worker_environment import SettingsError
from fanscribe_handlers.answers import answer, failure, read_input, refuse_unserved
from fanscribe_handlers.engine import Cancelled, Context, Engine, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.fitness import checks
from fanscribe_handlers.loading import Loading
from fanscribe_handlers.models import ModelMissing, Places, locate, offline_where_stored
from fanscribe_handlers.reporting import Reports, Send
from fanscribe_handlers.room import ram_bytes, refuse_too_little_room, vram_bytes
from fanscribe_handlers.settings import Settings

GRACE_S = 0.8
"""Seconds that a cancelled job's engine has to stop by itself."""

_TURN_S = 0.05  # seconds between two looks at a cancellation while another job has the engine

_log = logging.getLogger(__name__)

Job = dict[str, Any]


def serve(make_engine: Callable[[int], Engine], family: str) -> None:
    """Run a worker of an engine family until the platform stops it.

    `make_engine` gets the number of CPU threads, and imports the engine's libraries only when it is called.
    The environment says which variant and how (see `Settings`); a wrong one ends the process with status 2.
    The model begins to load before the SDK is imported, which takes more than a second, so that both overlap.
    """
    # At its default level the SDK logs what handlers return, which is what people said.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    try:
        logs.configure(os.environ)
        settings = Settings.from_env(os.environ, family)
    except (SettingsError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    # Before the engine's libraries are loaded: OpenMP's threads wait for each other by spinning. Beside another
    # busy process (the diarizer) that takes the cores away from those they wait for: 11 s of audio took 6 to 10 s
    # of inference instead of 1 s, on 2 cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    places = Places.from_env(os.environ, settings.model_dir)
    offline_where_stored(settings.variant, places, os.environ)
    try:
        engine = make_engine(settings.threads)
    except ImportError as error:
        print(f"error: {_install_hint(settings.variant, error)}", file=sys.stderr)
        raise SystemExit(2) from error
    worker = Worker(engine, settings, places)
    worker.load()

    import runpod

    for check in checks(settings.variant, places, os.environ):
        runpod.serverless.register_fitness_check(check)
    if os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT"):
        worker.send = runpod.serverless.progress_update
    runpod.serverless.start(
        {"handler": worker.handle, "concurrency_modifier": lambda current: settings.jobs_held}
    )


def _install_hint(variant: Variant, error: ImportError) -> str:
    extras = ",".join(family.replace("_", "-") for family in variant.families)
    return f"{variant.id}: a library of its engine is missing ({error}): pip install 'fanscribe[{extras}]'"


def leave() -> None:
    """End this process at once, and first the children it has (the SDK's heartbeat)."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class Worker:
    """One engine and the jobs that it is given. `send` passes a progress report to the platform."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        places: Places,
        *,
        send: Send = lambda job, progress: None,
        leave: Callable[[], None] = leave,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        grace_s: float = GRACE_S,
    ) -> None:
        self.send = send
        self._engine = engine
        self._settings = settings
        self._places = places
        self._leave = leave
        self._clock = clock
        self._sleep = sleep
        self._grace_s = grace_s
        self._stage = settings.variant.stages[0]
        self._policy = FetchPolicy(allowed_origins=settings.allowed_origins, max_bytes=settings.max_bytes)
        self._threads = ThreadPoolExecutor(settings.jobs_held, thread_name_prefix="job")
        self._turn = threading.Lock()
        self._loads = threading.Lock()
        self._loading: Loading | None = None
        self._cold = True
        self._held = 0

    def load(self) -> None:
        """Begin to load the model, unless it is loaded or loading; a load that failed is tried again."""
        with self._loads:
            if self._loading is None or self._loading.failed:
                self._loading = Loading(self._load, self._clock)

    async def handle(self, job: Job) -> dict[str, Any]:
        """Do one job: the SDK's handler. Returns the output, or {"error": …} with a TaskError as JSON text."""
        reports = Reports(lambda progress: self.send(job, progress.model_dump()), self._clock)
        context = Context(report=lambda share: reports.tell(Progress(phase="running", share=share)))
        self._held += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, job, context, reports)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            context.cancelled.set()
            await self._stop(work)
            raise
        finally:
            self._held -= 1

    async def _stop(self, work: Awaitable[object]) -> None:
        future = asyncio.ensure_future(work)
        done, _ = await asyncio.wait({future}, timeout=self._grace_s)
        while not done and self._held > 1:
            done, _ = await asyncio.wait({future}, timeout=self._grace_s)
        if done:
            future.exception()  # Cancelled, most likely; nobody waits for it
        else:
            _log.warning(
                "the engine did not stop within %s s of a cancellation: this worker ends", self._grace_s
            )
            self._leave()

    def _answer(self, job: Job, context: Context, reports: Reports) -> dict[str, Any]:
        """Do one job in this thread; every failure becomes the job's error, and only Cancelled is raised."""
        # Said here, since a thread of an executor does not know what its caller's log lines are about.
        with logs.about(job=str(job.get("id"))):
            return self._answered(job, context, reports)

    def _answered(self, job: Job, context: Context, reports: Reports) -> dict[str, Any]:
        try:
            return self._complete(job, context, reports)
        except Cancelled:
            raise
        except Refused as error:
            return failure(error.code, str(error))
        except InvalidTask as error:
            return failure(ErrorCode.INVALID_INPUT, str(error))
        except ModelMissing as error:
            return failure(ErrorCode.MODEL_MISSING, str(error))
        except (OutOfMemory, MemoryError) as error:
            return failure(
                ErrorCode.OUT_OF_MEMORY, str(error) or "the worker ran out of memory: send a shorter clip"
            )
        except ImportError as error:
            _log.exception("job %s failed", job.get("id"))
            return failure(ErrorCode.MODEL_ERROR, _install_hint(self._settings.variant, error))
        except Exception as error:
            _log.exception("job %s failed", job.get("id"))
            return failure(
                ErrorCode.MODEL_ERROR,
                f"{self._settings.variant.id} failed with {type(error).__name__}: the worker's log has the trace "
                "(on a local platform that is up: fanscribe local logs)",
            )

    def _complete(self, job: Job, context: Context, reports: Reports) -> dict[str, Any]:
        task = read_input(self._stage, job.get("input"))
        refuse_unserved(task, self._settings.variant)
        begun = self._clock()
        decoded = self._audio(task, context, reports)
        timing = Timing(download_s=self._clock() - begun)
        load_s = self._wait_for_model(context, reports)
        with _Turn(self._turn, context):
            if self._cold:
                timing.cold_start, timing.load_s, self._cold = True, load_s, False
            context.check()
            reports.tell(Progress(phase="running"))
            begun = self._clock()
            result = self._engine.run(Task(task, decoded.samples, decoded.offset_s), context)
            timing.inference_s = self._clock() - begun
        shift(result, decoded.offset_s)
        provenance = Provenance(
            engine=self._engine.version,
            variant=self._settings.variant.id,
            model=self._settings.variant.model_id,
            contract_version=CONTRACT_VERSION,
            timing=timing,
        )
        try:
            return answer(self._stage, task, result, provenance, [*decoded.warnings, *context.warnings])
        except UsageError as error:
            raise Refused(ErrorCode.INVALID_INPUT, f"field response_format: {error}") from error

    def _audio(self, task: TaskInput, context: Context, reports: Reports) -> Decoded:
        def told(share: float) -> None:
            reports.tell(Progress(phase="fetching", share=share))

        name = "the audio"
        clip = (task.clip.start, task.clip.end) if task.clip else None
        # A file without a name: nothing is left of it, however this process ends.
        with tempfile.TemporaryFile(prefix="fanscribe-") as file:
            try:
                fetch(
                    task.audio,
                    file,
                    self._policy,
                    on_progress=told,
                    stopped=context.cancelled.is_set,
                    sleep=self._sleep,
                )
                file.seek(0)
                return decode(
                    file,
                    name,
                    clip=clip,
                    channel=task.channel,
                    max_duration_s=self._settings.max_audio_s,
                    stopped=context.cancelled.is_set,
                )
            except StoppedError as error:
                raise Cancelled from error
            except AudioUnreachableError as error:
                raise Refused(ErrorCode.AUDIO_UNREACHABLE, str(error)) from error
            except AudioRefusedError as error:
                raise Refused(ErrorCode.INVALID_INPUT, f"field audio: {error}") from error
            except AudioError as error:
                raise Refused(ErrorCode.AUDIO_UNREADABLE, str(error)) from error
            except OSError as error:
                raise Refused(
                    ErrorCode.MODEL_ERROR, f"the worker cannot keep the audio on its disk: {error.strerror}"
                ) from error

    def _wait_for_model(self, context: Context, reports: Reports) -> float:
        """Seconds that the load took."""
        self.load()
        assert self._loading is not None
        try:
            self._loading.wait(context, reports.tell)
        except (OutOfMemory, MemoryError) as error:
            # Not OUT_OF_MEMORY, which has the caller send less audio: that does not make the model fit.
            message = str(error) or f"{self._settings.variant.id} does not fit into this worker's memory"
            raise Refused(ErrorCode.MODEL_ERROR, message) from error
        return self._loading.seconds

    def _load(self, tell: Callable[[Progress], None]) -> None:
        if self._settings.variant.parts:
            refuse_too_little_room(self._settings.variant, ram_bytes(), vram_bytes())
        folder = locate(
            self._settings.variant,
            self._places,
            os.environ,
            lambda share, line: tell(Progress(phase="downloading", share=share, message=line)),
        )
        tell(Progress(phase="loading"))
        self._engine.load(self._settings.variant, folder)


class _Turn:
    """The engine's lock, given up on when the job is cancelled while it waits."""

    def __init__(self, lock: threading.Lock, context: Context) -> None:
        self._lock = lock
        self._context = context

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=_TURN_S):
            self._context.check()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
