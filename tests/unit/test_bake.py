"""Weights on their way into an image."""

from pathlib import Path

import pytest

from fanscribe.worker_environment import SettingsError
from fanscribe_handlers import bake as baking
from fanscribe_handlers.bake import bake, main, named
from fanscribe_handlers.models import Places


def test_links_of_a_hub_cache_become_files(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "store" / "models--S--M" / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    variant = named("whisper-large-v3")
    model = variant.model.model_copy(update={"repo": "S/M", "files": ["model.bin"]})
    (blobs / "1").write_bytes(b"weights")
    (snapshot / "model.bin").symlink_to(blobs / "1")
    target = tmp_path / "image"
    target.mkdir()
    places = Places(None, tmp_path / "store", tmp_path / "cache", None)
    assert bake(variant.model_copy(update={"model": model}), target, places) == len(b"weights")
    assert not (target / "model.bin").is_symlink()
    assert (target / "model.bin").read_bytes() == b"weights"


def test_a_variant_is_found_in_whichever_family() -> None:
    assert named("diarize-onnx").family == "diarize_onnx"
    with pytest.raises(SettingsError, match="there is no variant 'nope'"):
        named("nope")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: python -m fanscribe_handlers.bake VARIANT FOLDER"),
        (["nope", "x"], "there is no variant 'nope'"),
        (["diarize-onnx", "x"], "leave BAKE_MODEL empty"),
    ],
)
def test_wrong_usage_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_weights_that_cannot_be_had_fail_the_build_with_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fanscribe_handlers.models import ModelMissing

    def missing(*_: object) -> int:
        raise ModelMissing("whisper-large-v3", ["Model Store: not here", "hub download: is gated"])

    monkeypatch.setattr(baking, "bake", missing)
    assert main(["whisper-large-v3", str(tmp_path)]) == 1
    assert "hub download: is gated" in capsys.readouterr().err
