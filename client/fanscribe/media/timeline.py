"""Decoded frames laid on the recording's timeline as 16 kHz samples.

A sample's place is its time as a player shows it: the container's start is 0, a track that begins later is
preceded by silence, and a hole in the time stamps is filled with silence, so that nothing after it moves.
Small deviations are rounding or drift of the writer's clock and are left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from fanscribe.contracts.errors import AudioError, StoppedError
from fanscribe.media.recording import Recording, unreadable

SAMPLE_RATE = 16_000
"""Hz; what every engine takes and what travels."""

Samples = NDArray[np.float32]

_TOLERANCE_S = 0.1
"""Time stamps may differ from the sample count by this much; FFmpeg's aresample draws the line there too."""

_TOLERANCE_AFTER_DAMAGE_S = 0.003
"""After lost packets, and at the start, every difference is real; 3 ms is above the rounding of Matroska."""

_EXACT = ("flac", "ogg")
"""Containers whose time stamps are sample counts: there, every difference is real at any place."""

_SHORTEST_TOLD_HOLE_S = 0.02

LONGEST_HOLE_S = 3600.0
"""A longer hole is taken for a restart of the writer's clock, not for an hour in which nothing happened."""

_SILENCE_BLOCK = SAMPLE_RATE
_DEMUX_RETRIES = 20


@dataclass(slots=True)
class _Damage:
    packets: int = 0
    first_s: float = 0.0
    last_s: float = 0.0


class Timeline:
    """The whole track of one recording, once, from its start; `channels` rows of float32 in -1 to 1."""

    def __init__(self, recording: Recording, stopped: Callable[[], bool] | None = None) -> None:
        self._recording = recording
        self._stopped = stopped or (lambda: False)
        self._channels = recording.facts.channels
        self._resampler: AudioResampler | None = None
        self._shape: tuple[int, str, str] | None = None
        self._expected_s = 0.0
        self._rebase_s = 0.0
        self._written = 0
        self._precise = True
        self._damage = _Damage()
        self._holes: list[tuple[float, float]] = []
        self._restarts: list[float] = []
        self._broke_off: str | None = None

    @property
    def position_s(self) -> float:
        """Seconds of the recording that were given so far."""
        return self._written / SAMPLE_RATE

    def blocks(self) -> Iterator[Samples]:
        """Consecutive blocks, shape (channels, n); the end of the track flushes decoder and resampler.

        Raises AudioError when nothing can be decoded, StoppedError when `stopped` answers true.
        """
        for frame in self._frames():
            yield from self._placed(frame)
        yield from self._flush()
        if self._written == 0:
            raise self._nothing_decoded()

    def finish(self) -> None:
        """Add to the recording's warnings what went wrong on the way; call it after the last block."""
        name, warn = self._recording.name, self._recording.warnings.append
        if self._damage.packets:
            warn(
                f"{name}: damaged packets were left out ({self._damage.packets}) between "
                f"{self._damage.first_s:.2f} s and {self._damage.last_s:.2f} s"
            )
        for start, end in self._holes[:10]:
            warn(f"{name}: holds no sound from {start:.2f} s to {end:.2f} s; silence stands for it")
        if len(self._holes) > 10:
            warn(f"{name}: holds {len(self._holes) - 10} further holes, filled with silence")
        if self._restarts:
            warn(
                f"{name}: its clock jumps at {self._restarts[0]:.2f} s (jumps in all: {len(self._restarts)}); "
                "times after that count the sound that is there"
            )
        declared = self._recording.declared_s
        if self._broke_off is not None:
            warn(f"{name}: could be decoded up to {self.position_s:.2f} s only ({self._broke_off})")
        elif declared is not None and self.position_s < declared - max(0.25, 0.002 * declared):
            warn(
                f"{name}: ends at {self.position_s:.2f} s although its header tells of {declared:.2f} s; "
                "it was cut off, what is there is used"
            )
        elif self._damage.packets and declared is not None and self.position_s < declared - 0.05:
            warn(
                f"{name}: times after the damage are early by up to {declared - self.position_s:.2f} s, since "
                "the file does not tell how much was lost there"
            )

    def _nothing_decoded(self) -> AudioError:
        facts = self._recording.facts
        reason = ValueError(self._broke_off or f"no {facts.codec} sound could be decoded")
        return unreadable(self._recording.name, facts.container, self._recording.file, reason)

    def _frames(self) -> Iterator[AudioFrame]:
        container, stream = self._recording.container, self._recording.stream
        packets = container.demux(stream)
        failures = 0
        while True:
            if self._stopped():
                raise StoppedError(f"{self._recording.name}: stopped at {self.position_s:.1f} s")
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                if self._recording.file.failure is not None:
                    raise unreadable(self._recording.name, "", self._recording.file, error) from error
                failures += 1
                if failures > _DEMUX_RETRIES:
                    self._broke_off = error.strerror or str(error)
                    yield from self._drained()
                    return
                self._damaged()
                packets = container.demux(stream)
                continue
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self._damaged()
                continue
            failures = 0
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples:
                    yield frame

    def _drained(self) -> Iterator[AudioFrame]:
        try:
            yield from self._recording.stream.codec_context.decode(None)
        except (av.error.FFmpegError, ValueError):
            self._damaged()

    def _damaged(self) -> None:
        if not self._damage.packets:
            self._damage.first_s = self._expected_s
        self._damage.packets += 1
        self._damage.last_s = self._expected_s
        self._precise = True

    def _placed(self, frame: AudioFrame) -> Iterator[Samples]:
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        hole_s = self._hole_before(frame)
        if hole_s > 0 or shape != self._shape:
            yield from self._flush()
            self._expected_s += hole_s
            yield from self._silence_until(round(self._expected_s * SAMPLE_RATE))
            self._shape = shape
            self._resampler = AudioResampler(format="fltp", layout=frame.layout, rate=SAMPLE_RATE)
        self._expected_s += frame.samples / frame.sample_rate
        assert self._resampler is not None
        frame.pts = None  # places are ours; the resampler only has to keep the phase
        yield from self._given(self._resampler.resample(frame))

    def _hole_before(self, frame: AudioFrame) -> float:
        """Seconds of silence that belong before the frame; 0 when it follows on what was there."""
        precise, self._precise = self._precise, False
        base = frame.time_base
        if frame.pts is None or base is None:
            return 0.0
        time_s = frame.pts * base.numerator / base.denominator - self._recording.origin_s + self._rebase_s
        drift_s = time_s - self._expected_s
        limit_s = self._longest_hole_s()
        if drift_s > limit_s or drift_s < -_TOLERANCE_S:
            self._rebase_s -= drift_s
            if self._shape is not None:
                self._restarts.append(self._expected_s)
            return 0.0
        precise = precise or self._recording.facts.container in _EXACT
        if drift_s <= (_TOLERANCE_AFTER_DAMAGE_S if precise else _TOLERANCE_S):
            return 0.0
        if drift_s > _SHORTEST_TOLD_HOLE_S and self._shape is not None:
            self._holes.append((self._expected_s, time_s))
        return drift_s

    def _longest_hole_s(self) -> float:
        declared = self._recording.declared_s
        if declared is None:
            return LONGEST_HOLE_S
        return max(declared - self._expected_s, 0.0) + 1.0

    def _silence_until(self, place: int) -> Iterator[Samples]:
        while self._written < place:
            count = min(place - self._written, _SILENCE_BLOCK)
            self._written += count
            yield np.zeros((self._channels, count), np.float32)

    def _flush(self) -> Iterator[Samples]:
        if self._resampler is not None:
            yield from self._given(self._resampler.resample(None))
            self._resampler = None

    def _given(self, frames: Sequence[AudioFrame | None]) -> Iterator[Samples]:
        for frame in frames:
            if (
                frame is not None and frame.samples
            ):  # a resampler with nothing to do answers a flush with None
                samples = self._fitted(frame.to_ndarray().astype(np.float32, copy=False))
                self._written += samples.shape[1]
                yield samples

    def _fitted(self, samples: Samples) -> Samples:
        """As many rows as the header told, for tracks that change their channels on the way."""
        have = samples.shape[0]
        fitted = samples
        if self._channels == 1 < have:
            fitted = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        elif have != self._channels:
            fitted = samples[np.arange(self._channels) % have]
        return fitted
