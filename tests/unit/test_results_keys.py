"""What a key depends on, and what it does not."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanscribe import media
from fanscribe.contracts.task import Clip, DiarizeInput, Stage, TaskInput, Timestamps, TranscribeInput
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe.media.flac import FlacWriter, pcm16
from fanscribe.results import cuts_key, engine_key, file_digest, task_key

SPAN = "a" * 64
FACT = {"value": 1.0, "source": "measured"}


def variant(**changes: Any) -> Variant:
    data: dict[str, Any] = {
        "schema_version": 1,
        "id": "whisper-base",
        "family": "whisper",
        "stages": ["transcribe"],
        "name": "Whisper base",
        "model": {"source": "huggingface", "repo": "a/b", "revision": "main", "licence": "mit"},
        "hardware": {"min_ram_gb": 1},
        "performance": {"load_s": FACT, "rtf": {"cpu_2": FACT}, "overhead_s": FACT},
        "options": {"compute_type": "int8"},
    }
    return Variant.model_validate(data | changes)


def asked(**fields: Any) -> TranscribeInput:
    return TranscribeInput(audio=fields.pop("audio", "data:,a"), **fields)


def of(
    task: TaskInput, *, span: str = SPAN, stage: Stage = Stage.TRANSCRIBE, engine: str = "e 1", **changes: Any
) -> str:
    return task_key(span, stage, variant(**changes), engine, task)


BASE = of(asked())


@pytest.mark.parametrize(
    "same",
    [
        of(asked(audio="https://elsewhere.example/a.flac")),
        of(asked(clip=Clip(start=3, end=5), channel=1)),
        of(asked(contract_version="1.0")),
        of(asked(timestamps=Timestamps.WORD)),
        of(asked(), name="A better name", aliases=["base"], hardware={"min_ram_gb": 2}),
        of(
            asked(),
            performance={"load_s": FACT, "rtf": {"cpu_2": {"value": 3, "source": "new"}}, "overhead_s": FACT},
        ),
    ],
)
def test_where_the_audio_lies_and_how_fast_it_goes_do_not_matter(same: str) -> None:
    assert same == BASE


def test_everything_that_changes_the_answer_matters() -> None:
    others = [
        of(asked(), span="b" * 64),
        of(asked(), engine="e 2"),
        of(asked(), stage=Stage.ALIGN),
        of(asked(), id="whisper-small"),
        of(asked(), model={"source": "huggingface", "repo": "a/b", "revision": "1234", "licence": "mit"}),
        of(asked(), options={"compute_type": "float32"}),
        of(asked(language="de")),
        of(asked(task="translate")),
        of(asked(timestamps=Timestamps.SEGMENT)),
        of(asked(prompt="names")),
        of(asked(keyterms=["Runpod"])),
        of(asked(vad=False)),
        of(asked(response_format="srt")),
        of(asked(diarization_segments=[Turn(0.0, 1.0, "SPEAKER_00")])),
        of(DiarizeInput(audio="data:,a"), stage=Stage.DIARIZE),
        of(DiarizeInput(audio="data:,a", num_speakers=2), stage=Stage.DIARIZE),
    ]
    assert len({BASE, *others}) == len(others) + 1


def test_another_contract_version_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanscribe.results.keys.CONTRACT_VERSION", "1.1")
    assert of(asked()) != BASE


def test_kinds_of_keys_are_apart() -> None:
    assert BASE.startswith("task/")
    cuts = cuts_key(SPAN, {"stages": ["transcribe"], "wanted_s": 300.0})
    assert cuts.startswith("cuts/")
    assert cuts == cuts_key(SPAN, {"wanted_s": 300.0, "stages": ["transcribe"]})
    assert cuts != cuts_key("b" * 64, {"stages": ["transcribe"], "wanted_s": 300.0})
    assert cuts != cuts_key(SPAN, {"stages": ["transcribe"], "wanted_s": 240.0})
    assert engine_key("abc", variant()) != engine_key("abd", variant())
    assert engine_key("abc", variant()) != engine_key("abc", variant(id="other"))
    assert engine_key("abc", variant()).startswith("engine/")


def test_sound_keeps_its_digest_through_flac() -> None:
    rng = np.random.default_rng(7)
    samples = rng.uniform(-1, 1, 40_000).astype(np.float32)
    buffer = io.BytesIO()
    writer = FlacWriter(buffer)
    writer.write(samples)
    writer.close()
    buffer.seek(0)
    sent, arrived = pcm16(samples), pcm16(media.decode(buffer, "chunk").samples)
    assert hashlib.sha256(sent.tobytes()).hexdigest() == hashlib.sha256(arrived.tobytes()).hexdigest()


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "audio"
    file.write_bytes(b"abc" * 1_000_000)
    assert file_digest(file) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
