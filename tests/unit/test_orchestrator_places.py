"""Where an orchestrator keeps its work, and what counts as durable."""

from pathlib import Path

import pytest

from fanscribe.contracts.errors import UsageError
from fanscribe_orchestrator.places import on_volume, open_place

RUNPOD, HERE = "https://api.runpod.ai/v2", "http://127.0.0.1:8200/v2"

CONTAINER = """\
1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l
2 1 0:51 / /proc rw - proc proc rw
3 1 0:52 / /dev/shm rw - tmpfs shm rw
4 1 0:53 /vol-1 /runpod-volume rw,relatime shared:3 - nfs4 10.0.0.1:/data rw
5 1 0:54 / /mnt/my\\040disk rw - ext4 /dev/sdb rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(CONTAINER)
    return file


@pytest.mark.parametrize(
    ("folder", "outlives"),
    [
        ("/runpod-volume/results", True),
        ("/runpod-volume", True),
        ("/runpod-volumes/results", False),
        ("/mnt/my disk/results", True),
        ("/dev/shm/results", False),
        ("/root/.cache/fanscribe", False),
        ("/", False),
    ],
)
def test_what_lies_on_a_volume(folder: str, outlives: bool) -> None:
    assert on_volume(Path(folder), CONTAINER) is outlives


def test_a_later_mount_hides_an_earlier_one() -> None:
    hidden = CONTAINER + "6 1 0:55 / /runpod-volume rw - tmpfs tmpfs rw\n"
    assert not on_volume(Path("/runpod-volume/results"), hidden)


def test_a_link_into_the_container_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "volume").symlink_to(tmp_path / "here")
    mounted = CONTAINER + f"6 1 0:55 / {tmp_path}/volume rw - nfs4 data rw\n"
    assert not on_volume(tmp_path / "volume" / "results", mounted)


@pytest.mark.parametrize("location", [None, "", "off"])
def test_without_a_place_nothing_is_kept(location: str | None, mounts: Path) -> None:
    place = open_place({"FANSCRIBE_RESULTS": location} if location is not None else {}, HERE, mounts)
    assert (place.store, place.durable, place.learned) == (None, False, None)


@pytest.mark.parametrize(
    ("folder", "platform", "said", "durable"),
    [
        ("/runpod-volume/results", RUNPOD, None, True),
        ("/results", RUNPOD, None, False),
        ("/results", "http://platform:8200/v2", None, False),
        ("/results", HERE, None, True),
        ("/results", "http://localhost:8200/v2", None, True),
        ("/results", "http://[::1]:8200/v2", None, True),
        ("/results", RUNPOD, "1", True),
        ("/runpod-volume/results", RUNPOD, "0", False),
        ("/results", HERE, "0", False),
    ],
)
def test_which_folders_are_durable(
    folder: str, platform: str, said: str | None, durable: bool, mounts: Path
) -> None:
    environ = {"FANSCRIBE_RESULTS": folder} | ({"FANSCRIBE_RESULTS_DURABLE": said} if said else {})
    place = open_place(environ, platform, mounts)
    assert place.store is not None
    assert place.store.location == folder
    assert place.durable is durable


def test_a_system_that_shows_no_mounts_leaves_it_to_the_operator(tmp_path: Path) -> None:
    environ = {"FANSCRIBE_RESULTS": "/runpod-volume/results"}
    assert not open_place(environ, RUNPOD, tmp_path / "absent").durable


def test_a_bucket_is_durable(monkeypatch: pytest.MonkeyPatch, mounts: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    place = open_place({"FANSCRIBE_RESULTS": "s3://bucket/team"}, RUNPOD, mounts)
    assert place.durable
    assert place.store is not None
    assert place.store.location == "s3://bucket/team/"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FANSCRIBE_RESULTS": "gs://bucket"}, "give a folder or s3://bucket/prefix"),
        (
            {"FANSCRIBE_RESULTS": "/r", "FANSCRIBE_RESULTS_DURABLE": "yes"},
            "FANSCRIBE_RESULTS_DURABLE is 'yes'",
        ),
        ({"FANSCRIBE_RESULTS": "/r", "FANSCRIBE_RESULTS_MAX_BYTES": "many"}, "FANSCRIBE_RESULTS_MAX_BYTES"),
    ],
)
def test_a_wrong_setting_is_said(environ: dict[str, str], said: str, mounts: Path) -> None:
    with pytest.raises(UsageError, match=said):
        open_place(environ, RUNPOD, mounts)
