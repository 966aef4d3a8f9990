"""Results in a local folder: private, whole or missing, capped, shared by several processes."""

import errno
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fanscribe.contracts.errors import FanscribeError, UsageError
from fanscribe.results import open_results
from fanscribe.results.envelope import pack
from fanscribe.results.folder import FolderResults

SECRET = "the secret that was said"


def key(number: int, kind: str = "task") -> str:
    return f"{kind}/{number:064x}"


@pytest.fixture
def store(tmp_path: Path) -> FolderResults:
    return FolderResults(tmp_path / "results")


def files(store: FolderResults) -> list[Path]:
    return [file for file in Path(store.location).rglob("*") if file.is_file()]


def keys(store: FolderResults) -> set[str]:
    return {each.key for each in store.entries()}


def test_a_value_comes_back_as_it_was_kept(store: FolderResults) -> None:
    value = {"text": "naïve 日本語", "words": [1.5, None, True], "nested": {"a": []}}
    assert store.get(key(1)) is None
    store.put(key(1), value)
    assert store.get(key(1)) == value
    store.put(key(1), {"text": "newer"})
    assert store.get(key(1)) == {"text": "newer"}


def test_a_folder_that_does_not_exist_is_empty(store: FolderResults) -> None:
    assert store.get(key(1)) is None
    assert list(store.entries()) == []
    assert store.clear() == 0
    assert not Path(store.location).exists()


def test_folder_and_files_are_private(store: FolderResults) -> None:
    before = os.umask(0)
    try:
        store.put(key(1), {"text": SECRET})
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(store.location).stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in files(store)] == [0o600]


def test_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o755)
    FolderResults(root).put(key(1), {})
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut off"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one bit"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b'{"text": "by hand"}', id="not ours"),
        pytest.param(lambda data: pack(key(2), {"text": "of another key"}), id="another's"),
    ],
)
def test_damage_counts_as_missing_and_is_removed(
    store: FolderResults, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(key(1), {"text": SECRET * 20})
    (file,) = files(store)
    file.write_bytes(damage(file.read_bytes()))
    assert store.get(key(1)) is None
    assert not file.exists()
    assert "damaged" in caplog.text
    store.put(key(1), {"text": "again"})
    assert store.get(key(1)) == {"text": "again"}


def test_no_name_and_no_log_line_tells_what_was_said(
    store: FolderResults, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store.put(key(1), {"text": SECRET})
    (file,) = files(store)
    file.write_bytes(file.read_bytes()[:-3])
    store.get(key(1))
    assert SECRET not in caplog.text + str(file)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def incompressible(seed: int) -> dict[str, Any]:
    import random

    return {"noise": random.Random(seed).randbytes(5_000).hex()}


def test_the_least_recently_used_go_when_the_cap_is_passed(tmp_path: Path) -> None:
    one = len(pack(key(0), incompressible(0)))
    store = FolderResults(tmp_path, max_bytes=10 * one + one // 2, clock=Clock())
    for number in range(10):
        store.put(key(number), incompressible(number))
    assert store.get(key(0)) is not None  # used again, so 1 is the oldest now
    store.put(key(10), incompressible(10))
    left = keys(store)
    assert key(0) in left
    assert key(10) in left
    assert key(1) not in left
    assert sum(each.size_bytes for each in store.entries()) <= 10 * one
    assert len(left) >= 8  # it does not empty the folder


def test_what_another_process_writes_counts_too(tmp_path: Path) -> None:
    one = len(pack(key(0), incompressible(0)))
    ours, others = (FolderResults(tmp_path, max_bytes=40 * one, clock=Clock()) for _ in range(2))
    for number in range(30):
        ours.put(key(number), incompressible(number))
        others.put(key(100 + number), incompressible(number))
    assert sum(each.size_bytes for each in ours.entries()) <= 40 * one * 1.1


def test_a_value_above_the_cap_is_not_kept(tmp_path: Path) -> None:
    store = FolderResults(tmp_path / "small", max_bytes=1000)
    store.put(key(1), incompressible(1))
    assert store.get(key(1)) is None


def test_a_full_disk_is_a_warning_and_leaves_nothing_half(
    store: FolderResults, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(key(1), {"text": "before"})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        store.put(key(1), {"text": "lost"})
        store.put(key(2), {"text": "lost"})
    assert caplog.text.count("No space left on device") == 1
    assert len(files(store)) == 1
    assert store.get(key(1)) == {"text": "before"}
    assert store.get(key(2)) is None


def test_a_folder_that_cannot_be_used_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FolderResults(tmp_path / "file" / "results")
    store.put(key(1), {})
    assert store.get(key(1)) is None
    assert "paid again" in caplog.text


def test_clear_removes_ours_and_nothing_else(store: FolderResults) -> None:
    store.put(key(1), {})
    store.put(key(2, "cuts"), {})
    other = Path(store.location) / "notes.txt"
    other.write_text("mine")
    assert keys(store) == {key(1), key(2, "cuts")}
    assert store.clear() == 2
    assert files(store) == [other]


def test_parts_of_a_process_that_died_are_swept_away(tmp_path: Path) -> None:
    FolderResults(tmp_path).put(key(1), {})
    part = tmp_path / "task" / "00" / ".part-left"
    part.write_bytes(b"half")
    os.utime(part, (1, 1))
    FolderResults(tmp_path).put(key(1), {})
    assert not part.exists()


@pytest.mark.parametrize("bad", ["task/..", "task/../../etc/passwd", "else/" + "0" * 64, "task/" + "G" * 64])
def test_only_keys_are_taken(store: FolderResults, bad: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.get(bad)
    with pytest.raises(ValueError, match="not a key"):
        store.put(bad, {})


_WRITER = """
import sys
from pathlib import Path
from fanscribe.results.folder import FolderResults
store = FolderResults(Path(sys.argv[1]), max_bytes=200_000)
for turn in range(150):
    number = turn % 30
    value = store.get(f"task/{number:064x}")
    assert value is None or value == {"number": number, "fill": str(number) * 400}, value
    store.put(f"task/{number:064x}", {"number": number, "fill": str(number) * 400})
"""


def test_two_processes_at_once_see_whole_values_only(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    complaints = [writer.communicate(timeout=60)[1] for writer in writers]
    assert complaints == ["", ""]
    assert [writer.returncode for writer in writers] == [0, 0]
    store = FolderResults(tmp_path)
    assert len(keys(store)) == 30
    assert all(store.get(each) for each in keys(store))


def test_which_place_is_meant(tmp_path: Path) -> None:
    def place(location: str | None, environ: dict[str, str]) -> str:
        store = open_results(location, environ)
        assert store is not None
        return store.location

    assert open_results(None, {"FANSCRIBE_RESULTS": "off"}) is None
    assert place(str(tmp_path), {"FANSCRIBE_RESULTS": "/elsewhere"}) == str(tmp_path)
    assert place(None, {"FANSCRIBE_RESULTS": str(tmp_path)}) == str(tmp_path)
    assert place(None, {}).endswith("/fanscribe/results")


@pytest.mark.parametrize("size", ["0", "-5", "1e9", "lots"])
def test_a_wrong_cap_is_named(size: str) -> None:
    with pytest.raises(UsageError, match="FANSCRIBE_RESULTS_MAX_BYTES"):
        open_results(None, {"FANSCRIBE_RESULTS_MAX_BYTES": size})


@pytest.mark.parametrize("place", ["s3://", "s3:///prefix", "ftp://there"])
def test_a_wrong_place_is_named(place: str) -> None:
    with pytest.raises(UsageError, match=place):
        open_results(place, {})


def test_listing_what_cannot_be_read_is_an_error(
    store: FolderResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(FanscribeError, match="cannot be listed: Permission denied"):
        list(store.entries())
    with pytest.raises(FanscribeError, match="cannot be cleared"):
        store.clear()
