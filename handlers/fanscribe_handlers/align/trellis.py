"""CTC forced alignment: the likeliest frames for a known row of tokens. Pure numpy.

The states are blank, token, blank, token, …, blank; a path goes on by nothing, by one state, or by two where
that skips a blank between two different tokens (Graves et al. 2006, section 4.1). Libraries that do this were
looked at: torchaudio's `forced_align` is compiled code that wants CUDA's libraries on a machine without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The frames of one token, half-open, and its mean probability over them, 0 to 1."""

    start: int
    end: int
    probability: float


def force(emissions: NDArray[np.float32], tokens: Sequence[int], blank: int) -> list[TokenSpan] | None:
    """The span of each token on the likeliest path, or None where there are fewer frames than the tokens need.

    `emissions` are natural log probabilities of shape (frames, vocabulary); `tokens` are indices into the
    vocabulary without blanks. Takes frames times tokens in time, and two bytes for each pair of them in memory.
    """
    frames = len(emissions)
    labels = np.asarray(tokens, dtype=np.intp)
    if len(labels) == 0:
        return []
    repeats = labels[1:] == labels[:-1]
    if frames < len(labels) + int(repeats.sum()):
        return None
    states = np.full(2 * len(labels) + 1, blank, dtype=np.intp)
    states[1::2] = labels
    steps = _forward(emissions, states, repeats)
    path = _backward(steps, emissions, states)
    return _spans(path, emissions, labels)


def _forward(
    emissions: NDArray[np.float32], states: NDArray[np.intp], repeats: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """How many states the best way into each state goes on, shape (frames, states), and the last scores."""
    worst = np.float32(-np.inf)
    scores = np.full(len(states), worst, dtype=np.float32)
    scores[:2] = emissions[0, states[:2]]
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = ~repeats
    steps = np.zeros((len(emissions), len(states)), dtype=np.int8)
    one, two = np.full_like(scores, worst), np.full_like(scores, worst)
    for frame in range(1, len(emissions)):
        one[1:] = scores[:-1]
        two[2:] = np.where(may_skip[2:], scores[:-2], worst)
        step = steps[frame]
        best = scores
        for length, other in ((1, one), (2, two)):
            better = other > best
            step[better] = length
            best = np.where(better, other, best)
        scores = best + emissions[frame, states]
    return steps, scores


def _backward(
    forward: tuple[NDArray[np.int8], NDArray[np.float32]],
    emissions: NDArray[np.float32],
    states: NDArray[np.intp],
) -> NDArray[np.intp]:
    """The state of each frame on the best path, which ends in the last token or the blank behind it."""
    steps, scores = forward
    path = np.empty(len(emissions), dtype=np.intp)
    state = len(states) - 1 if scores[-1] >= scores[-2] else len(states) - 2
    for frame in range(len(emissions) - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path


def _spans(
    path: NDArray[np.intp], emissions: NDArray[np.float32], labels: NDArray[np.intp]
) -> list[TokenSpan]:
    on_tokens = np.flatnonzero(path % 2)
    numbers = path[on_tokens] // 2
    starts = on_tokens[np.searchsorted(numbers, np.arange(len(labels)), side="left")]
    ends = on_tokens[np.searchsorted(numbers, np.arange(len(labels)), side="right") - 1] + 1
    spans: list[TokenSpan] = []
    for label, start, end in zip(labels, starts, ends, strict=True):
        probability = float(np.exp(emissions[start:end, label]).mean())
        spans.append(TokenSpan(int(start), int(end), min(1.0, probability)))
    return spans
