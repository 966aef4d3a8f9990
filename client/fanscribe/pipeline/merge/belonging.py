"""Words during overlapped speech, given to the speaker whose sentence they belong to.

Where two people speak at once, exclusive turns hand the time to one of them, and the border falls somewhere
inside the overlap. The recogniser writes down whole sentences, so a sentence that opens or ends inside the
overlap belongs to the one speaker of its rest, provided that this speaker was speaking at the time.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

from fanscribe.contracts.transcript import Turn, Word
from fanscribe.pipeline.merge.turns import spans_by_speaker

SPEAKING_SHARE = 0.5
"""Share of a word that must lie inside a speaker's own turns for the speaker to count as speaking."""


def with_their_sentence(
    words: Sequence[Word],
    speakers: list[str],
    overlap: Sequence[bool],
    turns: Sequence[Turn],
    parted: Callable[[Word, Word], bool],
) -> list[int]:
    """Move words to their sentence's speaker, in `speakers`; gives the numbers of the words that moved.

    `turns` may overlap. `parted` says whether a sentence ends between two words. Only runs of overlapped
    words that reach from a change of speaker to the sentence's border move. Linear in the words.
    """
    changes = [
        at
        for at in range(1, len(words))
        if speakers[at] != speakers[at - 1] and (overlap[at] or overlap[at - 1])
    ]
    if not changes:
        return []
    spans = spans_by_speaker(turns)
    moved: list[int] = []

    def speaking(at: int, speaker: str) -> bool:
        starts, ends = spans.get(speaker, ((), ()))
        start, end = words[at].start, words[at].end
        held = 0.0
        turn = bisect_right(ends, start)
        while turn < len(starts) and starts[turn] < end:
            held += min(end, ends[turn]) - max(start, starts[turn])
            turn += 1
        return held >= SPEAKING_SHARE * (end - start)

    def run(first: int, step: int, to: str) -> list[int]:
        """The overlapped words from `first` to the border of the sentence, or nothing."""
        numbers: list[int] = []
        own = speakers[first]
        at = first
        while speakers[at] == own and overlap[at] and speaking(at, to):
            numbers.append(at)
            following = at + step
            if not 0 <= following < len(words) or parted(*_ordered(words, at, following)):
                return numbers
            at = following
        return []

    for at in changes:
        before, after = speakers[at - 1], speakers[at]
        if before == after or parted(words[at - 1], words[at]):
            continue
        opening = run(at - 1, -1, after)
        for number in opening or run(at, 1, before):
            speakers[number] = after if opening else before
            moved.append(number)
    return moved


def _ordered(words: Sequence[Word], one: int, other: int) -> tuple[Word, Word]:
    return words[min(one, other)], words[max(one, other)]
