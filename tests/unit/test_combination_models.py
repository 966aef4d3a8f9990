"""Where the weights of a combination's parts lie: one folder, with a sub-folder for each."""

from pathlib import Path

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.combination import combination_of, combine
from fanscribe_handlers.bake import bake
from fanscribe_handlers.diarize_onnx.engine import EMBEDDING
from fanscribe_handlers.models import ModelMissing, Places, broken_promise, locate, offline_where_stored

KNOWN = load_catalogue().variants
TURBO = KNOWN["whisper-large-v3-turbo-diarized"]
FILES = KNOWN["whisper-large-v3-turbo"].model.files


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Places(None, tmp_path / "store", tmp_path / "cache", None)


def stored(places: Places, name: str = "mobiuslabsgmbh/faster-whisper-large-v3-turbo") -> Path:
    """The model as the platform mounts it."""
    snapshot = places.store / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in FILES:
        (snapshot / file).write_text(file)
    return snapshot


def test_parts_that_lie_elsewhere_are_linked_into_one_folder(places: Places) -> None:
    stored(places)
    environ: dict[str, str] = {}
    folder = locate(TURBO, places, environ)
    assert sorted(entry.name for entry in folder.iterdir()) == ["diarize-onnx", "whisper-large-v3-turbo"]
    assert (folder / "whisper-large-v3-turbo" / "model.bin").read_text() == "model.bin"
    assert (folder / "diarize-onnx" / EMBEDDING).is_file()
    assert locate(TURBO, places, environ) == folder, "made once"
    assert environ["HF_HUB_OFFLINE"] == "1", "the one part that is on the hub lies in the store"


def test_one_part_in_the_store_does_not_keep_the_others_from_the_hub(places: Places) -> None:
    pair = combine(combination_of(["whisper-large-v3-turbo", "pyannote-community-1"]), KNOWN)
    stored(places)
    environ: dict[str, str] = {}
    with pytest.raises(ModelMissing, match="the model of pyannote-community-1 was not found"):
        locate(pair, places, environ)
    offline_where_stored(pair, places, environ)
    assert environ == {}


def test_parts_that_need_no_hub_say_nothing_of_it(places: Places) -> None:
    environ: dict[str, str] = {}
    offline_where_stored(KNOWN["whisper-base-diarized"], places, environ)
    assert environ == {}


def test_a_folder_of_the_operator_s_has_one_for_each_part(places: Places, tmp_path: Path) -> None:
    stored(places)
    image = tmp_path / "image"
    image.mkdir()
    bake(TURBO, image, places)
    assert (image / "diarize-onnx" / EMBEDDING).is_file(), "the bundled part too, so that the folder is whole"
    assert not (image / "whisper-large-v3-turbo" / "model.bin").is_symlink()
    baked = Places(image, tmp_path / "no-store", tmp_path / "other-cache", None)
    assert locate(TURBO, baked, {}) == image
    assert not (tmp_path / "other-cache").exists()
    assert broken_promise(TURBO, baked) is None
    (image / "whisper-large-v3-turbo" / "model.bin").unlink()
    assert "whisper-large-v3-turbo lacks model.bin" in str(broken_promise(TURBO, baked))


def test_a_part_s_own_store_is_a_promise_of_the_whole(places: Places) -> None:
    snapshot = stored(places)
    assert broken_promise(TURBO, places) is None
    (snapshot / "config.json").unlink()
    assert "lacks config.json" in str(broken_promise(TURBO, places))
