"""Whether chunks cover a recording: what none of them owns, and whether each moment has one owner. Pure."""

from collections.abc import Sequence

from fanscribe.media import SAMPLE_RATE
from fanscribe.pipeline.cuts import Chunk


def holes(chunks: Sequence[Chunk], duration_s: float) -> list[tuple[float, float]]:
    """The spans of the recording that no chunk owns, in order."""
    found, reached = [], 0.0
    for each in sorted(chunks, key=lambda each: each.start):
        if each.start > reached:
            found.append((reached, each.start))
        reached = max(reached, each.end)
    return [*found, (reached, duration_s)] if reached < duration_s else found


def tiles(chunks: Sequence[Chunk], duration_s: float) -> bool:
    """Whether chunks, in whatever order, own every moment of the recording once. Times are whole samples."""
    ordered = sorted(chunks, key=lambda each: each.start)
    edges = [0.0, *(each.end for each in ordered)]
    starts = [each.start for each in ordered]
    return bool(chunks) and starts == edges[:-1] and abs(edges[-1] - duration_s) * SAMPLE_RATE < 1
