"""Engines side by side in one worker, with engines that do what a test says."""

import ast
import asyncio
import base64
import logging
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.combination import combination_of, combine
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import (
    AlignInput,
    AlignResult,
    DiarizeInput,
    DiarizeResult,
    Timestamps,
    TranscribeInput,
    TranscribeOutput,
    TranscribeResult,
)
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.combined.engine import CombinedEngine, engine_of
from fanscribe_handlers.combined.sides import Share, weights_of
from fanscribe_handlers.engine import SAMPLE_RATE, Cancelled, Context, Engine, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import Places
from fanscribe_handlers.settings import Settings
from fanscribe_handlers.worker import Worker

KNOWN = load_catalogue().variants
PAIR = KNOWN["whisper-base-diarized"]
TRIO = combine(combination_of(["whisper-base", "align-pocketsphinx-en", "diarize-onnx"]), KNOWN)
WAIT_S = 20.0

Act = Callable[[Context], None]


def nothing(context: Context) -> None:
    context.report(1.0)


def until_stopped(context: Context) -> None:
    """Work that ends only when it is told to."""
    while not context.cancelled.wait(0.005):
        context.check()
    context.check()


class Part:
    """An engine of one family: two words, or two turns, or words a tenth of a second later."""

    def __init__(self, family: str, act: Act, log: list[Any]) -> None:
        self.version = f"{family} 1"
        self._family = family
        self._act = act
        self._log = log
        self._running = threading.Lock()

    def load(self, variant: Variant, model_dir: Path) -> None:
        self._log.append((self._family, variant.id, model_dir.name))

    def run(self, task: Task, context: Context) -> BaseModel:
        assert self._running.acquire(blocking=False), "calls never overlap"
        try:
            self._log.append(task)
            self._act(context)
        finally:
            self._running.release()
        match task.input:
            case TranscribeInput(timestamps=timestamps):
                words = [Word("Hello.", 0.1, 0.4), Word("Bye.", 0.6, 0.9)]
                segment = Segment(
                    0.1, 0.9, "Hello. Bye.", words=words if timestamps is Timestamps.WORD else []
                )
                return TranscribeResult(
                    text="Hello. Bye.", language="en", duration=task.duration_s, segments=[segment]
                )
            case DiarizeInput():
                turns = [Turn(0, 0.5, "SPEAKER_00"), Turn(0.5, 1, "SPEAKER_01")]
                return DiarizeResult(segments=turns, exclusive_segments=turns, num_speakers=2, duration=1)
            case AlignInput(segments=segments):
                return AlignResult(
                    segments=[
                        Segment(
                            each.start,
                            each.end,
                            each.text,
                            words=[Word("Hello.", 0.2, 0.4), Word("Bye.", 0.7, 0.9)],
                        )
                        for each in segments
                    ]
                )
            case _:
                raise AssertionError(task.input)


class Made:
    """A combined engine of such parts. `log` holds what was loaded and which tasks were run."""

    def __init__(self, variant: Variant = PAIR, threads: int = 2, **acts: Act) -> None:
        self.log: list[Any] = []
        self.shares: list[float] = []
        self.acts = acts
        self.context = Context(report=lambda share: self.shares.append(share))
        self.engine = CombinedEngine(
            threads, lambda family, _: Part(family, lambda context: self._act(family, context), self.log)
        )
        self.engine.load(variant, Path("/models"))

    def _act(self, family: str, context: Context) -> None:
        self.acts.get(family, nothing)(context)

    def run(self, **asked: Any) -> TranscribeResult:
        task = Task(
            TranscribeInput.model_validate({"audio": "data:,", **asked}),
            np.zeros(SAMPLE_RATE, np.float32),
            offset_s=5.0,
        )
        return self.engine.run(task, self.context)

    @property
    def tasks(self) -> list[Task]:
        return [each for each in self.log if isinstance(each, Task)]


def test_each_part_is_loaded_from_its_own_folder() -> None:
    made = Made(TRIO)
    assert made.log == [
        ("whisper", "whisper-base", "whisper-base"),
        ("align_pocketsphinx", "align-pocketsphinx-en", "align-pocketsphinx-en"),
        ("diarize_onnx", "diarize-onnx", "diarize-onnx"),
    ]
    assert made.engine.version == "whisper 1 + align_pocketsphinx 1 + diarize_onnx 1"


def test_speakers_come_with_the_text_where_they_are_asked_for() -> None:
    made = Made()
    result = made.run(diarize=True, num_speakers=2, language="en", keyterms=["Tom"])
    assert result.diarization is not None
    assert result.diarization.num_speakers == 2
    assert [word.text for segment in result.segments for word in segment.words] == ["Hello.", "Bye."]
    inputs = {type(task.input): task for task in made.tasks}
    diarize, transcribe = inputs[DiarizeInput].input, inputs[TranscribeInput].input
    assert isinstance(diarize, DiarizeInput)
    assert isinstance(transcribe, TranscribeInput)
    assert diarize.num_speakers == 2
    assert (transcribe.diarize, transcribe.num_speakers, transcribe.keyterms) == (False, None, ["Tom"])
    assert {task.offset_s for task in made.tasks} == {5.0}
    assert made.context.warnings == []


def test_without_speakers_the_diarizer_rests() -> None:
    made = Made(diarize_onnx=until_stopped)
    result = made.run(timestamps="segment")
    assert result.diarization is None
    assert [type(task.input) for task in made.tasks] == [TranscribeInput]
    assert made.shares[-1] == 1.0


@pytest.mark.parametrize("timestamps", ["segment", "none"])
def test_speakers_are_told_by_words_also_where_no_words_are_wanted(timestamps: str) -> None:
    result = Made().run(diarize=True, timestamps=timestamps)
    assert [(each.speaker, each.text, each.words) for each in result.segments] == [
        ("SPEAKER_00", "Hello.", []),
        ("SPEAKER_01", "Bye.", []),
    ]


def test_two_cores_work_side_by_side() -> None:
    meeting = threading.Barrier(2)

    def meet(context: Context) -> None:
        meeting.wait(WAIT_S)  # raises where the other does not come

    made = Made(whisper=meet, diarize_onnx=meet)
    for _ in range(3):
        assert made.run(diarize=True).diarization is not None


def test_on_one_core_one_follows_the_other() -> None:
    inside: list[str] = []

    def alone(context: Context) -> None:
        inside.append(threading.current_thread().name)
        context.report(1.0)

    made = Made(threads=1, whisper=alone, diarize_onnx=alone)
    assert made.run(diarize=True).diarization is not None
    assert inside == [threading.current_thread().name] * 2
    whisper = KNOWN["whisper-base"].performance.rtf["cpu_2"].value
    assert made.shares == pytest.approx([whisper / 0.105, 1.0, 1.0])


def test_the_share_never_goes_back_whoever_tells_it() -> None:
    told: list[float] = []
    share = Share(lambda share: told.append(share), [3.0, 1.0])
    first, second = share.side(0), share.side(1)
    for report, value in ((second, 0.5), (first, 0.5), (second, 0.2), (first, 2.0), (second, 1.0)):
        report(value)
    assert told == pytest.approx([0.125, 0.5, 0.5, 0.875, 1.0])
    Share(lambda share: told.append(share), [0.0, 0.0]).side(0)(1.0)
    assert told[-1] == 0.5, "of two that no figure tells apart, one"
    assert weights_of([KNOWN["whisper-base"]]) == [0.07]


@pytest.mark.parametrize("waiting", ["whisper", "diarize_onnx"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_cancelled_job_stops_both(waiting: str, threads: int) -> None:
    def cancel(context: Context) -> None:
        made.context.cancelled.set()
        context.check()

    other = "diarize_onnx" if waiting == "whisper" else "whisper"
    made = Made(threads=threads)
    made.acts = {waiting: until_stopped, other: cancel} if threads == 2 else {"whisper": cancel}
    with pytest.raises(Cancelled):
        made.run(diarize=True)
    made.acts.clear()
    made.context = Context(report=lambda share: made.shares.append(share))
    assert made.run(diarize=True).diarization is not None, "both are idle again"


def raising(error: Exception) -> Act:
    def act(context: Context) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error", [OutOfMemory("too large"), InvalidTask("field language: no"), RuntimeError("x")]
)
def test_a_recogniser_that_fails_stops_the_diarizer(error: Exception) -> None:
    made = Made(whisper=raising(error), diarize_onnx=until_stopped)
    with pytest.raises(type(error), match=str(error)):
        made.run(diarize=True)
    assert len(made.tasks) <= 2


@pytest.mark.parametrize(
    "error", [OutOfMemory("too large"), InvalidTask("field num_speakers: no"), MemoryError("x")]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_diarizer_that_cannot_do_it_ends_the_job(error: Exception, threads: int) -> None:
    made = Made(
        threads=threads, whisper=until_stopped if threads == 2 else nothing, diarize_onnx=raising(error)
    )
    with pytest.raises(type(error), match=str(error)):
        made.run(diarize=True)


def test_a_diarizer_that_breaks_costs_the_speakers_and_not_the_text(caplog: pytest.LogCaptureFixture) -> None:
    made = Made(diarize_onnx=raising(RuntimeError("spoken words")))
    with caplog.at_level(logging.ERROR):
        result = made.run(diarize=True, timestamps="segment")
    assert result.text == "Hello. Bye."
    assert result.diarization is None
    assert [segment.words for segment in result.segments] == [[]]
    assert made.context.warnings == [
        "speakers are missing: diarization failed (the worker's log has the trace)"
    ]
    assert "the diarizer diarize-onnx failed" in caplog.text


def test_warnings_of_every_part_travel() -> None:
    def warn(context: Context) -> None:
        context.warnings.append(f"from {threading.current_thread().name}")

    made = Made(whisper=warn, diarize_onnx=warn)
    made.run(diarize=True)
    assert len(made.context.warnings) == 2


def test_an_aligner_times_the_words_from_the_clip_s_start() -> None:
    made = Made(TRIO)
    result = made.run(diarize=True)
    assert [word.start for word in result.segments[0].words] == [0.2, 0.7]
    (align,) = [task for task in made.tasks if isinstance(task.input, AlignInput)]
    assert align.offset_s == 0.0, "the recogniser's times do not count from the file's start"
    assert isinstance(align.input, AlignInput)
    assert align.input.language == "en"
    assert made.run(timestamps="segment").segments[0].words == []
    assert len([task for task in made.tasks if isinstance(task.input, AlignInput)]) == 1


def test_a_recogniser_without_word_times_is_asked_for_segments() -> None:
    data = KNOWN["whisper-base"].model_dump(mode="json")
    data["capabilities"]["word_timestamps"] = False
    silent = {**KNOWN, "whisper-base": Variant.model_validate(data)}
    made = Made(combine(combination_of(["whisper-base", "align-pocketsphinx-en"]), silent))
    assert made.run().segments[0].words
    (transcribe,) = [task for task in made.tasks if isinstance(task.input, TranscribeInput)]
    assert isinstance(transcribe.input, TranscribeInput)
    assert transcribe.input.timestamps is Timestamps.SEGMENT


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (InvalidTask("segment 3 is too long"), "alignment was refused (segment 3 is too long)"),
        (RuntimeError("x"), "alignment failed (the worker's log has the trace)"),
    ],
)
def test_where_the_aligner_cannot_the_recogniser_s_times_stay(raised: Exception, said: str) -> None:
    made = Made(TRIO, align_pocketsphinx=raising(raised))
    assert [word.start for word in made.run().segments[0].words] == [0.1, 0.6]
    assert made.context.warnings == [f"words have the recogniser's own times, or none: {said}"]


def test_an_aligner_that_runs_out_of_memory_ends_the_job() -> None:
    with pytest.raises(OutOfMemory):
        Made(TRIO, align_pocketsphinx=raising(OutOfMemory("x"))).run(diarize=True)


def test_an_aligner_is_not_asked_for_a_language_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(TRIO)
    plain = Part.run

    def german(part: Part, task: Task, context: Context) -> BaseModel:
        result = plain(part, task, context)
        if isinstance(result, TranscribeResult):
            result.language = "de"
        return result

    monkeypatch.setattr(Part, "run", german)
    made.run()
    assert made.context.warnings == [
        "words have the recogniser's own times, or none: align-pocketsphinx-en does not know 'de'"
    ]


def test_a_translation_is_not_aligned() -> None:
    made = Made(TRIO)
    made.run(task="translate", diarize=True)
    assert not [task for task in made.tasks if isinstance(task.input, AlignInput)]


def test_every_family_has_one_engine_that_a_worker_can_be_made_of() -> None:
    """Read, not imported: the libraries of most families are not here."""
    families = {part.family for part in KNOWN.values() if not part.parts}
    for family in families:
        source = resources.files(f"fanscribe_handlers.{family}") / "engine.py"
        tree = ast.parse(source.read_text(encoding="utf-8"))
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        assert len([name for name in classes if name.endswith("Engine")]) == 1, family
    engine: Engine = engine_of("simulated", 1)
    assert engine.version == "simulated 1"


@pytest.fixture
def job(tone: Path) -> dict[str, Any]:
    audio = "data:audio/wav;base64," + base64.b64encode(tone.read_bytes()).decode()
    return {"id": "job-1", "input": {"audio": audio, "diarize": True}}


def worker(tmp_path: Path, engine: Engine) -> Worker:
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / "whisper-base").mkdir(exist_ok=True)
        (tmp_path / "whisper-base" / name).touch()
    places = Places(tmp_path, Path("/nowhere"), tmp_path / "cache", None)
    return Worker(engine, Settings.from_env({"FANSCRIBE_VARIANT": PAIR.id}, "combined"), places)


def test_a_worker_answers_with_every_word_s_speaker(tmp_path: Path, job: dict[str, Any]) -> None:
    made = Made()
    output = TranscribeOutput.model_validate(asyncio.run(worker(tmp_path, made.engine).handle(job)))
    assert [(part.speaker, part.text) for part in output.segments] == [
        ("SPEAKER_00", "Hello."),
        ("SPEAKER_01", "Bye."),
    ]
    assert (output.variant, output.engine) == (PAIR.id, "whisper 1 + diarize_onnx 1")
    assert output.model == "Systran/faster-whisper-base@main + bundled"
    folders = [entry[2] for entry in made.log[2:4]]
    assert folders == ["whisper-base", "diarize-onnx"]


def test_a_worker_does_not_change_speakers_that_its_engine_has_named(
    tmp_path: Path, job: dict[str, Any]
) -> None:
    job["input"] |= {"timestamps": "segment", "response_format": "text"}
    output = asyncio.run(worker(tmp_path, Made().engine).handle(job))
    assert output["text"].splitlines()[0].endswith("Hello.")
    assert "SPEAKER_01" in output["text"]


def test_a_worker_without_room_for_all_parts_says_so(
    tmp_path: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanscribe_handlers.worker.ram_bytes", lambda: 2_000_000_000)
    made = Made()
    output = asyncio.run(worker(tmp_path, made.engine).handle(job))
    error = TaskError.parse(output["error"])
    assert error.code is ErrorCode.MODEL_ERROR, "less audio would not make it fit"
    assert error.retryable, "on another worker, or another endpoint"
    assert "its parts (whisper-base, diarize-onnx) need 3 GB of memory together" in error.message
    assert made.tasks == []
