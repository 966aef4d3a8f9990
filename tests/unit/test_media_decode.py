"""What comes out of recordings: every format, channel, clip and timeline."""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from fanscribe.media import SAMPLE_RATE, decode, probe, transcode
from fanscribe.media.timeline import Timeline

BEEP_HZ = 440


def beeps(rate: int, seconds: float, at: float = 0.5) -> NDArray[np.float32]:
    """Silence with one tone of 0.2 s that begins at `at` seconds."""
    time = np.arange(round(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * BEEP_HZ * time) * 0.5
    return np.where((time >= at) & (time < at + 0.2), tone, 0).astype(np.float32)


def encoded(
    channels: NDArray[np.float32],
    *,
    rate: int = SAMPLE_RATE,
    container: str = "wav",
    codec: str = "pcm_s16le",
    layout: str = "mono",
    start: int = 0,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """Encode float samples, shape (channels, n), that begin `start` samples after 0."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout, options=dict(options or {}))
        assert isinstance(stream, AudioStream)
        converter = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for converted in converter.resample(frame):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return file.getvalue()


def onset_s(samples: NDArray[np.float32]) -> float:
    """When the first sound above a twentieth of full scale begins, in seconds."""
    return float(np.argmax(np.abs(samples) > 0.05)) / SAMPLE_RATE


FORMATS = [
    ("wav", "pcm_s16le", 44_100, "wav", 0.002),
    ("wav", "pcm_u8", 8_000, "wav", 0.002),
    ("wav", "pcm_s24le", 96_000, "wav", 0.002),
    ("wav", "pcm_f32le", 48_000, "wav", 0.002),
    ("wav", "pcm_mulaw", 8_000, "wav", 0.002),
    ("w64", "pcm_s16le", 16_000, "w64", 0.002),
    ("aiff", "pcm_s16be", 22_050, "aiff", 0.002),
    ("caf", "pcm_s16le", 16_000, "caf", 0.002),
    ("au", "pcm_s16be", 16_000, "au", 0.002),
    ("flac", "flac", 44_100, "flac", 0.002),
    ("mp3", "libmp3lame", 44_100, "mp3", 0.012),
    ("mp3", "libmp3lame", 16_000, "mp3", 0.012),
    ("adts", "aac", 44_100, "aac", 0.06),  # ADTS cannot say that an encoder's first frame is padding
    ("mp4", "aac", 44_100, "mp4", 0.012),
    ("mov", "aac", 48_000, "mp4", 0.012),
    ("3gp", "aac", 16_000, "mp4", 0.012),
    ("mp4", "alac", 44_100, "mp4", 0.002),
    ("ogg", "libopus", 48_000, "ogg", 0.012),
    ("ogg", "vorbis", 44_100, "ogg", 0.03),
    ("ogg", "flac", 16_000, "ogg", 0.002),
    ("webm", "libopus", 48_000, "matroska", 0.012),
    ("matroska", "pcm_s16le", 16_000, "matroska", 0.002),
    ("mpegts", "aac", 48_000, "ts", 0.03),
    ("amr", "libopencore_amrnb", 8_000, "amr", 0.02),
]


@pytest.mark.parametrize(("container", "codec", "rate", "label", "tolerance_s"), FORMATS)
def test_every_format_keeps_the_time_of_a_sound(
    container: str, codec: str, rate: int, label: str, tolerance_s: float
) -> None:
    layout = "stereo" if codec == "vorbis" else "mono"  # FFmpeg's own Vorbis encoder knows stereo only
    sound = np.tile(beeps(rate, 3.0, at=1.7), (2 if layout == "stereo" else 1, 1))
    options = {"strict": "-2"} if codec == "vorbis" else {}
    data = encoded(sound, rate=rate, container=container, codec=codec, layout=layout, options=options)
    facts = probe(io.BytesIO(data), "talk")
    assert facts.container == label or (label == "ts" and facts.container == "mpegts")
    assert facts.sample_rate == rate
    decoded = decode(io.BytesIO(data), "talk")
    assert decoded.warnings == []
    assert decoded.duration_s == pytest.approx(3.0, abs=0.08)
    assert onset_s(decoded.samples) == pytest.approx(1.7, abs=tolerance_s)
    if facts.duration_s is not None and not facts.duration_estimated:
        assert facts.duration_s == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("layout", ["5.1", "stereo", "mono"])
def test_each_channel_and_the_mix_of_them(layout: str) -> None:
    count = {"5.1": 6, "stereo": 2, "mono": 1}[layout]
    channels = np.stack([beeps(SAMPLE_RATE, 2.0, at=0.25 * k) for k in range(count)])
    data = encoded(channels, layout=layout)
    assert probe(io.BytesIO(data), "talk").channels == count
    for channel in range(count):
        samples = decode(io.BytesIO(data), "talk", channel=channel).samples
        np.testing.assert_allclose(samples, channels[channel], atol=1 / 32_000)
    mixed = decode(io.BytesIO(data), "talk")
    np.testing.assert_allclose(mixed.samples, channels.mean(axis=0), atol=1 / 32_000)
    assert mixed.warnings == []


def test_reversed_polarity_is_told_and_each_channel_still_works() -> None:
    tone = np.sin(np.arange(3 * SAMPLE_RATE) / 7).astype(np.float32) * 0.4
    data = encoded(np.stack([tone, -tone]), layout="stereo")
    warning = "talk: its channels cancel each other for 3.0 s"
    assert any(text.startswith(warning) for text in decode(io.BytesIO(data), "talk").warnings)
    alone = decode(io.BytesIO(data), "talk", channel=1)
    assert alone.warnings == []
    assert np.abs(alone.samples).max() == pytest.approx(0.4, abs=0.001)


def test_one_silent_channel_does_not_count_as_cancelled() -> None:
    tone = np.sin(np.arange(2 * SAMPLE_RATE) / 7).astype(np.float32) * 0.4
    mixed = decode(io.BytesIO(encoded(np.stack([tone, 0 * tone]), layout="stereo")), "talk")
    assert mixed.warnings == []
    assert np.abs(mixed.samples).max() == pytest.approx(0.2, abs=0.001)


def muxed(container: str, starts_s: list[float], codec: str = "libopus", rate: int = 48_000) -> bytes:
    """A file with one audio track for each start; every track holds a beep 0.5 s after its own start."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [output.add_stream(codec, rate=rate, layout="mono") for _ in starts_s]
        packets = []
        for stream, start_s in zip(streams, starts_s, strict=True):
            assert isinstance(stream, AudioStream)
            converter = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
            frame = AudioFrame.from_ndarray(beeps(rate, 2.0)[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
            for converted in converter.resample(frame):
                packets += stream.encode(converted)
            packets += stream.encode(None)
        output.start_encoding()
        for packet in sorted(packets, key=lambda each: float((each.pts or 0) * (each.time_base or 1))):
            output.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("mp4", "aac"), ("matroska", "aac")])
def test_a_track_that_begins_late_keeps_its_times(container: str, codec: str) -> None:
    decoded = decode(io.BytesIO(muxed(container, [1.5, 0.0], codec)), "talk")
    assert onset_s(decoded.samples) == pytest.approx(2.0, abs=0.025)
    assert decoded.warnings == ["talk: has 2 audio tracks; track 1 is used"]


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("ogg", "libopus"), ("mp4", "aac")])
def test_times_count_from_the_start_of_the_container(container: str, codec: str) -> None:
    decoded = decode(io.BytesIO(muxed(container, [30.0], codec)), "talk")
    assert onset_s(decoded.samples) == pytest.approx(0.5, abs=0.025)
    assert decoded.duration_s == pytest.approx(2.0, abs=0.08)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_sound_that_begins_after_the_picture_keeps_its_times(container: str) -> None:
    rate = 48_000
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        film = output.add_stream("libx264", rate=25)
        assert isinstance(film, av.VideoStream)
        film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream("aac", rate=rate, layout="mono")
        assert isinstance(sound, AudioStream)
        packets = []
        for number in range(100):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8))
            picture.pts, picture.time_base = number, Fraction(1, 25)
            packets += film.encode(picture)
        frame = AudioFrame.from_ndarray(beeps(rate, 2.0)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, rate, Fraction(1, rate)
        packets += [*film.encode(None), *sound.encode(frame), *sound.encode(None)]
        for packet in sorted(packets, key=lambda each: float((each.dts or 0) * (each.time_base or 1))):
            output.mux(packet)
    decoded = decode(io.BytesIO(file.getvalue()), "film")
    assert onset_s(decoded.samples) == pytest.approx(1.5, abs=0.025)
    assert decoded.warnings == []


def test_a_hole_in_the_time_stamps_becomes_silence_and_is_told() -> None:
    rate = 48_000
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = AudioFrame.from_ndarray(beeps(rate, 4.0, at=3.0)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        packets = [*stream.encode(av.AudioResampler(format="flt").resample(frame)[0]), *stream.encode(None)]
        output.mux([packet for packet in packets if not rate <= (packet.pts or 0) < 2 * rate])
    decoded = decode(io.BytesIO(file.getvalue()), "talk")
    assert onset_s(decoded.samples) == pytest.approx(3.0, abs=0.025)
    assert any("holds no sound from 1.0" in text for text in decoded.warnings)


def test_frames_without_a_time_base_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(_: Timeline) -> Iterator[AudioFrame]:
        for number, part in enumerate(np.split(beeps(SAMPLE_RATE, 1.0), 4)):
            frame = AudioFrame.from_ndarray(part[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, number * len(part)
            assert frame.time_base is None
            yield frame

    monkeypatch.setattr(Timeline, "_frames", frames)
    decoded = decode(io.BytesIO(encoded(beeps(SAMPLE_RATE, 1.0)[np.newaxis])), "talk")
    assert decoded.samples.shape[-1] == SAMPLE_RATE
    assert onset_s(decoded.samples) == pytest.approx(0.5, abs=0.025)
    assert decoded.warnings == []


def hiss(rate: int, seconds: float) -> NDArray[np.float32]:
    """Quiet noise, shape (1, n), so that no encoder can leave it out."""
    return np.random.default_rng(2).normal(0, 0.03, (1, round(rate * seconds))).astype(np.float32)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("ogg", "libopus"), ("webm", "libopus"), ("mp4", "aac"), ("flac", "flac")],
)
def test_damage_in_the_middle_moves_nothing_behind_it(container: str, codec: str) -> None:
    rate = 48_000
    sound = hiss(rate, 12.0)
    sound[0, 11 * rate :] += 1.5 * beeps(rate, 1.0, at=0)
    data = bytearray(encoded(sound, rate=rate, container=container, codec=codec))
    middle = len(data) // 2
    data[middle : middle + 1500] = np.random.default_rng(1).bytes(1500)
    decoded = decode(io.BytesIO(bytes(data)), "talk")
    loud = np.abs(decoded.samples) > 0.35
    loud[: 8 * SAMPLE_RATE] = False  # damaged packets may crackle
    assert float(np.argmax(loud)) / SAMPLE_RATE == pytest.approx(11.0, abs=0.03)
    assert decoded.warnings


@pytest.mark.parametrize(
    ("container", "codec", "keep"),
    [("wav", "pcm_s16le", 0.5), ("flac", "flac", 0.5), ("mp3", "libmp3lame", 0.5)],
)
def test_a_cut_file_gives_what_is_there_and_says_where_it_ends(
    container: str, codec: str, keep: float
) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, (1, 10 * SAMPLE_RATE)).astype(np.float32)
    data = encoded(noise, container=container, codec=codec)
    decoded = decode(io.BytesIO(data[: int(len(data) * keep)]), "talk.x")
    assert 4.0 < decoded.duration_s < 6.0
    assert any("talk.x: ends at " in text and "10.0" in text for text in decoded.warnings), decoded.warnings


def test_damage_in_a_format_without_time_stamps_tells_how_far_times_are_off() -> None:
    data = bytearray(encoded(hiss(48_000, 12.0), rate=48_000, container="mp3", codec="libmp3lame"))
    middle = len(data) // 2
    data[middle : middle + 1500] = np.random.default_rng(1).bytes(1500)
    warnings = decode(io.BytesIO(bytes(data)), "talk").warnings
    assert "talk: damaged packets were left out (1) between 5.98 s and 5.98 s" in warnings
    assert any(text.startswith("talk: times after the damage are early by up to 0.") for text in warnings)


def test_a_cut_ogg_file_is_told_by_its_missing_end_mark() -> None:
    data = encoded(hiss(48_000, 10.0), rate=48_000, container="ogg", codec="libopus")
    assert decode(io.BytesIO(data), "talk").warnings == []
    cut = decode(io.BytesIO(data[: len(data) // 2]), "talk")
    assert cut.duration_s > 3
    assert cut.warnings == ["talk: has no end mark; it may have been cut off"]


def test_mp3_behind_a_large_cover_and_behind_junk() -> None:
    data = encoded(beeps(44_100, 2.0)[np.newaxis], rate=44_100, container="mp3", codec="libmp3lame")
    bare = data[10 + (data[8] << 7 | data[9]) :] if data[:3] == b"ID3" else data
    size = 3_000_000
    tag = b"ID3\x04\x00\x00" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)
    for recording in (bare, tag + bare, b"\0" * 700 + bare, b"junk of a stream" * 20 + bare):
        decoded = decode(io.BytesIO(recording), "talk")
        assert onset_s(decoded.samples) == pytest.approx(0.5, abs=0.06)


def test_mix_of_full_scale_channels_does_not_wrap_around() -> None:
    loud = np.full((2, SAMPLE_RATE), 1.0, np.float32)
    data = encoded(loud * 1.5, codec="pcm_f32le", layout="stereo")
    target = io.BytesIO()
    transcode(io.BytesIO(data), "talk", {None: target})
    assert decode(target, "flac").samples.min() > 0.999


def test_transcode_writes_all_targets_in_one_pass(tmp_path: Path) -> None:
    channels = np.stack([beeps(SAMPLE_RATE, 2.0, at=0.2), beeps(SAMPLE_RATE, 2.0, at=1.2)])
    source = tmp_path / "call.wav"
    source.write_bytes(encoded(channels, layout="stereo"))
    targets: dict[int | None, io.BytesIO] = {None: io.BytesIO(), 0: io.BytesIO(), 1: io.BytesIO()}
    shares: list[float] = []
    done = transcode(source, "call.wav", targets, on_progress=shares.append)
    assert (done.duration_s, done.channels, done.warnings) == (2.0, 2, [])
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for channel, target in targets.items():
        assert done.sizes[channel] == len(target.getvalue())
        expected = decode(source, "call.wav", channel=channel).samples
        np.testing.assert_allclose(decode(target, "flac").samples, expected, atol=1 / 65_536)


class OneWay(io.RawIOBase):
    """A pipe: bytes go in one after the other."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self.data += piece
        return len(piece)


def test_a_target_that_cannot_seek_gets_a_whole_recording() -> None:
    pipe = OneWay()
    source = encoded(beeps(SAMPLE_RATE, 2.0)[np.newaxis])
    done = transcode(io.BytesIO(source), "talk", {None: pipe})  # type: ignore[dict-item]
    assert done.sizes == {None: len(pipe.data)}
    decoded = decode(io.BytesIO(bytes(pipe.data)), "flac")
    np.testing.assert_array_equal(decoded.samples, decode(io.BytesIO(source), "talk").samples)
    assert decoded.warnings == []


@pytest.mark.speech
@pytest.mark.parametrize(
    ("name", "seconds"), [("hotwords.mp3", 4.0), ("jfk.flac", 11.0), ("pyannote_sample.wav", 30.0)]
)
def test_real_recordings(speech_dir: Path, name: str, seconds: float) -> None:
    whole = decode(speech_dir / name, name)
    assert whole.duration_s == pytest.approx(seconds, abs=0.001)
    assert whole.warnings == []
    clip = decode(speech_dir / name, name, clip=(1.25, 3.5))
    assert clip.offset_s == 1.25
    np.testing.assert_array_equal(clip.samples, whole.samples[20_000:56_000])
