"""Fitness checks: a worker ends only for what another host may have."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from fanscribe.contracts.variant import Hardware, Model, Variant
from fanscribe_handlers.fitness import Unfit, checks, list_gpus
from fanscribe_handlers.models import Places
from fanscribe_handlers.settings import read_variant

BASE = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")
FILES = ["config.json", "model.bin"]


def variant(*, cpu: bool = False, **model: Any) -> Variant:
    return BASE.model_copy(
        update={
            "model": Model.model_validate(
                {"source": "huggingface", "repo": "Some/Model", "files": FILES, "licence": "mit"} | model
            ),
            "hardware": Hardware(min_vram_gb=4, min_ram_gb=4, cpu=cpu),
        }
    )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(None, tmp_path / "store", tmp_path / "cache", None)


def fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()


def failures(
    variant: Variant, places: Places, environ: dict[str, str], gpus: str = "GPU 0"
) -> dict[str, str]:
    found = {}
    for check in checks(variant, places, environ, lambda: gpus):
        try:
            check()
        except Unfit as error:
            found[check.__name__] = str(error)
    return found


def test_a_host_with_a_gpu_and_nothing_promised_is_fit(places: Places) -> None:
    assert [each.__name__ for each in checks(variant(), places, {})] == ["gpu_visible", "model_present"]
    assert failures(variant(), places, {}) == {}


def test_a_missing_gpu_is_unfit_where_the_variant_needs_one(places: Places) -> None:
    assert "none is visible" in failures(variant(), places, {}, gpus="")["gpu_visible"]
    assert failures(variant(cpu=True), places, {}, gpus="") == {}
    assert failures(variant(), places, {"RUNPOD_SKIP_GPU_CHECK": "true"}, gpus="") == {}


def test_a_model_that_is_nowhere_is_left_to_the_jobs_answer(places: Places) -> None:
    places.store.mkdir()
    assert failures(variant(gated=True), places, {}) == {}


def test_a_model_store_that_lacks_a_file_is_unfit(places: Places) -> None:
    snapshot = places.store / "models--some--model" / "snapshots" / "abc"
    fill(snapshot)
    assert failures(variant(), places, {}) == {}
    (snapshot / "model.bin").unlink()
    assert "lacks model.bin" in failures(variant(), places, {})["model_present"]
    assert "has no revision v2" in failures(variant(revision="v2"), places, {})["model_present"]


def test_weights_that_an_image_should_hold_are_looked_for(places: Places, tmp_path: Path) -> None:
    baked = Places(tmp_path / "model", places.store, places.cache, None)
    assert "FANSCRIBE_MODEL_DIR: there is no folder" in failures(variant(), baked, {})["model_present"]
    fill(places.store / "models--Some--Model" / "snapshots" / "abc")
    assert failures(variant(), baked, {}) == {}, "one place that keeps its promise is enough"


def test_bundled_weights_are_looked_for(places: Places) -> None:
    diarizer = read_variant({"FANSCRIBE_VARIANT": "diarize-onnx"}, "diarize_onnx")
    assert failures(diarizer, places, {}) == {}
    model = diarizer.model.model_copy(update={"files": ["gone.onnx"]})
    assert (
        "lacks gone.onnx"
        in failures(diarizer.model_copy(update={"model": model}), places, {})["model_present"]
    )


def test_the_driver_is_asked_for_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == ""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: a card"\n')
    tool.chmod(0o755)
    assert list_gpus() == "GPU 0: a card\n"
    tool.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert list_gpus() == ""


def test_a_driver_that_hangs_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert list_gpus() == ""
