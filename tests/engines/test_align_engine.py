"""The CTC aligner on transformers' own wav2vec2, tiny and random. Runs in the environment of the extra `align`."""

import asyncio
import base64
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe.contracts.task import AlignInput, AlignOutput, AlignResult
from fanscribe.contracts.transcript import Segment
from fanscribe.contracts.variant import Variant
from fanscribe.media import decode
from fanscribe_handlers.align.engine import AlignEngine
from fanscribe_handlers.align.windows import HOP, Window
from fanscribe_handlers.engine import Cancelled, Context, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import Places
from fanscribe_handlers.settings import Settings, read_variant
from fanscribe_handlers.worker import Worker

torch = pytest.importorskip("torch", reason="needs the extra align")
transformers = pytest.importorskip("transformers", reason="needs the extra align")

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings

DATA = Path(__file__).resolve().parent.parent / "data" / "timed_speech"
ENGLISH = read_variant({"FANSCRIBE_VARIANT": "align-wav2vec2-en"}, "align")
MMS = read_variant({"FANSCRIBE_VARIANT": "align-mms-multilingual"}, "align")
RATE = 16_000
LETTERS = "ETAOINHSRDLUMWCFGYPBVK'XJQZ"
Samples = NDArray[np.float32]


def save_model(folder: Path, vocabulary: dict[str, int], norm: str) -> Path:
    """A model of the right shape with random weights, saved as transformers saves one."""
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shaped like facebook/wav2vec2-base-960h: capital letters and a token between words."""
    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    return save_model(tmp_path_factory.mktemp("wav2vec2"), dict(zip(names, range(32), strict=True)), "group")


@pytest.fixture(scope="module")
def mms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shaped like MahmoudAshraf/mms-300m-1130-forced-aligner: small letters, nothing between words."""
    names = ["<blank>", "<pad>", "</s>", "<unk>", *LETTERS.lower()]
    return save_model(tmp_path_factory.mktemp("mms"), dict(zip(names, range(31), strict=True)), "layer")


@pytest.fixture(scope="module")
def speech() -> Samples:
    return decode(DATA / "speech.flac", "speech.flac").samples


@pytest.fixture
def engine(folder: Path) -> AlignEngine:
    return loaded(folder)


def loaded(folder: Path, variant: Variant = ENGLISH, **options: Any) -> AlignEngine:
    engine = AlignEngine(threads=2)
    engine.load(variant.model_copy(update={"options": {**variant.options, **options}}), folder)
    return engine


def asked(*segments: Segment, language: str = "en") -> AlignInput:
    return AlignInput(audio="data:,", language=language, segments=list(segments))


def run(
    engine: AlignEngine, task: AlignInput, samples: Samples, context: Context | None = None
) -> AlignResult:
    return engine.run(Task(task, samples), context or Context(report=lambda share: None))


def hears(engine: AlignEngine, told: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network hear these letters at these frames of the recording, and blanks everywhere else."""
    aligner = engine._aligner
    assert aligner is not None
    characters = aligner.characters

    def emissions(samples: Samples, windows: Sequence[Window]) -> list[Samples]:
        made = []
        for window in windows:
            scores = np.full((window.last - window.first, 32), 0.1 / 31, dtype=np.float32)
            for frame, row in enumerate(scores, window.first):
                letter = told.get(frame)
                row[characters.tokens[letter] if letter else characters.blank] = 0.9
            made.append(np.log(scores))
        return made

    monkeypatch.setattr(aligner, "emissions", emissions)


def test_a_known_path_gives_the_words_their_frames(
    engine: AlignEngine, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {100: "s", 101: "o", 140: "i", 141: "t", 142: "'", 143: "s", 200: "t", 201: "e", 205: "n"}
    hears(engine, told, monkeypatch)
    (segment,) = run(engine, asked(Segment(1.8, 4.3, "So … it's 10!")), speech).segments
    assert segment.text == "So … it's 10!"
    assert [(word.text, word.start, word.end) for word in segment.words] == [
        ("So", 2.0, 2.04),
        ("…", 2.04, 2.8),
        ("it's", 2.8, 2.88),
        ("10!", 4.0, 4.12),
    ]
    assert [word.confidence for word in segment.words[:3]] == [
        0.9,
        None,
        0.9,
    ]
    assert (segment.start, segment.end) == (2.0, 4.12)


def test_a_known_path_over_many_windows(
    engine: AlignEngine, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = np.tile(speech, 4)
    hears(engine, {frame: "no"[number % 2] for number, frame in enumerate(range(500, 4500, 50))}, monkeypatch)
    text = " ".join(["no"] * 40)
    (segment,) = run(engine, asked(Segment(9.0, 95.0, text)), long).segments
    assert [word.start for word in segment.words] == [10 + 2.0 * number for number in range(40)]


def test_the_engines_emissions_are_the_librarys(folder: Path, speech: Samples) -> None:
    engine = loaded(folder)
    aligner = engine._aligner
    assert aligner is not None
    window = Window(0, 60, 190, 50, 200)
    (found,) = aligner.emissions(speech, [window])
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    given = extractor(speech[50 * HOP : 200 * HOP], sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        whole = torch.log_softmax(model(given.input_values).logits[0], -1).numpy()
    assert whole.shape == (149, 32)
    np.testing.assert_allclose(found, whole[10:140], atol=2e-4)


def test_every_segment_comes_back_with_its_words(folder: Path, speech: Samples) -> None:
    told = json.loads((DATA / "words.json").read_text(encoding="utf-8"))
    given = [Segment(each["start"], each["end"], each["text"], "SPEAKER_00") for each in told]
    shares: list[float] = []
    result = run(loaded(folder), asked(*given), speech, Context(report=lambda share: shares.append(share)))
    for before, after in zip(given, result.segments, strict=True):
        assert (after.text, after.speaker) == (before.text, "SPEAKER_00")
        assert [word.text for word in after.words] == before.text.split()
        times = [time for word in after.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert before.start - 0.31 <= times[0]
        assert times[-1] <= before.end + 0.31
        assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in after.words)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_batches_change_nothing(folder: Path, speech: Samples) -> None:
    aligner = loaded(folder)._aligner
    assert aligner is not None
    windows = [
        Window(number, begin, begin + 150, begin, begin + 151) for number, begin in enumerate((0, 90, 700))
    ]
    together = aligner.emissions(speech, windows)
    for window, found in zip(windows, together, strict=True):
        np.testing.assert_allclose(found, aligner.emissions(speech, [window])[0], atol=1e-4)


def test_other_scripts_are_romanised(mms_folder: Path, speech: Samples) -> None:
    engine = loaded(mms_folder, MMS)
    given = [Segment(0.0, 3.0, "Привет, мир! 7"), Segment(3.5, 8.0, "今天天气很好。")]
    first, second = run(engine, asked(*given, language="ru"), speech).segments
    assert [word.text for word in first.words] == ["Привет,", "мир!", "7"]
    assert all(word.confidence is not None for word in first.words)
    assert [word.text for word in second.words] == ["今", "天", "天", "气", "很", "好。"]
    assert all(word.confidence is not None for word in second.words)


def test_a_language_that_the_model_does_not_know_is_refused(engine: AlignEngine, speech: Samples) -> None:
    with pytest.raises(InvalidTask, match="field language: this model aligns en, not 'de'"):
        run(engine, asked(Segment(0, 1, "Hallo"), language="de"), speech)


def test_out_of_memory_is_tried_once_more_with_half(
    folder: Path, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(folder, batch_frames=800)
    aligner = engine._aligner
    assert aligner is not None
    real, sizes = aligner.emissions, []

    def cramped(samples: Samples, windows: Sequence[Window]) -> list[Samples]:
        sizes.append(sum(window.length for window in windows))
        if sizes[-1] > 400:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(samples, windows)

    monkeypatch.setattr(aligner, "emissions", cramped)
    given = [Segment(start, start + 3.0, "walked along") for start in (0.5, 4.0, 8.0, 12.0)]
    assert len(run(engine, asked(*given), speech).segments) == 4
    assert sizes[0] > 400
    assert all(size <= 400 for size in sizes[1:])
    sizes.clear()
    run(engine, asked(*given), speech)
    assert max(sizes) <= 400  # what fitted is kept

    monkeypatch.setattr(aligner, "emissions", lambda samples, windows: cramped(samples, [*windows] * 9))
    with pytest.raises(OutOfMemory, match="shorter clip"):
        run(engine, asked(*given), speech)


def test_it_stops_between_batches(folder: Path, speech: Samples) -> None:
    cancelled = Event()
    context = Context(report=lambda share: cancelled.set(), cancelled=cancelled)
    given = [Segment(start, start + 3.0, "walked along") for start in (0.5, 4.0)]
    with pytest.raises(Cancelled):
        run(loaded(folder, batch_frames=1), asked(*given), speech, context)


def test_folders_of_no_use_are_refused_with_what_they_lack(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="no option 'beam'"):
        loaded(folder, beam=5)
    with pytest.raises(ValueError, match=r"vocab\.json cannot be read"):
        loaded(tmp_path)
    save_model(tmp_path, {"<pad>": 0, "a": 1}, "group")
    (tmp_path / "vocab.json").write_text('{"eng": {"<pad>": 0, "a": 1}}', encoding="utf-8")
    with pytest.raises(ValueError, match="a table for each language"):
        loaded(tmp_path)


def test_a_worker_answers_in_the_contracts_words(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.from_env({"FANSCRIBE_VARIANT": "align-wav2vec2-en"}, "align")
    worker = Worker(AlignEngine(2), settings, Places(folder, Path("/nowhere"), Path("/nowhere"), None))
    audio = base64.b64encode((DATA / "speech.flac").read_bytes()).decode()
    body = {
        "audio": f"data:audio/flac;base64,{audio}",
        "language": "en",
        "clip": {"start": 9.0, "end": 16.5},
        "segments": [{"start": 9.11, "end": 16.339, "text": "My brother's dog wanted to turn around."}],
    }
    with caplog.at_level(logging.ERROR):
        output = AlignOutput.model_validate(asyncio.run(worker.handle({"id": "1", "input": body})))
    assert not caplog.records
    assert output.engine.startswith("transformers ")
    (segment,) = output.segments
    assert len(segment.words) == 7
    assert 9.0 <= segment.words[0].start < segment.words[-1].end <= 16.5
    body["response_format"] = "srt"
    assert "My brother's dog" in asyncio.run(worker.handle({"id": "2", "input": body}))["text"]
