"""What callers may pass as audio, and what is said of what they may not."""

import io
import os
from pathlib import Path

import pytest

from fanscribe.contracts.errors import AudioError
from fanscribe.source import Audio, local_file, name_of


def _ignore(_share: float) -> None:
    return


@pytest.mark.parametrize(
    ("audio", "name"),
    [
        ("talk.mp3", "talk.mp3"),
        (Path("a/talk.mp3"), "a/talk.mp3"),
        (b"RIFF", "audio bytes"),
        (io.BytesIO(b"RIFF"), "audio stream"),
        ("https://host/talk.mp3?X-Amz-Signature=secret", "https://host/talk.mp3"),
        ("data:audio/wav;base64,UklGRg==", "data URI"),
    ],
)
def test_names_hide_what_may_be_secret(audio: Audio, name: str) -> None:
    assert name_of(audio) == name


async def test_a_file_is_used_where_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF")
    async with local_file(str(file), _ignore) as found:
        assert found == file
    assert file.exists()


@pytest.mark.parametrize("audio", [b"RIFF", io.BytesIO(b"RIFF"), "data:audio/wav;base64,UklGRg=="])
async def test_other_forms_become_a_file_that_is_removed(audio: Audio) -> None:
    async with local_file(audio, _ignore) as found:
        assert found.read_bytes() == b"RIFF"
    assert not found.parent.exists()


@pytest.mark.parametrize(
    ("make", "said"), [("folder", "is a folder"), ("empty", "is empty"), ("none", "no such file")]
)
async def test_unusable_files_are_named(tmp_path: Path, make: str, said: str) -> None:
    file = tmp_path / "talk.mp3"
    if make == "folder":
        file.mkdir()
    elif make == "empty":
        file.touch()
    with pytest.raises(AudioError, match=f"talk.mp3: .*{said}"):
        async with local_file(file, _ignore):
            raise AssertionError("nothing to use")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "talk.mp3"
    file.write_bytes(b"x")
    file.chmod(0)
    with pytest.raises(AudioError, match="may not be read"):
        async with local_file(file, _ignore):
            raise AssertionError("nothing to use")


async def test_empty_bytes_are_refused() -> None:
    with pytest.raises(AudioError, match="audio bytes: is empty"):
        async with local_file(b"", _ignore):
            raise AssertionError("nothing to use")


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/a.mp3", "http://example.com/a.mp3", "https://[::1]/a.mp3"]
)
async def test_private_and_plain_addresses_are_refused(url: str) -> None:
    with pytest.raises(AudioError):
        async with local_file(url, _ignore):
            raise AssertionError("nothing to use")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host/a.mp3?token=secret#secret", "https://host/a.mp3"),
        ("HTTPS://host/a.mp3?token=secret", "HTTPS://host/a.mp3"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_no_part_of_an_address_that_may_be_secret_is_shown(url: str, shown: str) -> None:
    assert name_of(url) == shown


async def test_a_name_that_cannot_be_is_an_audio_error() -> None:
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(AudioError, match="cannot be opened"):
            async with local_file(name, _ignore):
                raise AssertionError("nothing to use")
