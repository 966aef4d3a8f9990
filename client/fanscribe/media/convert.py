"""The two things that are done with a recording: samples for an engine, FLAC for the wire."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.errors import AudioError
from fanscribe.media.flac import FlacWriter
from fanscribe.media.mixdown import MixDown
from fanscribe.media.recording import SHORTEST_S, Recording, opened, too_long, too_short
from fanscribe.media.timeline import SAMPLE_RATE, Samples, Timeline

_BLOCK = SAMPLE_RATE  # samples; frames are gathered to about a second, since each step costs a call


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples of one channel or of the mix: float32 in -1 to 1, shape (n,), SAMPLE_RATE Hz.

    `offset_s` is where they start in the recording. `warnings` are sentences for the user.
    """

    samples: NDArray[np.float32]
    offset_s: float
    duration_s: float
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transcoded:
    """What was written: seconds, the recording's number of channels, bytes by target, sentences to tell."""

    duration_s: float
    channels: int
    sizes: dict[int | None, int]
    warnings: list[str] = field(default_factory=list)


def blocks(
    recording: Recording,
    *,
    clip: tuple[float, float] | None = None,
    max_duration_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Iterator[Samples]:
    """The recording as consecutive blocks of about a second: float32, shape (channels, n), SAMPLE_RATE Hz.

    `clip` is a half-open span in seconds from the start; it cuts at the nearest sample. Memory does not grow
    with the length. When the last block was taken, `recording.warnings` is complete. Raises AudioError: nothing
    decodable, shorter than SHORTEST_S, clip behind the end, longer than `max_duration_s`; StoppedError.
    """
    first, last = _span(recording, clip)
    most = None if max_duration_s is None else round(max_duration_s * SAMPLE_RATE)
    declared = recording.declared_s
    if max_duration_s is not None and clip is None and declared is not None and declared > max_duration_s + 1:
        raise too_long(recording.name, max_duration_s)
    timeline = Timeline(recording, stopped)
    position = given = 0
    for block in _gathered(timeline.blocks()):
        start, position = position, position + block.shape[1]
        piece = block[:, max(first - start, 0) : max(last - start, 0) if last is not None else None]
        given += piece.shape[1]
        if max_duration_s is not None and most is not None and given > most:
            raise too_long(recording.name, max_duration_s)
        if piece.shape[1]:
            yield piece
        if last is not None and position >= last:
            break
    else:
        timeline.finish()
        if clip is None and position < SHORTEST_S * SAMPLE_RATE:
            raise too_short(recording.name, position / SAMPLE_RATE)
        if last is not None and clip is not None and position + 0.1 * SAMPLE_RATE < last and position > first:
            recording.warnings.append(
                f"{recording.name}: ends at {position / SAMPLE_RATE:.2f} s, before the clip's end {clip[1]:.2f} s"
            )
    if given == 0:
        raise AudioError(
            f"{recording.name}: holds no sound in the clip from {first / SAMPLE_RATE:.2f} s on, it ends at "
            f"{position / SAMPLE_RATE:.2f} s; give a clip inside of it"
        )


def decode(
    source: Path | BinaryIO,
    name: str,
    *,
    clip: tuple[float, float] | None = None,
    channel: int | None = None,
    max_duration_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Decoded:
    """The samples of one channel (counted from 0), or of the mix of all, for an engine.

    `clip` is a half-open span in seconds; more sound than `max_duration_s` is refused, never cut silently.
    Raises AudioError, one sentence that begins with `name`; StoppedError.
    """
    with opened(source, name) as recording:
        _check_channels(recording, [channel])
        mixer = MixDown(SAMPLE_RATE)
        gathered = _Growing()
        for block in blocks(recording, clip=clip, max_duration_s=max_duration_s, stopped=stopped):
            gathered.append(mixer.mix(block) if channel is None else block[channel])
        _tell(recording, mixer.warning(name))
        samples = gathered.samples()
        offset = _span(recording, clip)[0] / SAMPLE_RATE
        return Decoded(samples, offset, len(samples) / SAMPLE_RATE, list(recording.warnings))


def transcode(
    source: Path | BinaryIO,
    name: str,
    targets: Mapping[int | None, BinaryIO],
    *,
    clip: tuple[float, float] | None = None,
    max_duration_s: float | None = None,
    on_progress: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Transcoded:
    """Decode once and write 16 kHz mono FLAC to each target: a channel by its number, the mix under None.

    `on_progress` is told the share done, 0 to 1, about once a second of sound. Raises AudioError as `decode`
    does, StoppedError, and OSError when a target cannot be written (a full disk).
    """
    with opened(source, name) as recording, ExitStack() as cleanup:
        _check_channels(recording, targets)
        writers: dict[int | None, FlacWriter] = {}
        for channel, target in targets.items():
            writers[channel] = FlacWriter(target)
            cleanup.callback(writers[channel].abandon)
        mixer = MixDown(SAMPLE_RATE)
        expected = _expected_samples(recording, clip)
        written = 0
        for block in blocks(recording, clip=clip, max_duration_s=max_duration_s, stopped=stopped):
            written += block.shape[1]
            for channel, writer in writers.items():
                writer.write(mixer.mix(block) if channel is None else block[channel])
            if on_progress is not None:
                share = written / expected if expected else recording.file.tell() / recording.file.size_bytes
                on_progress(min(share, 1.0))
        _tell(recording, mixer.warning(name))
        sizes = {channel: writer.close() for channel, writer in writers.items()}
        return Transcoded(written / SAMPLE_RATE, recording.facts.channels, sizes, list(recording.warnings))


class _Growing:
    """Mono samples in one array that doubles when it is full, so that no second copy is made at the end."""

    def __init__(self) -> None:
        self._array: NDArray[np.float32] = np.empty(60 * SAMPLE_RATE, np.float32)
        self._count = 0

    def append(self, samples: NDArray[np.float32]) -> None:
        count = self._count + len(samples)
        if count > len(self._array):
            self._array.resize(max(count, 2 * len(self._array)), refcheck=False)
        self._array[self._count : count] = samples
        self._count = count

    def samples(self) -> NDArray[np.float32]:
        self._array.resize(self._count, refcheck=False)
        return self._array


def _gathered(pieces: Iterator[Samples]) -> Iterator[Samples]:
    waiting: list[Samples] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.shape[1]
        if count >= _BLOCK:
            yield np.concatenate(waiting, axis=1) if len(waiting) > 1 else piece
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _span(recording: Recording, clip: tuple[float, float] | None) -> tuple[int, int | None]:
    """The samples of the clip, [first, last); last is None for everything."""
    if clip is None:
        return 0, None
    start, end = clip
    if not (0 <= start < end < float("inf")):
        raise AudioError(
            f"{recording.name}: the clip from {start} s to {end} s is not a span; start at 0 or later, end after it"
        )
    return round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)


def _expected_samples(recording: Recording, clip: tuple[float, float] | None) -> float | None:
    duration = recording.facts.duration_s
    if clip is not None:
        return (clip[1] - clip[0] if duration is None else min(clip[1], duration) - clip[0]) * SAMPLE_RATE
    return None if duration is None else duration * SAMPLE_RATE


def _check_channels(recording: Recording, wanted: Mapping[int | None, object] | list[int | None]) -> None:
    have = recording.facts.channels
    for channel in wanted:
        if channel is not None and not 0 <= channel < have:
            numbers = "only channel 0" if have == 1 else f"channels 0 to {have - 1}"
            raise AudioError(
                f"{recording.name}: has no channel {channel}; choose one of its own, it has {numbers}"
            )


def _tell(recording: Recording, warning: str | None) -> None:
    if warning is not None:
        recording.warnings.append(warning)
