"""The parts of the pyannote family that need no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.pyannote.batching import MOST, ON_CPU, windows_at_once, windows_in
from fanscribe_handlers.pyannote.configuration import WrongConfiguration, read
from fanscribe_handlers.pyannote.options import Options, options_of
from fanscribe_handlers.pyannote.progress import share_done
from fanscribe_handlers.pyannote.result import diarize_result
from fanscribe_handlers.settings import read_variant

NAME = "pyannote.audio.pipelines.SpeakerDiarization"
VARIANTS = ["pyannote-speaker-diarization-3.1", "pyannote-community-1"]


def variant(name: str = VARIANTS[0], **options: str | int | float | bool) -> Variant:
    return read_variant({"FANSCRIBE_VARIANT": name}, "pyannote").model_copy(update={"options": options})


def write(folder: Path, parameters: dict[str, Any] | None, name: str = NAME, **more: Any) -> None:
    pipeline = {"name": name, "params": parameters}
    (folder / "config.yaml").write_text(yaml.safe_dump({"pipeline": pipeline, **more}))


@pytest.fixture
def of_3_1(tmp_path: Path) -> dict[str, Any]:
    """Parameters as in the configuration of speaker-diarization-3.1, and the two repositories that they name."""
    for repo in ("segmentation-3.0", "wespeaker-voxceleb-resnet34-LM"):
        (tmp_path / "pyannote" / repo).mkdir(parents=True)
    return {
        "clustering": "AgglomerativeClustering",
        "embedding": "pyannote/wespeaker-voxceleb-resnet34-LM",
        "embedding_batch_size": 32,
        "embedding_exclude_overlap": True,
        "segmentation": "pyannote/segmentation-3.0",
        "segmentation_batch_size": 32,
    }


def test_other_repositories_are_found_in_the_folder(tmp_path: Path, of_3_1: dict[str, Any]) -> None:
    write(tmp_path, of_3_1, version="3.1.0", params={"clustering": {"threshold": 0.7}})
    found = read(tmp_path)
    assert found.parameters == {
        "clustering": "AgglomerativeClustering",
        "embedding": {"checkpoint": str(tmp_path / "pyannote" / "wespeaker-voxceleb-resnet34-LM")},
        "embedding_exclude_overlap": True,
        "segmentation": {"checkpoint": str(tmp_path / "pyannote" / "segmentation-3.0")},
    }
    assert found.tuned == {"clustering": {"threshold": 0.7}}
    assert not found.needs_plda


def test_sub_folders_of_the_own_repository(tmp_path: Path) -> None:
    for name in ("segmentation", "embedding", "plda"):
        (tmp_path / name).mkdir()
    params = {name: f"$model/{name}" for name in ("segmentation", "embedding", "plda")}
    write(tmp_path, {"clustering": "VBxClustering", "legacy": True, "token": "x", **params})
    found = read(tmp_path)
    assert found.needs_plda
    assert found.parameters == {
        "clustering": "VBxClustering",
        **{name: {"checkpoint": str(tmp_path / name)} for name in params},
    }
    assert found.tuned == {}


def test_a_revision_is_not_part_of_the_name_and_onnx_stays_a_path(
    tmp_path: Path, of_3_1: dict[str, Any]
) -> None:
    (tmp_path / "wespeaker.onnx").touch()
    changed = {"segmentation": "pyannote/segmentation-3.0@main", "embedding": "wespeaker.onnx"}
    write(tmp_path, {**of_3_1, **changed})
    parameters = read(tmp_path).parameters
    assert parameters["segmentation"] == {"checkpoint": str(tmp_path / "pyannote" / "segmentation-3.0")}
    assert parameters["embedding"] == str(tmp_path / "wespeaker.onnx")


def test_a_model_named_as_a_table(tmp_path: Path, of_3_1: dict[str, Any]) -> None:
    (tmp_path / "other" / "models" / "seg").mkdir(parents=True)
    named = {"checkpoint": "other/models", "subfolder": "seg", "revision": "v2"}
    write(tmp_path, {**of_3_1, "segmentation": named})
    checkpoint = {"checkpoint": str(tmp_path / "other" / "models" / "seg")}
    assert read(tmp_path).parameters["segmentation"] == checkpoint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"segmentation": "pyannote/gone"},
            r"params\.segmentation is pyannote/gone, but .* has no pyannote/gone",
        ),
        ({"embedding": 3}, r"params\.embedding names no model"),
        ({"clustering": "VBxClustering"}, r"pipeline\.params lacks plda"),
    ],
)
def test_faults_name_the_key(
    tmp_path: Path, of_3_1: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    write(tmp_path, {**of_3_1, **change})
    with pytest.raises(WrongConfiguration, match=message):
        read(tmp_path)


def test_what_is_no_pipeline_is_refused(tmp_path: Path, of_3_1: dict[str, Any]) -> None:
    with pytest.raises(WrongConfiguration, match=r"config\.yaml cannot be read"):
        read(tmp_path)
    write(tmp_path, None)
    with pytest.raises(WrongConfiguration, match=r"has no pipeline\.params"):
        read(tmp_path)
    write(tmp_path, of_3_1, name="os.system")
    with pytest.raises(WrongConfiguration, match="only SpeakerDiarization can be served"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("free", "windows"), [(0, ON_CPU), (1, 1), (500_000_000, 4), (4_000_000_000, 32), (80_000_000_000, MOST)]
)
def test_windows_fit_the_memory(free: int, windows: int) -> None:
    assert windows_at_once(free) == windows


@pytest.mark.parametrize(("duration_s", "windows"), [(0.2, 1), (10.0, 1), (10.01, 2), (12.0, 3), (30.0, 21)])
def test_windows_over_a_recording(duration_s: float, windows: int) -> None:
    assert windows_in(duration_s) == windows


def test_the_share_done_rises_through_the_steps() -> None:
    told = [
        share_done("segmentation", 0, 10),
        share_done("segmentation", 5, 10),
        share_done("segmentation", 12, 10),  # pyannote counts whole batches
        share_done("segmentation", None, None),
        share_done("speaker_counting", None, None),
        share_done("embeddings", 0, 4),
        share_done("embeddings", 2, 4),
        share_done("embeddings", None, None),
        share_done("discrete_diarization", None, None),
    ]
    assert told == pytest.approx([0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.575, 0.95, 1.0])
    assert share_done("training", 1, 2) is None


def test_speakers_are_numbered_by_first_speech() -> None:
    found = diarize_result(
        [(5.0, 6.0, "SPEAKER_00"), (-0.01, 2.00049, "SPEAKER_01"), (9.5, 12.0, "SPEAKER_00")],
        [(0.0, 2.0, "SPEAKER_01")],
        {"SPEAKER_00": np.array([1.0, 2.0]), "SPEAKER_01": np.array([3.0, 4.0])},
        10.0,
    )
    assert found == DiarizeResult(
        segments=[Turn(0.0, 2.0, "SPEAKER_00"), Turn(5.0, 6.0, "SPEAKER_01"), Turn(9.5, 10.0, "SPEAKER_01")],
        exclusive_segments=[Turn(0.0, 2.0, "SPEAKER_00")],
        num_speakers=2,
        embeddings={"SPEAKER_00": [3.0, 4.0], "SPEAKER_01": [1.0, 2.0]},
        duration=10.0,
    )
    assert list(found.embeddings) == ["SPEAKER_00", "SPEAKER_01"]


def test_what_is_no_turn_and_no_vector_is_left_out() -> None:
    found = diarize_result(
        [(1.0, 1.0001, "A"), (10.0, 10.5, "B"), (2.0, 3.0, "C"), (3.0, 4.0, "D")],
        [],
        {"A": np.ones(2), "C": np.zeros(2), "D": np.array([1.0, np.nan])},
        10.0,
    )
    assert [turn.start for turn in found.segments] == [2.0, 3.0]
    assert found.embeddings == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_are_gated_and_say_where_to_accept(name: str) -> None:
    model = variant(name).model
    assert model.gated
    assert model.licence_url == f"https://huggingface.co/{model.repo}"
    assert all(part.licence_url == f"https://huggingface.co/{part.repo}" for part in model.also)


def test_options() -> None:
    assert options_of(variant()) == Options(None, "float16")
    assert options_of(variant(batch_size=8, precision="float32")) == Options(8, "float32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1}, "no option 'batch'; use batch_size, precision"),
        ({"batch_size": 0}, "option batch_size is 0"),
        ({"batch_size": True}, "option batch_size is True"),
        ({"batch_size": "8"}, "option batch_size is '8'"),
        ({"precision": "int8"}, "option precision is 'int8'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options_of(variant(**options))
