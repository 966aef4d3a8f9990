"""The simulated engine: time as the variant says, failures by rule, answers that are a function of the audio."""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanscribe import media
from fanscribe.contracts.task import (
    DiarizeInput,
    DiarizeResult,
    Stage,
    Timestamps,
    TranscribeInput,
    TranscribeResult,
)
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Cancelled, Context, OutOfMemory, Task
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.simulated.behaviour import Draws, read_behaviour
from fanscribe_handlers.simulated.coded import listen, word_samples
from fanscribe_handlers.simulated.engine import SimulatedEngine, SimulatedFailure, voice
from fanscribe_handlers.simulated.recording import CodedRecording, text_of

NOWHERE = Path("/nowhere")
MINUTE = CodedRecording.lasting(60.0)


def variant(name: str = "simulated-transcribe", **options: Any) -> Variant:
    data = read_variant({"FANSCRIBE_VARIANT": name}, "simulated").model_dump(mode="json")
    data["options"] |= options
    return Variant.model_validate(data)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def loaded(variant: Variant, time: Time, name: str = "a") -> SimulatedEngine:
    engine = SimulatedEngine(name=name, sleep=time.sleep, clock=time)
    engine.load(variant, NOWHERE)
    return engine


def transcribe(seconds: float = 60.0, **fields: Any) -> Task:
    return Task(TranscribeInput(audio="data:,", **fields), CodedRecording.lasting(seconds).floats())


def run(engine: SimulatedEngine, task: Task, context: Context | None = None) -> Any:
    return engine.run(task, context or Context(report=lambda share: None))


def test_load_and_work_take_what_the_variant_says() -> None:
    time = Time()
    engine = loaded(variant(), time)
    assert time.now == pytest.approx(8.0)
    run(engine, transcribe(60.0))
    assert time.now == pytest.approx(8.0 + 0.2 + 0.4 * 60.0)


def test_pace_moves_the_real_time_away_from_the_stated_one() -> None:
    time = Time()
    engine = loaded(variant(pace=2.0), time)
    run(engine, transcribe(60.0))
    assert time.now == pytest.approx(8.0 + 2 * 24.2)


def test_a_transcript_has_every_word_in_its_place() -> None:
    result = run(loaded(variant(), Time()), transcribe())
    assert isinstance(result, TranscribeResult)
    words = [word for segment in result.segments for word in segment.words]
    assert [(word.text, word.start, word.end) for word in words] == [
        (word.text, word.start, word.end) for word in MINUTE.spoken()
    ]
    assert result.text.split() == [text_of(index) for index in range(120)]
    assert result.duration == pytest.approx(60.0)
    assert all(segment.text.endswith(".") for segment in result.segments)


def test_segment_times_come_without_words() -> None:
    result = run(loaded(variant(), Time()), transcribe(timestamps=Timestamps.SEGMENT, language="de"))
    assert result.language == "de"
    assert len(result.segments) == 15
    assert not any(segment.words for segment in result.segments)


def test_a_diarization_has_every_turn_and_voices_that_tell_speakers_apart() -> None:
    engine = loaded(variant("simulated-diarize"), Time())
    result = run(engine, Task(DiarizeInput(audio="data:,"), MINUTE.floats()))
    assert isinstance(result, DiarizeResult)
    assert result.exclusive_segments == MINUTE.turns()
    assert result.num_speakers == 3
    assert set(result.embeddings) == {"SPEAKER_00", "SPEAKER_01", "SPEAKER_02"}


@pytest.mark.parametrize("bound", [{"num_speakers": 2}, {"max_speakers": 2}])
def test_no_more_speakers_than_asked_for(bound: dict[str, int]) -> None:
    engine = loaded(variant("simulated-diarize"), Time())
    result = run(engine, Task(DiarizeInput(audio="data:,", **bound), MINUTE.floats()))
    assert result.num_speakers == 2


def test_voices_are_near_to_themselves_and_far_from_others() -> None:
    def likeness(one: list[float], other: list[float]) -> float:
        a, b = np.array(one), np.array(other)
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert all(likeness(voice(each, 5), voice(each, 900)) > 0.9 for each in range(8))
    others = [likeness(voice(a, 5), voice(b, 900)) for a in range(8) for b in range(8) if a != b]
    assert max(others) < 0.7


def test_stragglers_and_failures_come_in_their_share_and_again_under_the_same_name() -> None:
    behaviour = read_behaviour(variant(straggler_share=0.1, failure_share=0.05, jitter=0.2, seed=3))
    draws, again, other = Draws(behaviour, "a"), Draws(behaviour, "a"), Draws(behaviour, "b")
    fates = [draws.next() for _ in range(4000)]
    assert fates == [again.next() for _ in range(4000)]
    assert fates != [other.next() for _ in range(4000)]
    assert sum(fate.factor > 5 for fate in fates) / 4000 == pytest.approx(0.1, abs=0.02)
    assert sum(fate.fails for fate in fates) / 4000 == pytest.approx(0.05, abs=0.015)
    usual = [fate.factor for fate in fates if fate.factor < 5]
    assert min(usual) >= 0.8
    assert max(usual) <= 1.2
    calm = Draws(read_behaviour(variant(straggler_share=0.1, seed=3)), "a")
    assert [fate.factor > 5 for fate in fates] == [calm.next().factor > 5 for _ in range(4000)]


def test_a_failure_comes_after_its_share_of_the_time() -> None:
    time = Time()
    engine = loaded(variant(failure_share=1.0, failure_after=0.5), time)
    with pytest.raises(SimulatedFailure):
        run(engine, transcribe(60.0))
    assert time.now == pytest.approx(8.0 + 24.2 / 2)


def test_a_span_with_the_named_word_always_fails_and_others_never() -> None:
    engine = loaded(variant(fails_on_word=100), Time())
    for _ in range(3):
        with pytest.raises(SimulatedFailure):
            run(engine, transcribe(60.0))
        run(engine, transcribe(45.0))


def test_more_audio_than_fits_runs_out_of_memory() -> None:
    engine = loaded(variant(memory_s=30.0), Time())
    with pytest.raises(OutOfMemory, match="60 s"):
        run(engine, transcribe(60.0))
    run(engine, transcribe(30.0))


def test_progress_grows_and_a_cancellation_ends_the_work_soon() -> None:
    time, shares = Time(), list[float]()
    context = Context(report=lambda share: shares.append(share))
    engine = loaded(variant(), time)
    run(engine, transcribe(10.0), context)
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.95 < shares[-1] < 1.0
    before = time.now

    def stop_half_way(share: float) -> None:
        if share > 0.5:
            context.cancelled.set()

    context.report = stop_half_way
    with pytest.raises(Cancelled):
        run(engine, transcribe(10.0), context)
    assert time.now - before == pytest.approx(0.5 * 4.2, abs=0.15)


def test_burning_takes_processor_time() -> None:
    import time

    data = variant(burns=True).model_dump(mode="json")
    data["performance"]["load_s"]["value"] = 0.1
    engine = SimulatedEngine(name="a", sleep=lambda seconds: pytest.fail("it slept"))
    before = time.thread_time()
    engine.load(Variant.model_validate(data), NOWHERE)
    assert time.thread_time() - before >= 0.1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"simulated": False}, "options.simulated must be true"),
        ({"speed": 3}, "options.speed is unknown"),
        ({"jitter": 1.5}, "options.jitter must be 0 to 1"),
        ({"jitter": "much"}, "options.jitter must be a float"),
        ({"burns": 1}, "options.burns must be a bool"),
        ({"seed": 1.5}, "options.seed must be a int"),
        ({"pace": 0}, "options.pace must be above 0"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_behaviour(variant(**options))


def test_the_code_goes_through_wav_and_flac(tmp_path: Path) -> None:
    recording = CodedRecording.lasting(12.0)
    recording.write_wav(tmp_path / "words.wav")
    with wave.open(str(tmp_path / "words.wav")) as opened:
        assert (opened.getframerate(), opened.getnchannels(), opened.getnframes()) == (16_000, 1, 192_000)
    flac = io.BytesIO()
    assert recording.write_flac(flac) == len(flac.getvalue())
    flac.seek(0)
    for source in (tmp_path / "words.wav", flac):
        decoded = media.decode(source, "words", clip=(3.0, 9.0))
        assert [each.index for each in listen(decoded.samples)] == list(range(6, 18))


def test_a_recording_of_ten_hours_is_made_in_little_memory() -> None:
    recording = CodedRecording.lasting(36_000.0)
    assert recording.words == 72_000
    last = recording.floats(recording.samples - 16_000, recording.samples)
    assert [each.index for each in listen(last)] == [71_998, 71_999]
    assert next(recording.blocks()).nbytes == 320_000


def test_a_pause_is_much_quieter_than_a_word() -> None:
    loudness = [float(np.square(block).mean()) for block in np.split(CodedRecording(4).floats(), 4 * 80)]
    assert min(loudness) < 1e-4 * max(loudness)


def test_numbers_that_the_code_cannot_say_are_refused() -> None:
    for index, speaker in ((1 << 24, 0), (-1, 0), (0, 256)):
        with pytest.raises(ValueError, match="number must be"):
            word_samples(np.array([index]), np.array([speaker]))


@pytest.mark.parametrize(
    ("name", "stage"), [("simulated-transcribe", Stage.TRANSCRIBE), ("simulated-diarize", Stage.DIARIZE)]
)
def test_the_variants_say_what_they_are_and_stay_out_of_the_default(name: str, stage: Stage) -> None:
    from fanscribe.deploy.local import local_catalogue

    found = variant(name)
    assert found.stages == [stage]
    assert "Simulated" in found.name
    assert found.options["simulated"] is True
    assert not found.hardware.cpu
    assert found.aliases == []
    assert name not in [endpoint.variant.id for endpoint in local_catalogue().endpoints]
