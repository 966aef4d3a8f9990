"""How many speakers a task allows. Pure."""

from dataclasses import dataclass

from fanscribe.contracts.task import DiarizeInput


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many speakers there may be, both ends included; `most` None for no upper end."""

    least: int = 1
    most: int | None = None

    def nearest(self, count: int) -> int:
        """`count`, moved into the bounds."""
        count = max(count, self.least)
        return count if self.most is None else min(count, self.most)


def bounds_of(asked: DiarizeInput) -> Bounds:
    """How many speakers the task allows."""
    if asked.num_speakers is not None:
        return Bounds(asked.num_speakers, asked.num_speakers)
    return Bounds(asked.min_speakers or 1, asked.max_speakers)
