"""A vector for each local voice of each anchor window (CAM++ on log-mel features)."""

from collections.abc import Iterator
from dataclasses import dataclass

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray

from fanscribe_handlers.diarize_onnx.segmentation import Activity
from fanscribe_handlers.diarize_onnx.session import Network
from fanscribe_handlers.diarize_onnx.windows import FRAMES, GRID, WINDOW, Layout
from fanscribe_handlers.engine import SAMPLE_RATE

DIMENSION = 192
MEL_BINS = 80
MIN_ROWS = 20
"""Rows of features (10 ms each) below which a voice gets no vector: 0.2 s say nothing about a voice."""
MAX_ROWS = 998
BLOCK = 16
"""Anchor windows whose features are held at a time."""
BATCH = 4
"""Voices in one call: about 0.2 s of work on two cores."""
MAX_CROP = 0.15
"""Share of a voice's rows that may be left out so that it fits a batch of one length."""

Matrix = NDArray[np.float32]


def log_mel(samples: NDArray[np.float32]) -> Matrix:
    """Kaldi's log-mel filter bank, (rows, MEL_BINS): 25 ms Hamming windows every 10 ms, no dither.

    The samples are scaled to 16-bit range, as the network was trained.
    """
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = MEL_BINS
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, samples * 32768.0)
    bank.input_finished()
    rows = [bank.get_frame(row) for row in range(bank.num_frames_ready)]
    return np.stack(rows) if rows else np.zeros((0, MEL_BINS), np.float32)


def voice_masks(activity: Activity) -> Activity:
    """Frames from which each local voice is embedded: those it has to itself, else all of its own.

    `activity` is (windows, FRAMES, voices), and so is the answer.
    """
    alone = activity * (activity.sum(axis=2, keepdims=True) == 1)
    enough = alone.sum(axis=1, keepdims=True) * WINDOW / FRAMES / GRID > MIN_ROWS
    return np.where(enough, alone, activity)


@dataclass(slots=True)
class _Voice:
    place: tuple[int, int]
    rows: Matrix


def _voices(features: Matrix, mask: NDArray[np.uint8], anchor: int) -> Iterator[_Voice]:
    """The rows of each voice of one window, less the window's mean row (which takes out the channel)."""
    if not len(features):
        return
    features = features - features.mean(axis=0)
    frame_of_row = np.minimum(np.arange(len(features)) * FRAMES * GRID // (WINDOW - 240), FRAMES - 1)
    for voice in range(mask.shape[1]):
        rows = features[mask[frame_of_row, voice] > 0][:MAX_ROWS]
        if len(rows) >= MIN_ROWS:
            yield _Voice((anchor, voice), rows)


def _batches(voices: list[_Voice]) -> Iterator[list[_Voice]]:
    """Voices of nearly one length together, the longest first."""
    batch: list[_Voice] = []
    for voice in sorted(voices, key=lambda each: -len(each.rows)):
        if batch and (len(batch) == BATCH or len(voice.rows) < (1 - MAX_CROP) * len(batch[0].rows)):
            yield batch
            batch = []
        batch.append(voice)
    if batch:
        yield batch


def embed(
    network: Network, samples: NDArray[np.float32], layout: Layout, activity: Activity
) -> Iterator[tuple[float, list[tuple[int, int]], Matrix]]:
    """Yield, a batch at a time, the share done, the (anchor, voice) places and their vectors (places, DIMENSION).

    `activity` is that of the anchor windows, (anchors, FRAMES, voices). Voices heard too briefly are left out.
    `network` takes (batch, rows, MEL_BINS) and gives (batch, DIMENSION).
    """
    masks = voice_masks(activity)
    starts = layout.starts[layout.anchors]
    for first in range(0, len(starts), BLOCK):
        block = [n for n in range(first, min(first + BLOCK, len(starts))) if masks[n].any()]
        voices: list[_Voice] = []
        if block:
            begin, end = starts[block[0]], starts[block[-1]] + WINDOW
            features = log_mel(samples[begin:end])
            for n in block:
                row = (starts[n] - begin) // GRID
                voices += _voices(features[row : row + MAX_ROWS], masks[n], n)
        done = 0
        for batch in _batches(voices):
            length = len(batch[-1].rows)
            vectors = network(np.stack([voice.rows[:length] for voice in batch]))
            done += len(batch)
            share = (first + min(BLOCK, len(starts) - first) * done / len(voices)) / len(starts)
            yield share, [voice.place for voice in batch], vectors
