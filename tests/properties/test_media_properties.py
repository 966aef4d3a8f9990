"""Clips, channels and FLAC lose no sample of 16-bit PCM at 16 kHz."""

import io
import wave

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fanscribe.media import SAMPLE_RATE, decode, transcode


def wav(samples: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((samples.shape[1], 2, SAMPLE_RATE, 0, "NONE", ""))
        output.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


@st.composite
def recordings(draw: st.DrawFn) -> NDArray[np.int16]:
    """Noise, shape (n, channels), 0.1 to 3 s, up to 4 channels, extremes included."""
    count = draw(st.integers(1600, 3 * SAMPLE_RATE))
    channels = draw(st.integers(1, 4))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    return noise.integers(-32_768, 32_768, (count, channels), dtype=np.int16)


@given(recordings(), st.data())
def test_any_clip_of_any_channel_is_a_slice_of_the_whole(
    samples: NDArray[np.int16], data: st.DataObject
) -> None:
    file = wav(samples)
    count, channels = samples.shape
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    channel = data.draw(st.one_of(st.none(), st.integers(0, channels - 1)))
    clip = decode(io.BytesIO(file), "x", clip=(first / SAMPLE_RATE, last / SAMPLE_RATE), channel=channel)
    whole = decode(io.BytesIO(file), "x", channel=channel)
    assert len(whole.samples) == count
    np.testing.assert_array_equal(clip.samples, whole.samples[first:last])
    assert clip.offset_s == first / SAMPLE_RATE
    if channel is not None:
        np.testing.assert_array_equal(whole.samples * 32_768, samples[:, channel].astype(np.float32))


@given(recordings())
def test_flac_gives_back_every_sample(samples: NDArray[np.int16]) -> None:
    targets: dict[int | None, io.BytesIO] = {channel: io.BytesIO() for channel in range(samples.shape[1])}
    done = transcode(io.BytesIO(wav(samples)), "x", targets)
    assert done.duration_s == len(samples) / SAMPLE_RATE
    for channel, target in targets.items():
        assert channel is not None
        back = decode(target, "x").samples
        np.testing.assert_array_equal(back * 32_768, samples[:, channel].astype(np.float32))
