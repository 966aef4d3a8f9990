"""The pocketsphinx aligner with its real model, against word times that a synthesiser reported."""

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe.contracts.task import AlignInput, AlignResult
from fanscribe.contracts.transcript import Segment
from fanscribe.media import decode
from fanscribe_handlers.align_pocketsphinx.engine import PocketsphinxEngine
from fanscribe_handlers.engine import Cancelled, Context, InvalidTask, Task
from fanscribe_handlers.models import Places, locate
from fanscribe_handlers.settings import read_variant

pytestmark = pytest.mark.engine

DATA = Path(__file__).resolve().parent.parent / "data" / "timed_speech"
VARIANT = read_variant({"FANSCRIBE_VARIANT": "align-pocketsphinx-en"}, "align_pocketsphinx")


@dataclass(frozen=True)
class Speech:
    samples: NDArray[np.float32]
    segments: list[dict[str, Any]]

    @property
    def starts(self) -> list[float | None]:
        return [word["start"] for segment in self.segments for word in segment["words"]]

    def input(self, **changes: Any) -> AlignInput:
        given = [Segment(each["start"], each["end"], each["text"]) for each in self.segments]
        return AlignInput.model_validate({"audio": "data:,", "language": "en", "segments": given, **changes})


@pytest.fixture(scope="module")
def speech() -> Speech:
    """Three speakers, several sentences each, with a number, a name in no dictionary and words run together."""
    samples = decode(DATA / "speech.flac", "speech.flac").samples
    return Speech(samples, json.loads((DATA / "words.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> PocketsphinxEngine:
    places = Places(None, Path("/nowhere"), tmp_path_factory.mktemp("models"), None)
    loaded = PocketsphinxEngine(threads=1)
    loaded.load(VARIANT, locate(VARIANT, places, {}))
    return loaded


def run(
    engine: PocketsphinxEngine, asked: AlignInput, samples: NDArray[np.float32], offset_s: float = 0.0
) -> AlignResult:
    return engine.run(Task(asked, samples, offset_s), Context(report=lambda share: None))


def errors(result: AlignResult, starts: list[float | None]) -> NDArray[np.float64]:
    words = [word for segment in result.segments for word in segment.words]
    return np.array(
        [abs(word.start - start) for word, start in zip(words, starts, strict=True) if start is not None]
    )


def test_words_in_running_speech_start_where_the_synthesiser_began_them(
    engine: PocketsphinxEngine, speech: Speech
) -> None:
    found = errors(run(engine, speech.input(), speech.samples), speech.starts)
    assert len(found) > 70
    assert np.median(found) <= 0.03
    assert np.percentile(found, 90) <= 0.12
    assert found.max() <= 0.4


def test_one_long_segment_does_as_well(engine: PocketsphinxEngine, speech: Speech) -> None:
    text = " ".join(each["text"] for each in speech.segments)
    asked = speech.input(segments=[Segment(0.0, len(speech.samples) / 16_000, text)])
    found = errors(run(engine, asked, speech.samples), speech.starts)
    assert np.median(found) <= 0.03
    assert np.percentile(found, 90) <= 0.15


def test_the_text_stays_as_it_was_given(engine: PocketsphinxEngine, speech: Speech) -> None:
    result = run(engine, speech.input(), speech.samples)
    for given, segment in zip(speech.segments, result.segments, strict=True):
        assert segment.text == given["text"]
        assert [word.text for word in segment.words] == given["text"].split()
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert (segment.start, segment.end) == (times[0], times[-1])


def test_words_that_nobody_can_say_get_times_between_their_neighbours(
    engine: PocketsphinxEngine, speech: Speech
) -> None:
    first = speech.segments[0]
    text = first["text"].replace("fine this", "fine — москва 天 this")
    asked = speech.input(segments=[Segment(first["start"], first["end"], text)])
    words = run(engine, asked, speech.samples).segments[0].words
    at = [word.text for word in words].index("fine")
    assert [word.text for word in words[at : at + 5]] == ["fine", "—", "москва", "天", "this"]
    times = [time for word in words[at : at + 5] for time in (word.start, word.end)]
    assert times == sorted(times)
    assert words[at + 4].start == pytest.approx(1.012, abs=0.08)


def test_text_that_was_not_said_is_spread_over_its_segment(
    engine: PocketsphinxEngine, speech: Speech
) -> None:
    asked = speech.input(
        segments=[Segment(0.5, 0.7, "a very long sentence that nobody could say in this time")]
    )
    (segment,) = run(engine, asked, speech.samples).segments
    assert segment.words[0].start == 0.5
    assert segment.words[-1].end == pytest.approx(0.7)
    assert len(segment.words) == 11


def test_times_of_a_clip_count_from_its_start(engine: PocketsphinxEngine, speech: Speech) -> None:
    second = speech.segments[1]
    offset_s = second["start"] - 0.1
    asked = speech.input(segments=[Segment(second["start"], second["end"], second["text"])])
    words = run(engine, asked, speech.samples[round(offset_s * 16_000) :], offset_s).segments[0].words
    assert words[3].start + offset_s == pytest.approx(second["words"][3]["start"], abs=0.08)


def test_what_it_cannot_do_is_refused(engine: PocketsphinxEngine, speech: Speech) -> None:
    with pytest.raises(InvalidTask, match="field language: this model aligns en, not 'de'"):
        run(engine, speech.input(language="de"), speech.samples)
    with pytest.raises(InvalidTask, match=r"field segments\.0: it lasts 301 s"):
        run(engine, speech.input(segments=[Segment(0, 301, "long")]), speech.samples)


def test_it_stops_between_segments(engine: PocketsphinxEngine, speech: Speech) -> None:
    cancelled = Event()
    context = Context(report=lambda share: cancelled.set(), cancelled=cancelled)
    with pytest.raises(Cancelled):
        engine.run(Task(speech.input(), speech.samples), context)


def test_no_segments_and_no_sound(engine: PocketsphinxEngine, speech: Speech) -> None:
    assert run(engine, speech.input(segments=[]), speech.samples).segments == []
    silence = np.zeros(8000, dtype=np.float32)
    (segment,) = run(engine, speech.input(segments=[Segment(0, 0.5, "Hello there.")]), silence).segments
    assert [word.text for word in segment.words] == ["Hello", "there."]
