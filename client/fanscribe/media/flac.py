"""Writes 16 kHz mono FLAC with 16 bits a sample: half the bytes of PCM, nothing lost, read everywhere."""

import contextlib
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from fanscribe.media.timeline import SAMPLE_RATE

_FULL_SCALE = 32_768


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """The samples as FLAC holds them: 16 bit; what is outside of -1 to 1 is limited, not wrapped around."""
    return np.rint(samples * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")


class _Sink:
    """The face of the target that FFmpeg sees. It can seek only where the target can."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._seekable = target.seekable()
        self._base = target.tell() if self._seekable else 0
        self.size_bytes = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._target.write(data)
        except OSError as error:
            self.failure = error
            raise
        self.size_bytes = max(self.size_bytes, self.tell()) if self._seekable else self.size_bytes + len(data)
        return len(data)

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._target.seek(offset + self._base if whence == 0 else offset, whence) - self._base

    def tell(self) -> int:
        return self._target.tell() - self._base


class FlacWriter:
    """Encodes samples to `target`, which stays open.

    A target that cannot seek gets a header without the number of samples; readers cope with that. OSError of
    the target (a full disk) passes as it is.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._sink = _Sink(target)
        self._container = av.open(self._sink, "w", format="flac")
        stream = self._container.add_stream("flac", rate=SAMPLE_RATE, layout="mono", format="s16")
        assert isinstance(stream, AudioStream)
        self._stream = stream
        self._samples = 0

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append mono samples, shape (n,), as `pcm16` makes them."""
        if not len(samples):
            return
        frame = AudioFrame.from_ndarray(pcm16(samples)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._samples
        self._samples += len(samples)
        self._encode(frame)

    def close(self) -> int:
        """Finish the file and give its size in bytes."""
        self._encode(None)
        try:
            self._container.close()
        except OSError:
            self._raise_failure()
            raise
        self._raise_failure()
        return self._sink.size_bytes

    def abandon(self) -> None:
        """Let go of the encoder without caring for the file."""
        with contextlib.suppress(OSError, ValueError):
            self._container.close()

    def _encode(self, frame: AudioFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError:
            self._raise_failure()
            raise

    def _raise_failure(self) -> None:
        if self._sink.failure is not None:
            raise self._sink.failure
