"""From what pyannote tells its hook to the share of the work that is done. Pure."""

_SPANS = {
    "segmentation": (0.0, 0.2),
    "speaker_counting": (0.2, 0.2),
    "embeddings": (0.2, 0.95),
    "discrete_diarization": (1.0, 1.0),
}
"""From which share to which each step goes. Embeddings are 60 to 85 % of the time (pyannote.audio's pull request
1992)."""


def share_done(step: str, completed: float | None, total: float | None) -> float | None:
    """The share, 0 to 1, after `completed` of `total` parts of a step, or after the whole step where they are None.

    None for a step that is not known.
    """
    if step not in _SPANS:
        return None
    begun, ended = _SPANS[step]
    part = 1.0 if completed is None or not total else min(1.0, completed / total)
    return begun + (ended - begun) * part
