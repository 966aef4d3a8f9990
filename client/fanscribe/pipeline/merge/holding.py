"""How long each speaker holds a span, answered without walking over the turns inside it."""

from bisect import bisect_right
from itertools import accumulate

from fanscribe.pipeline.merge.turns import Timeline


class Holding:
    """Sums over a timeline, by speaker: a question costs the logarithm of the turns, however long the span."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._spans: dict[str, tuple[list[float], list[float], list[float]]] = {}

    def speaker(self, start: float, end: float) -> str:
        """Who holds most of [start, end); where nobody holds any, whose turn has the nearest edge.

        The timeline must not be empty.
        """
        if not self._spans:
            self._spans = self._by_speaker()
        held = {name: self._before(name, end) - self._before(name, start) for name in self._spans}
        winner = max(held, key=lambda name: held[name])
        if held[winner] > 0:
            return winner
        at = bisect_right(self._line.ends, start)
        if at == 0:
            return self._line.speakers[0]
        if at == len(self._line.ends):
            return self._line.speakers[-1]
        before, after = start - self._line.ends[at - 1], self._line.starts[at] - end
        return self._line.speakers[at - 1 if before <= after else at]

    def _by_speaker(self) -> dict[str, tuple[list[float], list[float], list[float]]]:
        """Starts, ends, and the seconds held before each start, of every speaker."""
        spans: dict[str, tuple[list[float], list[float]]] = {}
        for start, end, name in zip(self._line.starts, self._line.ends, self._line.speakers, strict=True):
            starts, ends = spans.setdefault(name, ([], []))
            starts.append(start)
            ends.append(end)
        return {
            name: (
                starts,
                ends,
                list(accumulate((end - start for start, end in zip(starts, ends, strict=True)), initial=0.0)),
            )
            for name, (starts, ends) in spans.items()
        }

    def _before(self, name: str, time: float) -> float:
        """Seconds that a speaker holds before a time."""
        starts, ends, sums = self._spans[name]
        at = bisect_right(starts, time)
        if at == 0:
            return 0.0
        return sums[at - 1] + min(time, ends[at - 1]) - starts[at - 1]
