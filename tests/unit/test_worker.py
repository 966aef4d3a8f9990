import asyncio
import base64
import io
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanscribe import logs
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import TranscribeOutput, TranscribeResult
from fanscribe.contracts.transcript import Segment
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import Places
from fanscribe_handlers.settings import Settings
from fanscribe_handlers.worker import Worker

SETTINGS = Settings.from_env({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")


class Echo:
    """An engine that tells how much it heard, after whatever `act` does."""

    version = "echo 1.0"

    def __init__(self, act: Callable[[Context], None] = lambda context: None) -> None:
        self.act = act
        self.loads = 0
        self.runs = 0

    def load(self, variant: Variant, model_dir: Path) -> None:
        self.loads += 1

    def run(self, task: Task, context: Context) -> TranscribeResult:
        self.runs += 1
        context.report(0.5)
        self.act(context)
        text = f"{task.duration_s:.2f} s"
        return TranscribeResult(
            text=text, duration=task.duration_s, segments=[Segment(0, task.duration_s, text)]
        )


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def job(tone: Path) -> dict[str, Any]:
    audio = "data:audio/wav;base64," + base64.b64encode(tone.read_bytes()).decode()
    return {"id": "job-1", "input": {"audio": audio}}


def make(engine: Echo, model_dir: Path, **options: Any) -> Worker:
    return Worker(engine, SETTINGS, Places(model_dir, Path("/nowhere"), Path("/nowhere"), None), **options)


def done(worker: Worker, job: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(worker.handle(job))


def error(output: dict[str, Any]) -> TaskError:
    assert list(output) == ["error"]
    return TaskError.parse(output["error"])


def test_a_job_goes_through_and_says_who_did_it(model_dir: Path, job: dict[str, Any]) -> None:
    engine = Echo()
    worker = make(engine, model_dir)
    first = TranscribeOutput.model_validate(done(worker, job))
    second = TranscribeOutput.model_validate(done(worker, job))
    assert first.text == second.text == "1.00 s"
    assert (first.engine, first.variant) == ("echo 1.0", "whisper-base")
    assert first.timing.cold_start
    assert not second.timing.cold_start
    assert second.timing.load_s == 0
    assert (engine.loads, engine.runs) == (1, 2)


def test_an_engine_s_warnings_travel_with_the_answer(model_dir: Path, job: dict[str, Any]) -> None:
    engine = Echo(lambda context: context.warnings.append("prompt was ignored: there is no such thing here"))
    worker = make(engine, model_dir)
    for _ in range(2):
        output = TranscribeOutput.model_validate(done(worker, job))
        assert output.warnings == ["prompt was ignored: there is no such thing here"]


def test_a_clip_is_cut_and_times_count_from_the_file(model_dir: Path, job: dict[str, Any]) -> None:
    job["input"]["clip"] = {"start": 0.5, "end": 0.75}
    output = TranscribeOutput.model_validate(done(make(Echo(), model_dir), job))
    assert output.text == "0.25 s"
    assert (output.segments[0].start, output.segments[0].end) == (0.5, 0.75)


def test_progress_goes_out_with_its_phase(model_dir: Path, job: dict[str, Any]) -> None:
    sent: list[dict[str, Any]] = []
    ticks = iter(range(1000))
    worker = make(
        Echo(), model_dir, send=lambda job, progress: sent.append(progress), clock=lambda: float(next(ticks))
    )
    done(worker, job)
    assert {"phase": "running", "share": 0.5, "message": ""} in sent
    assert {each["phase"] for each in sent} <= {"fetching", "downloading", "loading", "running"}


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (InvalidTask("field language: unknown"), ErrorCode.INVALID_INPUT),
        (OutOfMemory("too large"), ErrorCode.OUT_OF_MEMORY),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("the secret words"), ErrorCode.MODEL_ERROR),
    ],
)
def test_an_engines_failure_has_a_code(
    model_dir: Path, job: dict[str, Any], raised: Exception, code: ErrorCode, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(context: Context) -> None:
        raise raised

    with caplog.at_level(logging.ERROR):
        said = error(done(make(Echo(fail), model_dir), job))
    assert said.code is code
    assert said.message
    if code is ErrorCode.MODEL_ERROR:
        assert "secret" not in said.message
        assert "Traceback" in caplog.text


@pytest.mark.parametrize("raised", [OutOfMemory("8 GB are needed"), MemoryError()])
def test_a_model_that_does_not_fit_is_no_reason_to_send_less_audio(
    model_dir: Path, job: dict[str, Any], raised: Exception
) -> None:
    class Large(Echo):
        def load(self, variant: Variant, model_dir: Path) -> None:
            raise raised

    said = error(done(make(Large(), model_dir), job))
    assert (said.code, said.retryable) == (ErrorCode.MODEL_ERROR, True)
    assert said.message == (str(raised) or "whisper-base does not fit into this worker's memory")


def test_a_wrong_input_is_refused_before_the_engine(model_dir: Path) -> None:
    engine = Echo()
    said = error(done(make(engine, model_dir), {"id": "1", "input": {"audio": "file:///etc/passwd"}}))
    assert said.code is ErrorCode.INVALID_INPUT
    assert "field audio" in said.message
    assert engine.runs == 0


def test_speakers_are_not_asked_of_a_recogniser(model_dir: Path, job: dict[str, Any]) -> None:
    engine = Echo()
    job["input"]["diarize"] = True
    said = error(done(make(engine, model_dir), job))
    assert said.code is ErrorCode.INVALID_INPUT
    assert "field diarize: whisper-base" in said.message
    assert engine.runs == 0


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (
            "data:audio/wav;base64," + base64.b64encode(b"no sound at all").decode(),
            ErrorCode.AUDIO_UNREADABLE,
        ),
        ("https://127.0.0.1:9/talk.wav", ErrorCode.INVALID_INPUT),
    ],
)
def test_unusable_audio(model_dir: Path, audio: str, code: ErrorCode) -> None:
    assert error(done(make(Echo(), model_dir), {"id": "1", "input": {"audio": audio}})).code is code


def test_audio_that_cannot_be_reached(model_dir: Path) -> None:
    settings = Settings.from_env(
        {"FANSCRIBE_VARIANT": "whisper-base", "FANSCRIBE_ALLOWED_ORIGINS": "http://127.0.0.1:9"}, "whisper"
    )
    places = Places(model_dir, Path("/nowhere"), Path("/nowhere"), None)
    worker = Worker(Echo(), settings, places, sleep=lambda seconds: None)
    said = error(done(worker, {"id": "1", "input": {"audio": "http://127.0.0.1:9/talk.wav?token=secret"}}))
    assert said.code is ErrorCode.AUDIO_UNREACHABLE
    assert said.retryable
    assert "secret" not in said.message


def test_a_missing_model_says_where_it_was_looked_for_and_is_tried_again(
    tmp_path: Path, job: dict[str, Any]
) -> None:
    variant = SETTINGS.variant.model_dump(mode="json")
    variant["model"] = {"source": "bundled", "files": ["weights.onnx"], "licence": "mit"}
    settings = Settings(Variant.model_validate(variant), tmp_path / "gone", 1, 1, (), 100, 10**6)
    places = Places(settings.model_dir, tmp_path / "store", tmp_path / "cache", None)
    engine = Echo()
    worker = Worker(engine, settings, places)
    said = error(done(worker, job))
    assert said.code is ErrorCode.MODEL_MISSING
    assert str(tmp_path / "gone") in said.message
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "weights.onnx").touch()
    assert done(worker, job)["text"] == "1.00 s"


class Hold:
    """Keeps an engine busy until it is let go, as a long call into native code does."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self, context: Context) -> None:
        self.began.set()
        assert self.go.wait(10)
        context.check()


async def _cancelled(worker: Worker, job: dict[str, Any], began: threading.Event) -> asyncio.Task[Any]:
    task = asyncio.create_task(worker.handle(job))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    return task


def test_an_engine_that_looks_up_is_stopped_and_the_worker_stays(
    model_dir: Path, job: dict[str, Any]
) -> None:
    began = threading.Event()

    def look_up(context: Context) -> None:
        began.set()
        assert context.cancelled.wait(10)
        context.check()

    left: list[bool] = []
    engine = Echo(look_up)
    worker = make(engine, model_dir, leave=lambda: left.append(True), grace_s=10)

    async def play() -> dict[str, Any]:
        task = await _cancelled(worker, job, began)
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.act = lambda context: None
        return await worker.handle(job)

    assert asyncio.run(play())["text"] == "1.00 s"
    assert left == []


def test_an_engine_that_does_not_stop_ends_the_worker(model_dir: Path, job: dict[str, Any]) -> None:
    hold = Hold()
    left: list[bool] = []
    worker = make(Echo(hold), model_dir, leave=lambda: left.append(True), grace_s=0.01)

    async def play() -> None:
        task = await _cancelled(worker, job, hold.began)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left == [True]
        hold.go.set()

    asyncio.run(play())


def test_a_worker_that_holds_another_job_stays(model_dir: Path, job: dict[str, Any]) -> None:
    hold = Hold()
    left: list[bool] = []
    engine = Echo(hold)
    settings = Settings.from_env({"FANSCRIBE_VARIANT": "whisper-base", "FANSCRIBE_PREFETCH": "1"}, "whisper")
    places = Places(model_dir, Path("/nowhere"), Path("/nowhere"), None)
    worker = Worker(engine, settings, places, leave=lambda: left.append(True), grace_s=0.01)

    async def play() -> dict[str, Any]:
        first = asyncio.create_task(worker.handle(job))
        while not hold.began.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(worker.handle({**job, "id": "job-2"}))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0.1)
        engine.act = lambda context: None
        hold.go.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(play())["text"] == "1.00 s"
    assert left == []


def test_log_lines_of_a_job_name_it(model_dir: Path, job: dict[str, Any]) -> None:
    written, log = io.StringIO(), logging.getLogger("fanscribe_handlers")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logs.configure({"FANSCRIBE_LOG_FORMAT": "json"}, written)
        log.info("outside")
        done(make(Echo(lambda context: log.info("the engine is at it")), model_dir), job)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    named = {each["message"]: each.get("job") for each in lines if each["logger"] == log.name}
    assert named == {"outside": None, "the engine is at it": "job-1"}


def test_a_library_that_is_missing_is_named_with_the_extra(model_dir: Path, job: dict[str, Any]) -> None:
    def act(context: Context) -> None:
        raise ModuleNotFoundError("No module named 'torch'")

    told = error(done(make(Echo(act), model_dir), job))
    assert told.code is ErrorCode.MODEL_ERROR
    assert "No module named 'torch'" in told.message
    assert "pip install 'fanscribe[" in told.message
