import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fanscribe_handlers.align.trellis import force

BLANK = 0


def emissions(path: list[int], vocabulary: int = 5, sure: float = 0.9) -> NDArray[np.float32]:
    """Log probabilities of a model that hears `path`, one token a frame."""
    rest = (1 - sure) / (vocabulary - 1)
    scores = np.full((len(path), vocabulary), rest, dtype=np.float32)
    scores[np.arange(len(path)), path] = sure
    return np.log(scores)


def test_a_known_path_is_found() -> None:
    spans = force(emissions([0, 0, 3, 3, 0, 1, 0, 2, 2, 2, 0]), [3, 1, 2], BLANK)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(2, 4), (5, 6), (7, 10)]
    assert [span.probability for span in spans] == pytest.approx([0.9, 0.9, 0.9])


def test_a_token_twice_needs_a_blank_between() -> None:
    spans = force(emissions([4, 4, 0, 4]), [4, 4], BLANK)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(0, 2), (3, 4)]
    assert force(emissions([4, 4]), [4, 4], BLANK) is None


def test_tokens_without_blanks_between_and_at_the_ends() -> None:
    spans = force(emissions([1, 2, 3]), [1, 2, 3], BLANK)
    assert spans is not None
    assert [(span.start, span.end) for span in spans] == [(0, 1), (1, 2), (2, 3)]


def test_a_token_that_was_not_heard_gets_its_place_and_little_confidence() -> None:
    spans = force(emissions([1, 1, 0, 0, 3, 3]), [1, 2, 3], BLANK)
    assert spans is not None
    assert spans[0].end <= spans[1].start < spans[1].end <= spans[2].start
    assert spans[1].probability < 0.1


def test_more_tokens_than_frames_cannot_be_placed() -> None:
    assert force(emissions([1, 2]), [1, 2, 3], BLANK) is None
    assert force(np.zeros((0, 5), dtype=np.float32), [1], BLANK) is None
    assert force(emissions([1, 2]), [], BLANK) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_path_is_likelier(seed: int) -> None:
    """Against every path there is, for small random emissions."""
    random = np.random.default_rng(seed)
    scores = np.log(random.dirichlet(np.ones(4), size=6)).astype(np.float32)
    tokens = [int(token) for token in random.integers(1, 4, size=random.integers(1, 4))]
    spans = force(scores, tokens, BLANK)
    collapsed = [
        path
        for path in itertools.product(range(4), repeat=6)
        if [token for token, _ in itertools.groupby(path) if token != BLANK] == tokens
    ]
    assert collapsed
    best = max(collapsed, key=lambda path: sum(scores[frame, token] for frame, token in enumerate(path)))
    assert spans is not None
    found = [BLANK] * 6
    for token, span in zip(tokens, spans, strict=True):
        found[span.start : span.end] = [token] * (span.end - span.start)
    assert tuple(found) == best
