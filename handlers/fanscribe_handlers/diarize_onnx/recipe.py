"""The whole diarization of one recording, from samples to result."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanscribe.contracts.task import DiarizeResult
from fanscribe_handlers.diarize_onnx import assembly, embedding, segmentation
from fanscribe_handlers.diarize_onnx.assembly import NOBODY
from fanscribe_handlers.diarize_onnx.clustering import THRESHOLD, Bounds, cluster, nearest
from fanscribe_handlers.diarize_onnx.session import Network
from fanscribe_handlers.diarize_onnx.turns import first_frames, turns
from fanscribe_handlers.diarize_onnx.windows import FRAMES, Layout, lay_out
from fanscribe_handlers.engine import SAMPLE_RATE

MIN_CLUSTER_S = 12.0
MIN_CLEAN_SHARE = 0.2
SEGMENTATION_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Settings:
    step_s: float = 1.0
    anchor_step_s: float = 1.0
    threshold: float = THRESHOLD


def diarize(
    samples: NDArray[np.float32],
    segmenter: Network,
    embedder: Network,
    settings: Settings,
    bounds: Bounds,
    progress: Callable[[float], None],
) -> DiarizeResult:
    duration_s = len(samples) / SAMPLE_RATE
    layout = lay_out(len(samples), settings.step_s, settings.anchor_step_s)
    activity = np.zeros((len(layout.starts), FRAMES, segmentation.LOCAL_SPEAKERS), np.uint8)
    for windows, part in segmentation.segment(segmenter, samples, layout):
        activity[windows] = part
        progress(SEGMENTATION_SHARE * windows.stop / len(activity))
    count = assembly.count_voices(activity, layout.first_frames, layout.total_frames)
    if bounds.most is not None:
        count = np.minimum(count, bounds.most)
    if not count.any():
        return DiarizeResult(duration=duration_s)
    vectors = np.full((len(layout.anchors), segmentation.LOCAL_SPEAKERS, embedding.DIMENSION), np.nan, np.float32)
    heard = activity[layout.anchors]
    for share, places, batch in embedding.embed(embedder, samples, layout, heard):
        for place, vector in zip(places, batch, strict=True):
            vectors[place] = vector
        progress(SEGMENTATION_SHARE + (1 - SEGMENTATION_SHARE) * share)
    labels, centroids = name_voices(vectors, heard, bounds, settings)
    everyone = np.full(activity.shape[::2], NOBODY, np.int64)
    everyone[layout.anchors] = labels
    K=len(centroids)
    grid = assembly.overlay(activity, everyone, layout.first_frames, layout.total_frames, K)
    adopted = assembly.adopt(grid, activity, everyone, layout.first_frames)
    grid = assembly.overlay(activity, adopted, layout.first_frames, layout.total_frames, K)
    if K < count.max(): grid=np.pad(grid,((0,0),(0,int(count.max())-K)))
    active = assembly.assemble(grid, count)
    order=[c for c in np.argsort(first_frames(active),kind='stable') if active[:,c].any()]
    active=active[:,order]; grid=grid[:,order]
    names=[f'SPEAKER_{i:02d}' for i in range(len(order))]
    ex=assembly.loudest(active,grid)
    return DiarizeResult(segments=turns(active,names,duration_s),exclusive_segments=turns(ex,names,duration_s),num_speakers=len(names),embeddings={n:centroids[o].tolist() for n,o in zip(names,order) if o<K},duration=duration_s)


def name_voices(vectors, heard, bounds, settings):
    valid = ~np.isnan(vectors[..., 0])
    alone = (heard * (heard.sum(axis=2, keepdims=True) == 1)).sum(axis=1)
    train = valid & (alone >= MIN_CLEAN_SHARE * FRAMES)
    if train.sum() < max(1, bounds.least): train = valid
    labels = np.full(valid.shape, NOBODY, np.int64)
    if not train.any():
        labels[heard.any(axis=1)]=0
        return labels, np.zeros((1,192),np.float32)
    found = cluster(vectors[train], bounds, max(1, round(MIN_CLUSTER_S / settings.anchor_step_s)), settings.threshold)
    labels[valid] = nearest(vectors[valid], found.centroids)
    return labels, found.centroids
