"""Real Whisper base on real recordings: the words, their times, the language, and nothing where nobody speaks."""

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from numpy.typing import NDArray
from whisper_normalizer.english import EnglishTextNormalizer

from fanscribe.contracts.task import TranscribeInput, TranscribeResult
from fanscribe.media import decode
from fanscribe_handlers.engine import Cancelled, Context, InvalidTask, Task
from fanscribe_handlers.models import Places, locate
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.whisper import decoder as decoder_module
from fanscribe_handlers.whisper.engine import WhisperEngine
from fanscribe_handlers.whisper.pieces import MAX_WINDOW_S, window_s

pytestmark = pytest.mark.engine

NORMALISE = EnglishTextNormalizer()
JFK = (
    "And so my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country."
)
LEFT = "He began a confused complaint against the wizard, who had vanished behind the curtain on the left."
RIGHT = "The horizon seems extremely distant."

Hear = Callable[..., TranscribeResult]


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    variant = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")
    engine = WhisperEngine(threads=2)
    engine.load(variant, locate(variant, Places.from_env({}), {}))
    return engine


@pytest.fixture(scope="module")
def hear(engine: WhisperEngine) -> Hear:
    def hear(samples: NDArray[np.float32], context: Context | None = None, **asked: Any) -> TranscribeResult:
        task = Task(TranscribeInput(audio="data:,", **asked), samples)
        return engine.run(task, context or Context(report=lambda share: None))

    return hear


def sound(file: Path, channel: int | None = None) -> NDArray[np.float32]:
    return decode(file, file.name, channel=channel).samples


def two_cities(folder: Path) -> str:
    found = re.search(r"^two_cities\.flac: (.+)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert found
    return found.group(1)


def clean(folder: Path) -> list[tuple[str, NDArray[np.float32]]]:
    """References and samples of the clean recordings."""
    return [
        (JFK, sound(folder / "jfk.flac")),
        (two_cities(folder), sound(folder / "two_cities.flac")),
        (LEFT, sound(folder / "stereo_diarization.wav", 0)),
        (RIGHT, sound(folder / "stereo_diarization.wav", 1)),
    ]


def wer(references: list[str], texts: list[str]) -> float:
    return float(jiwer.wer([NORMALISE(each) for each in references], [NORMALISE(each) for each in texts]))


@pytest.mark.speech
@pytest.mark.parametrize("timestamps", ["word", "none", "segment"])
def test_clean_speech(hear: Hear, speech_dir: Path, timestamps: str) -> None:
    pairs = clean(speech_dir)
    texts = [hear(samples, language="en", timestamps=timestamps).text for _, samples in pairs]
    assert wer([reference for reference, _ in pairs], texts) <= 0.025


@pytest.mark.speech
def test_a_telephone_call(hear: Hear, speech_dir: Path) -> None:
    lines = [line.split(maxsplit=5) for line in (speech_dir / "pyannote_sample.stm").read_text().splitlines()]
    reference = " ".join(fields[5] for fields in sorted(lines, key=lambda fields: float(fields[3])))
    assert wer([reference], [hear(sound(speech_dir / "pyannote_sample.wav"), language="en").text]) <= 0.14


@pytest.mark.speech
def test_short_windows_hear_the_same_words(
    hear: Hear, speech_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = clean(speech_dir)
    short = [hear(samples, language="en", timestamps="none").text for _, samples in pairs]
    monkeypatch.setattr(decoder_module, "window_s", lambda speech_s: MAX_WINDOW_S)
    full = [hear(samples, language="en", timestamps="none").text for _, samples in pairs]
    references = [reference for reference, _ in pairs]
    assert wer(references, short) <= wer(references, full)
    assert window_s(len(pairs[0][1]) / 16_000) <= 0.6 * MAX_WINDOW_S


@pytest.mark.speech
def test_short_windows_do_not_decide_the_language(
    hear: Hear, speech_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = sound(speech_dir / "jfk.flac")[: 3 * 16_000]
    short = hear(samples)
    monkeypatch.setattr(decoder_module, "window_s", lambda speech_s: MAX_WINDOW_S)
    full = hear(samples)
    assert short.language == full.language == "en"
    assert short.language_probability == pytest.approx(full.language_probability, abs=1e-6)


@pytest.mark.speech
def test_words_have_plausible_times(hear: Hear, speech_dir: Path) -> None:
    result = hear(sound(speech_dir / "jfk.flac"), language="en")
    words = [word for segment in result.segments for word in segment.words]
    assert " ".join(word.text for word in words) == result.text
    assert all(0 <= word.start <= word.end <= result.duration for word in words)
    assert all(a.start <= b.start for a, b in pairwise(words))
    assert all(word.confidence is not None and 0 < word.confidence <= 1 for word in words)
    starts = {word.text: word.start for word in reversed(words)}
    # From a forced alignment with another recogniser; the cross attention alone puts "what" at 4.2 s.
    assert starts["ask"] == pytest.approx(3.25, abs=0.2)
    assert starts["what"] == pytest.approx(5.37, abs=0.2)


@pytest.mark.speech
def test_segments_without_words_have_times(hear: Hear, speech_dir: Path) -> None:
    result = hear(sound(speech_dir / "two_cities.flac"), language="en", timestamps="segment")
    assert len(result.segments) > 5
    assert not any(segment.words for segment in result.segments)
    assert all(segment.start <= segment.end <= result.duration for segment in result.segments)


@pytest.mark.speech
def test_a_file_in_two_languages(hear: Hear, speech_dir: Path) -> None:
    result = hear(sound(speech_dir / "multilingual.mp3"))
    assert result.language == "en"
    assert result.language_probability is not None
    assert result.language_probability > 0.9
    begin = "permission is hereby granted free of charge to any person obtaining a copy of this software"
    assert begin in re.sub(r"[^a-z ]", "", result.text.lower())
    assert "die Software zu verwenden" in result.text


@pytest.mark.speech
def test_key_terms_are_written_as_given(hear: Hear, speech_dir: Path) -> None:
    assert "ComfyUI" in hear(sound(speech_dir / "hotwords.mp3"), keyterms=["ComfyUI"]).text


@pytest.mark.speech
def test_a_long_prompt_leaves_room_for_the_text(hear: Hear, speech_dir: Path) -> None:
    result = hear(
        sound(speech_dir / "jfk.flac"), language="en", prompt="A speech. " * 300, keyterms=["Kennedy"]
    )
    assert "your country" in result.text


@pytest.mark.speech
def test_speech_is_translated(hear: Hear, speech_dir: Path) -> None:
    german = sound(speech_dir / "multilingual.mp3")[42 * 16_000 :]
    assert "software" in hear(german, language="de", task="translate").text.lower()
    assert "the" in hear(german, language="de", task="translate").text.lower().split()


@pytest.mark.speech
def test_without_vad_everything_is_heard(hear: Hear, speech_dir: Path) -> None:
    text = hear(sound(speech_dir / "two_cities.flac"), language="en", vad=False).text
    assert wer([two_cities(speech_dir)], [text]) <= 0.05


def test_an_hour_of_silence_is_empty_and_quick(hear: Hear) -> None:
    begun = time.monotonic()
    result = hear(np.zeros(3600 * 16_000, dtype=np.float32))
    assert time.monotonic() - begun < 10
    assert (result.text, result.segments, result.language) == ("", [], None)
    assert result.duration == 3600


def test_ten_minutes_of_noise_hold_no_words(hear: Hear) -> None:
    noise = np.random.default_rng(1).normal(0, 0.003, 600 * 16_000).astype(np.float32)
    assert hear(noise).text == ""


def test_an_unknown_language_is_refused(hear: Hear) -> None:
    with pytest.raises(InvalidTask, match="field language: the model does not know 'xx'"):
        hear(np.zeros(16_000, dtype=np.float32), language="xx")


@pytest.mark.speech
def test_the_share_done_grows_and_a_cancellation_stops(hear: Hear, speech_dir: Path) -> None:
    samples = np.tile(sound(speech_dir / "two_cities.flac"), 6)
    shares: list[float] = []
    context = Context(report=lambda share: None)

    def report(share: float) -> None:
        shares.append(share)
        context.cancelled.set()

    context.report = report
    with pytest.raises(Cancelled):
        hear(samples, context, language="en")
    assert len(shares) == 1
    assert 0 < shares[0] < 0.8


@pytest.mark.speech
def test_a_variant_of_one_language_does_not_guess_it(
    speech_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")
    english = variant.capabilities.model_copy(update={"languages": ["en"]})
    engine = WhisperEngine(threads=2)
    engine.load(
        variant.model_copy(update={"capabilities": english}), locate(variant, Places.from_env({}), {})
    )
    monkeypatch.delattr(decoder_module.Decoder, "detect")
    task = Task(TranscribeInput(audio="data:,"), sound(speech_dir / "jfk.flac"))
    result = engine.run(task, Context(report=lambda share: None))
    assert (result.language, result.language_probability) == ("en", 1.0)
    assert "ask what you can do for your country" in result.text
