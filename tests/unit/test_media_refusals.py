"""What is no recording is refused in one sentence, and nothing that it names is opened."""

import errno
import io
import os
import struct
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from fanscribe.contracts.errors import AudioError, StoppedError
from fanscribe.media import decode, probe, transcode
from fanscribe.media.sniff import container


def wav(samples: int, rate: int = 16_000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((channels, 2, rate, 0, "NONE", ""))
        output.writeframes(np.full(samples * channels, 1000, "<i2").tobytes())
    return file.getvalue()


def video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        output.mux(stream.encode(None))
    return file.getvalue()


REFUSED = [
    ("notes.mp3", b"Dear diary, today nothing was recorded.\n" * 20, "it is text"),
    ("empty.wav", b"", "is empty"),
    ("list.mp3", b"ffconcat version 1.0\nfile 'other.wav'\n", "it is a playlist"),
    ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/a.ts\n", "it is a playlist"),
    ("talk.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", "it is a playlist"),
    ("live.mpd", b"<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>", "it is a playlist"),
    ("photo.mp3", b"\xff\xd8\xff\xe0" + os.urandom(5000), "it is an image"),
    ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "it is an image"),
    ("raw.pcm", np.arange(-8000, 8000, dtype="<i2").tobytes(), "Raw samples have no header"),
    ("words.srt", b"1\n00:00:00,000 --> 00:00:02,000\nHello\n", "it is text"),
    ("broken.flac", b"fLaC" + bytes(300), "begins like flac"),
    ("broken.m4a", b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42" + bytes(300), "begins like mp4"),
    ("short.wav", wav(1000), "holds 0.062 s of sound"),
    ("odd.wav", wav(1000, rate=100), "1 channels at 100 Hz"),
]


@pytest.mark.parametrize(("name", "data", "text"), REFUSED)
def test_refused_in_one_line_that_names_the_file(
    name: str, data: bytes, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    for call in (probe, decode):
        with pytest.raises(AudioError) as caught:
            call(file, name)
        message = str(caught.value)
        assert message.startswith(f"{name}: ")
        assert text in message
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_video_without_sound_is_refused() -> None:
    with pytest.raises(AudioError, match=r"^film.mp4: has no sound, it holds only pictures"):
        probe(io.BytesIO(video()), "film.mp4")


def test_missing_file_folder_and_device(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^gone.mp3: there is no such file"):
        probe(tmp_path / "gone.mp3", "gone.mp3")
    with pytest.raises(AudioError, match=r"^calls: is a folder"):
        probe(tmp_path, "calls")
    with pytest.raises(AudioError, match=r"^null: is not a regular file"):
        probe(Path("/dev/null"), "null")


def data_reference(path: bytes) -> bytes:
    """A QuickTime file whose only track keeps its samples in another file."""

    def atom(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", len(body) + 8, kind) + body

    zero = bytes(4)
    entry = struct.pack(">I4s6xHIIHHHHI", 36, b"sowt", 1, 0, 0, 1, 16, 0, 0, 16_000 << 16)
    alias = bytes(150) + struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    table = atom(
        b"stbl",
        atom(b"stsd", zero, struct.pack(">I", 1), entry),
        atom(b"stts", zero, struct.pack(">III", 1, 16_000, 1)),
        atom(b"stsc", zero, struct.pack(">IIII", 1, 1, 16_000, 1)),
        atom(b"stsz", zero, struct.pack(">II", 2, 16_000)),
        atom(b"stco", zero, struct.pack(">II", 1, 44)),
    )
    info = atom(
        b"minf",
        atom(b"smhd", zero, zero),
        atom(b"dinf", atom(b"dref", zero, struct.pack(">I", 1), atom(b"alis", zero, alias))),
        table,
    )
    media = atom(
        b"mdia",
        atom(b"mdhd", zero, bytes(8), struct.pack(">IIHH", 16_000, 16_000, 0, 0)),
        atom(b"hdlr", zero, b"mhlrsoun", bytes(12), b"\0"),
        info,
    )
    header = atom(b"mvhd", zero, bytes(8), struct.pack(">II", 1000, 1000), bytes(80))
    track = atom(b"tkhd", b"\0\0\0\x07", bytes(8), struct.pack(">I", 1), bytes(68))
    return atom(b"ftyp", b"qt  ", zero, b"qt  ") + atom(b"moov", header, atom(b"trak", track, media))


@pytest.mark.parametrize("kind", ["ffconcat", "m3u8", "data reference"])
def test_nothing_that_a_file_names_is_opened(kind: str, tmp_path: Path) -> None:
    # The secret is a FIFO: opening it, through Python or not, would wait for a writer and never come back.
    # A reader that opened it can be seen from outside, since a writer can then open without waiting.
    secret = tmp_path / "secret.wav"
    os.mkfifo(secret)
    data = {
        "ffconcat": b"ffconcat version 1.0\nfile '%s'\n" % bytes(secret),
        "m3u8": b"#EXTM3U\n#EXTINF:1,\n%s\n" % bytes(secret),
        "data reference": data_reference(bytes(secret)),
    }[kind]
    file = tmp_path / "talk.mp3"
    file.write_bytes(data)
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    with pytest.raises(AudioError, match=r"^talk.mp3: "):
        decode(file, "talk.mp3")
    with pytest.raises(OSError, match="No such device") as caught:
        os.open(secret, os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO
    if sys.platform == "linux":
        assert set(os.listdir("/proc/self/fd")) <= before


def test_containers_are_told_by_content_alone() -> None:
    assert container(io.BytesIO(wav(10))) is not None
    assert container(io.BytesIO(os.urandom(0))) is None
    assert container(io.BytesIO(b"\xff" * 300_000)) is None


def test_too_much_sound_is_refused_not_cut() -> None:
    data = wav(5 * 16_000)
    with pytest.raises(AudioError, match=r"^talk: holds more than the 2 s of sound that are allowed"):
        decode(io.BytesIO(data), "talk", max_duration_s=2)
    assert decode(io.BytesIO(data), "talk", max_duration_s=5).duration_s == 5
    assert decode(io.BytesIO(data), "talk", clip=(3, 5), max_duration_s=2).duration_s == 2


def test_a_bomb_without_a_length_in_its_header_is_stopped_while_it_is_decoded() -> None:
    bomb = io.BytesIO()
    transcode(io.BytesIO(wav(600 * 16_000)), "zeros", {None: bomb})
    data = bytearray(bomb.getvalue())
    data[21:26] = bytes([data[21] & 0xF0]) + bytes(4)  # the 36 bits of STREAMINFO that hold the sample count
    assert probe(io.BytesIO(bytes(data)), "bomb").duration_s is None
    with pytest.raises(AudioError, match=r"^bomb: holds more than the 60 s"):
        decode(io.BytesIO(bytes(data)), "bomb", max_duration_s=60)


def test_clip_and_channel_outside_of_the_recording() -> None:
    data = wav(2 * 16_000, channels=2)
    with pytest.raises(
        AudioError, match=r"^talk: holds no sound in the clip from 5.00 s on, it ends at 2.00 s"
    ):
        decode(io.BytesIO(data), "talk", clip=(5, 6))
    with pytest.raises(AudioError, match=r"^talk: the clip from 2 s to 1 s is not a span"):
        decode(io.BytesIO(data), "talk", clip=(2, 1))
    with pytest.raises(AudioError, match=r"^talk: has no channel 2; .* channels 0 to 1$"):
        decode(io.BytesIO(data), "talk", channel=2)
    over = decode(io.BytesIO(data), "talk", clip=(1, 4))
    assert (over.offset_s, over.duration_s) == (1.0, 1.0)
    assert over.warnings == ["talk: ends at 2.00 s, before the clip's end 4.00 s"]


def test_stopping_between_packets() -> None:
    told: list[float] = []
    with pytest.raises(StoppedError):
        transcode(
            io.BytesIO(wav(60 * 16_000)),
            "talk",
            {None: io.BytesIO()},
            on_progress=told.append,
            stopped=lambda: len(told) > 3,
        )
    assert len(told) == 4


def test_a_full_disk_is_an_oserror_of_the_target() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="No space") as caught,
    ):
        transcode(io.BytesIO(wav(30 * 16_000)), "talk", {None: full})
    assert caught.value.errno == errno.ENOSPC


def test_an_error_of_the_disk_is_not_taken_for_bad_audio() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 300_000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with pytest.raises(AudioError, match=r"^talk: cannot be read \(Input/output error\)"):
        decode(Failing(wav(60 * 16_000)), "talk")
