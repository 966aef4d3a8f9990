"""A recording, opened safely: what its header says, and the track that is used.

FFmpeg is given an open Python file, the demuxer by name, and neither a path nor a URL. It may open nothing
else, and it may use audio decoders only, so that a hostile video stream is never parsed.
"""

import functools
import io
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer

from fanscribe.contracts.errors import AudioError
from fanscribe.media import sniff
from fanscribe.media.declared import ends_with_last_page, has_frame_count, wav_duration_s

SHORTEST_S = 0.1
"""Seconds; a whole recording that is shorter holds no word and is refused."""

MAX_CHANNELS = 64
_FIRST_PACKETS = (
    200  # enough to meet the first picture; files interleave their tracks by fractions of a second
)
_SAMPLE_RATES = range(4_000, 768_001)  # Hz; a header outside of it is damaged, or made to fill the memory


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What the header says about a recording.

    `duration_s` is None where the header does not tell; `duration_estimated` marks a figure that was guessed
    from the bitrate. `channels`, `sample_rate` (Hz) and `codec` are those of the audio track that is used,
    the default one of `audio_streams` tracks.
    """

    container: str
    codec: str
    channels: int
    sample_rate: int
    duration_s: float | None
    duration_estimated: bool
    audio_streams: int
    size_bytes: int


@dataclass(slots=True)
class Recording:
    """An open recording. Times of the track count from `origin_s`, the container's own start.

    `declared_s` is the length that the header promises where it is exact, in seconds, so that a cut file can
    be told from a whole one. `warnings` collects one sentence for each thing the user should know.
    """

    name: str
    file: "GuardedFile"
    container: InputContainer
    stream: AudioStream
    facts: AudioFacts
    origin_s: float
    declared_s: float | None
    warnings: list[str] = field(default_factory=list)


class GuardedFile:
    """The face of a file that FFmpeg sees: bytes and positions, nothing to close and nothing to write."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self.size_bytes = size_bytes
        self.failure: OSError | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; an error of the disk is kept, since FFmpeg would report it as bad audio."""
        try:
            return self._file.read(size)
        except OSError as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as io.IOBase.seek."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()


def probe(source: Path | BinaryIO, name: str) -> AudioFacts:
    """The facts in the header of `source`, a file or an open, seekable one; no sound is decoded.

    Raises AudioError, one sentence that begins with `name`, for what cannot be transcribed.
    """
    with opened(source, name) as recording:
        facts = recording.facts
    if facts.duration_s is not None and not facts.duration_estimated and facts.duration_s < SHORTEST_S:
        raise too_short(name, facts.duration_s)
    return facts


def too_short(name: str, duration_s: float) -> AudioError:
    """The error for a recording with less than SHORTEST_S seconds of sound."""
    return AudioError(
        f"{name}: holds {duration_s:.3f} s of sound, and at least {SHORTEST_S} s are needed: "
        "check that the recording is complete"
    )


def too_long(name: str, limit_s: float) -> AudioError:
    """The error for a recording with more than `limit_s` seconds of sound."""
    return AudioError(
        f"{name}: holds more than the {limit_s:g} s of sound that are allowed; send it in parts"
    )


@contextmanager
def opened(source: Path | BinaryIO, name: str) -> Iterator[Recording]:
    """Open a recording for probing or decoding; the caller's own file object stays open. Raises AudioError."""
    if not isinstance(source, Path):
        yield from _open_file(source, name)
        return
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(f"{name}: is a folder; name the recordings in it")
        if not stat.S_ISREG(mode):
            raise AudioError(f"{name}: is not a regular file; copy the recording to a file first")
        file = source.open("rb")
    except FileNotFoundError as error:
        raise AudioError(f"{name}: there is no such file; check the path") from error
    except OSError as error:
        raise AudioError(
            f"{name}: cannot be opened ({error.strerror or error}); check its permissions"
        ) from error
    with file:
        yield from _open_file(file, name)


def _open_file(file: BinaryIO, name: str) -> Iterator[Recording]:
    try:
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise AudioError(f"{name}: is empty; check that it was copied or downloaded completely")
        kind = sniff.container(file)
        if kind is None:
            raise AudioError(
                f"{name}: cannot be read as a recording, it is {sniff.stranger(file)}; give one of "
                f"{sniff.READABLE}. Raw samples have no header: put them into a WAV file first"
            )
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error
    guarded = GuardedFile(file, size)
    picture_s = None
    with _av_container(guarded, kind, name) as container:
        if kind not in (sniff.MATROSKA, sniff.MPEG_TS) or not container.streams.video:
            yield _recording(guarded, container, kind, name, None)
            return
        picture_s = _first_picture_s(container)
    guarded.seek(0)
    with _av_container(guarded, kind, name) as container:
        yield _recording(guarded, container, kind, name, picture_s)


def _first_picture_s(container: InputContainer) -> float | None:
    """When the first picture is shown, from the packets: without a video decoder FFmpeg gets it wrong."""
    first: float | None = None
    try:
        for packet in itertools.islice(container.demux(), _FIRST_PACKETS):
            if packet.stream.type == "video" and packet.pts is not None and packet.time_base is not None:
                time_s = float(packet.pts * packet.time_base)
                first = time_s if first is None else min(first, time_s)
    except (av.error.FFmpegError, OSError):
        return first  # the damage is met again, and told, when the sound is decoded
    return first


@contextmanager
def _av_container(file: GuardedFile, kind: sniff.Container, name: str) -> Iterator[InputContainer]:
    try:
        container = av.open(
            file,
            "r",
            format=kind.demuxer,
            container_options=_limits(kind),
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse_to_open,
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable(name, kind.label, file, error) from error
    with container:
        yield container


def unreadable(name: str, label: str, file: GuardedFile, error: Exception) -> AudioError:
    """The error for a file that begins like the container `label` and then makes no sense."""
    if file.failure is not None:
        return AudioError(f"{name}: cannot be read ({file.failure.strerror or file.failure})")
    reason = getattr(error, "strerror", None) or str(error)
    hint = ", or cut off before its index" if label == "mp4" else ""
    return AudioError(
        f"{name}: begins like {label}, but cannot be read ({reason}); it is damaged{hint}: "
        "make or download it again"
    )


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError("a recording may not open other files")


@functools.cache
def _audio_decoders() -> str:
    names = (name for name in av.codecs_available if _is_audio_decoder(name))
    return ",".join(sorted(names))


def _is_audio_decoder(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except ValueError:  # an encoder
        return False


def _limits(kind: sniff.Container) -> dict[str, str]:
    limits = {
        "format_whitelist": kind.demuxer,
        "codec_whitelist": _audio_decoders(),
        "protocol_whitelist": "none",
    }
    if kind in (sniff.WAV, sniff.W64):
        limits["max_size"] = str(1 << 16)  # bytes a packet; the default of 4096 costs twice the time
    return limits


def _recording(
    file: GuardedFile, container: InputContainer, kind: sniff.Container, name: str, picture_s: float | None
) -> Recording:
    tracks = container.streams.audio
    if not tracks:
        what = "only pictures" if container.streams.video else "no track with sound"
        raise AudioError(f"{name}: has no sound, it holds {what}; give a file with an audio track")
    usable = [track for track in tracks if track.codec_context is not None]
    if not usable:
        raise AudioError(
            f"{name}: its sound is in a format that is not known here; convert it to flac or wav"
        )
    stream = next((track for track in usable if "default" in str(track.disposition)), usable[0])
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if rate not in _SAMPLE_RATES or not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            f"{name}: its header tells of {channels} channels at {rate} Hz, which cannot be: it is damaged; "
            f"1 to {MAX_CHANNELS} channels at {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]} Hz are read"
        )
    duration, estimated = _duration(container, stream, kind, file)
    facts = AudioFacts(
        container=kind.label,
        codec=stream.codec_context.codec.canonical_name,
        channels=channels,
        sample_rate=rate,
        duration_s=duration,
        duration_estimated=estimated,
        audio_streams=len(tracks),
        size_bytes=file.size_bytes,
    )
    of_the_track = kind not in (sniff.OGG, sniff.MPEG_TS, sniff.AVI) and (
        stream.duration is not None or len(container.streams) == 1
    )
    declared = duration if of_the_track and not estimated else None
    if kind == sniff.WAV:
        declared = wav_duration_s(file) or duration
    origin_s = container.start_time / av.time_base if container.start_time else 0.0
    if picture_s is not None and stream.start_time is not None and stream.time_base is not None:
        origin_s = min(picture_s, float(stream.start_time * stream.time_base))
    recording = Recording(name, file, container, stream, facts, origin_s, declared)
    if len(tracks) > 1:
        number = tracks.index(stream) + 1
        recording.warnings.append(f"{name}: has {len(tracks)} audio tracks; track {number} is used")
    if kind == sniff.OGG and not ends_with_last_page(file):
        recording.warnings.append(f"{name}: has no end mark; it may have been cut off")
    return recording


def _duration(
    container: InputContainer, stream: AudioStream, kind: sniff.Container, file: GuardedFile
) -> tuple[float | None, bool]:
    """Seconds from the container's start to the end of the track, and whether that is only an estimate."""
    start = (container.start_time or 0) / av.time_base
    track_start = (
        float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else start
    )
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds, track_start = container.duration / av.time_base, start
    else:
        return None, False
    if kind in (sniff.OGG, sniff.MATROSKA):
        if seconds > start:  # these two state the time of their end, not the time from their start
            seconds -= start
    else:
        seconds += track_start - start
    estimated = kind in (sniff.ADTS, sniff.AMR) or (kind == sniff.MP3 and not has_frame_count(file))
    return max(seconds, 0.0), estimated
