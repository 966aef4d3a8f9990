"""Recordings that are longer than allowed are found without decoding, whatever their headers say."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from tests.silent_flac import silent_flac

from fanscribe.contracts.errors import AudioError, StoppedError
from fanscribe.media import check_length, probe

RATE = 8_000
HOUR_S = 3600


def silence(seconds: int, kind: str, codec: str) -> bytes:
    """So much digital silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as output:
        stream = output.add_stream(codec, rate=RATE)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        step = RATE * 100
        for at in range(0, seconds * RATE, step):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, min(step, seconds * RATE - at)), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = RATE, at
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


HUNDRED_HOURS = silent_flac(100 * HOUR_S)


def test_a_header_that_admits_it_is_enough() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    file = Counting(HUNDRED_HOURS)
    with pytest.raises(AudioError, match=r"^talk: holds more than the 3600 s of sound that are allowed"):
        check_length(file, "talk", HOUR_S)
    probed = Counting(HUNDRED_HOURS)
    probe(probed, "talk")
    assert file.taken <= probed.taken, "nothing behind the header was read"


@pytest.mark.parametrize("claimed_s", [0, 1, 1800])
def test_a_header_that_is_silent_or_lies_is_not_believed(claimed_s: int) -> None:
    data = silent_flac(100 * HOUR_S, claimed_s=claimed_s)
    assert len(data) < 700_000
    assert probe(io.BytesIO(data), "bomb").duration_s == (claimed_s or None)
    with pytest.raises(AudioError, match=r"^bomb: holds more than the 43200 s"):
        check_length(io.BytesIO(data), "bomb", 12 * HOUR_S)
    check_length(io.BytesIO(data), "bomb", 101 * HOUR_S)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("wav", "pcm_s16le"), ("mp3", "mp3"), ("matroska", "flac"), ("adts", "aac"), ("ogg", "libopus")],
)
def test_every_kind_is_measured_and_its_true_length_allowed(tmp_path: Path, kind: str, codec: str) -> None:
    file = tmp_path / "talk"
    file.write_bytes(silence(1200, kind, codec))
    check_length(file, "talk", 1200)
    with pytest.raises(AudioError, match="more than the 1190 s"):
        check_length(file, "talk", 1190)


def test_holes_count_as_the_silence_that_fills_them() -> None:
    """Ten seconds of sound with holes of almost an hour between each other."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.ones((1, RATE), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, number * 3500 * RATE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert len(file.getvalue()) < 200_000
    check_length(file, "talk", 9 * 3500 + 10)
    with pytest.raises(AudioError, match="more than the 30000 s"):
        check_length(file, "talk", 30_000)


def test_measuring_can_be_stopped_and_leaves_damage_to_the_decoder() -> None:
    data = silent_flac(10 * HOUR_S, claimed_s=0)
    with pytest.raises(StoppedError):
        check_length(io.BytesIO(data), "talk", 100 * HOUR_S, stopped=lambda: True)
    check_length(io.BytesIO(data[: len(data) // 30]), "talk", HOUR_S)
    with pytest.raises(AudioError, match=r"^talk: cannot be read as a recording"):
        check_length(io.BytesIO(b"no sound at all"), "talk", HOUR_S)
