"""The diarization of one recording, from samples to result.

After pyannote's speaker-diarization-3.1 (Bredin, "pyannote.audio 2.1 speaker diarization pipeline", 2023):
segment overlapping windows into local voices, embed each, cluster the vectors into speakers, lay the labelled
windows over each other, and let as many speakers speak as the windows count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeResult
from fanscribe_handlers.diarize_onnx import assembly
from fanscribe_handlers.diarize_onnx.clustering import THRESHOLD
from fanscribe_handlers.diarize_onnx.embedding import DIMENSION, embed
from fanscribe_handlers.diarize_onnx.naming import name_voices
from fanscribe_handlers.diarize_onnx.segmentation import LOCAL_SPEAKERS, Activity, segment
from fanscribe_handlers.diarize_onnx.session import Network
from fanscribe_handlers.diarize_onnx.windows import FRAMES, Layout, frame_time_s, lay_out
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.frames import Frames, loudest, order_of_speech, turns
from fanscribe_handlers.speakers import Bounds

_SEGMENTATION_SHARE = 0.3
"""Share of the work that segmentation is, for the progress report (measured)."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How densely a recording is looked at.

    Windows start every `step_s` seconds, and voices are embedded every `anchor_step_s`. Recordings of up to `short_s`
    seconds are looked at every second in both ways, as pyannote does: that costs little there, and a short recording
    has few windows to make up for an error in one.
    """

    step_s: float = 2.5
    anchor_step_s: float = 2.5
    short_s: float = 45.0
    threshold: float = THRESHOLD

    def steps_s(self, duration_s: float) -> tuple[float, float]:
        """The two steps for a recording of this duration."""
        if duration_s <= self.short_s:
            return min(1.0, self.step_s), min(1.0, self.anchor_step_s)
        return self.step_s, self.anchor_step_s


@dataclass(frozen=True, slots=True)
class Networks:
    """`segmentation` takes (batch, 1, samples), `embedding` takes (batch, rows, mel bins)."""

    segmentation: Network
    embedding: Network


def diarize(
    samples: NDArray[np.float32], networks: Networks, settings: Settings, bounds: Bounds, progress: Progress
) -> DiarizeResult:
    """Who speaks when in `samples` (mono, SAMPLE_RATE Hz).

    `progress` is called with the share done, 0 to 1, between batches; what it raises ends the work.
    """
    duration_s = len(samples) / SAMPLE_RATE
    step_s, anchor_step_s = settings.steps_s(duration_s)
    layout = lay_out(len(samples), step_s, anchor_step_s)
    activity = _segment(networks.segmentation, samples, layout, progress)
    count = assembly.count_voices(activity, layout.first_frames, layout.total_frames)
    if bounds.most is not None:
        count = np.minimum(count, bounds.most)
    if not count.any():
        return DiarizeResult(duration=duration_s)
    heard = activity[layout.anchors]
    vectors = _embed(networks.embedding, samples, layout, heard, progress)
    labels = np.full((len(activity), LOCAL_SPEAKERS), assembly.NOBODY, np.int64)
    labels[layout.anchors], centroids = name_voices(vectors, heard, anchor_step_s, bounds, settings.threshold)
    grid = _grid(activity, labels, layout, max(len(centroids), int(count.max())))
    return _result(grid, assembly.assemble(grid, count), centroids, duration_s)


def _segment(network: Network, samples: NDArray[np.float32], layout: Layout, progress: Progress) -> Activity:
    activity = np.zeros((len(layout.starts), FRAMES, LOCAL_SPEAKERS), np.uint8)
    for windows, part in segment(network, samples, layout):
        activity[windows] = part
        progress(_SEGMENTATION_SHARE * windows.stop / len(activity))
    return activity


def _embed(
    network: Network,
    samples: NDArray[np.float32],
    layout: Layout,
    heard: Activity,
    progress: Progress,
) -> NDArray[np.float32]:
    """(anchors, voices, dimension), NaN where there is no vector."""
    vectors = np.full((len(heard), LOCAL_SPEAKERS, DIMENSION), np.nan, np.float32)
    for share, places, found in embed(network, samples, layout, heard):
        anchors, voices = zip(*places, strict=True)
        vectors[list(anchors), list(voices)] = found
        progress(_SEGMENTATION_SHARE + (1 - _SEGMENTATION_SHARE) * share)
    return vectors


def _grid(activity: Activity, labels: assembly.Labels, layout: Layout, speakers: int) -> assembly.Grid:
    """How often each speaker is heard. There are as many columns as voices at one time, even if fewer were told apart.

    Voices that no vector names (between anchors, or too brief) go with the speaker they share their frames with.
    """
    frames = layout.first_frames, layout.total_frames
    grid = assembly.overlay(activity, labels, *frames, speakers)
    labels = assembly.adopt(grid, activity, labels, layout.first_frames)
    return assembly.overlay(activity, labels, *frames, speakers)


def _result(
    grid: assembly.Grid, active: Frames, centroids: NDArray[np.float32], duration_s: float
) -> DiarizeResult:
    """Speakers in order of first speech; those who never speak are left out."""
    order = order_of_speech(active)
    names = [f"SPEAKER_{number:02d}" for number in range(len(order))]
    alone = loudest(active[:, order], grid[:, order])
    return DiarizeResult(
        segments=turns(active[:, order], names, duration_s, frame_time_s),
        exclusive_segments=turns(alone, names, duration_s, frame_time_s),
        num_speakers=len(names),
        embeddings={
            name: centroids[column].tolist()
            for name, column in zip(names, order, strict=True)
            if column < len(centroids)
        },
        duration=duration_s,
    )
