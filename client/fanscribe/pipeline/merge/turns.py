"""Turns made ready for attribution: one speaker at any time, without flicker; and where several speak."""

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fanscribe.contracts.transcript import Turn

TOUCH_S = 0.1
"""Seconds of silence up to which two turns count as touching; below any pause between speakers."""

FLICKER_S = 0.1
"""Seconds below which a turn cannot hold a word (a spoken "yes" takes 0.2 s and more)."""


@dataclass(slots=True, frozen=True)
class Timeline:
    """Disjoint turns in order of time, as parallel lists (a sweep over them needs no attribute look-ups)."""

    starts: list[float]
    ends: list[float]
    speakers: list[str]


def timeline(turns: Iterable[Turn]) -> Timeline:
    """One speaker at any time: overlaps resolved, neighbours of one speaker joined, flicker removed.

    Where turns overlap the longest holds the time, since a recogniser that writes one voice follows the one
    that goes on; a diarizer's own exclusive turns have no overlaps and pass unchanged. O(n log n).
    """
    ordered = sorted((turn for turn in turns if turn.end > turn.start), key=lambda turn: turn.start)
    return _without_flicker(_joined(_disjoint(ordered)))


def overlapped(turns: Iterable[Turn]) -> tuple[list[float], list[float]]:
    """Starts and ends, in order, of the spans where two or more different speakers have a turn."""
    events: list[tuple[float, int, str]] = []
    for turn in turns:
        if turn.end > turn.start:
            events.append((turn.start, 1, turn.speaker))
            events.append((turn.end, -1, turn.speaker))
    events.sort(key=lambda event: (event[0], event[1]))
    active: dict[str, int] = {}
    starts: list[float] = []
    ends: list[float] = []
    for time, change, speaker in events:
        before = len(active)
        count = active.get(speaker, 0) + change
        if count:
            active[speaker] = count
        else:
            del active[speaker]
        if before < 2 <= len(active):
            if ends and ends[-1] == time:
                ends.pop()
            else:
                starts.append(time)
        elif len(active) < 2 <= before:
            ends.append(time)
    return starts, ends


def spans_by_speaker(turns: Iterable[Turn]) -> dict[str, tuple[list[float], list[float]]]:
    """For each speaker the starts and ends of the spans in which they speak, in order and disjoint."""
    spans: dict[str, tuple[list[float], list[float]]] = {}
    for turn in sorted((turn for turn in turns if turn.end > turn.start), key=lambda turn: turn.start):
        starts, ends = spans.setdefault(turn.speaker, ([], []))
        if ends and turn.start <= ends[-1]:
            ends[-1] = max(ends[-1], turn.end)
        else:
            starts.append(turn.start)
            ends.append(turn.end)
    return spans


def _disjoint(ordered: Sequence[Turn]) -> list[Turn]:
    if all(a.end <= b.start for a, b in itertools.pairwise(ordered)):
        return list(ordered)
    times = sorted({time for turn in ordered for time in (turn.start, turn.end)})
    open_turns: list[tuple[float, int]] = []
    spans: list[Turn] = []
    upcoming = 0
    for start, end in itertools.pairwise(times):
        while upcoming < len(ordered) and ordered[upcoming].start <= start:
            turn = ordered[upcoming]
            heapq.heappush(open_turns, (turn.start - turn.end, upcoming))
            upcoming += 1
        while open_turns and ordered[open_turns[0][1]].end <= start:
            heapq.heappop(open_turns)
        if open_turns:
            spans.append(Turn(start, end, ordered[open_turns[0][1]].speaker))
    return spans


def _joined(spans: Sequence[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for span in spans:
        if joined and joined[-1].speaker == span.speaker and span.start - joined[-1].end <= TOUCH_S:
            joined[-1] = Turn(joined[-1].start, span.end, span.speaker)
        else:
            joined.append(span)
    return joined


def _without_flicker(spans: Sequence[Turn]) -> Timeline:
    """Runs of touching turns that are each too short for a word go to the longer neighbour they touch.

    A run that is long as a whole, or touches nobody, stays as one turn of whoever holds most of it. So no
    word can meet more than a bounded number of turns, whatever the diarizer sent.
    """
    kept: list[Turn] = []
    at = 0
    while at < len(spans):
        if spans[at].end - spans[at].start >= FLICKER_S:
            kept.append(spans[at])
            at += 1
            continue
        stop = at + 1
        while (
            stop < len(spans)
            and spans[stop].end - spans[stop].start < FLICKER_S
            and spans[stop].start - spans[stop - 1].end <= TOUCH_S
        ):
            stop += 1
        following = spans[stop] if stop < len(spans) else None
        kept.append(_settled(spans[at:stop], kept[-1] if kept else None, following))
        at = stop
    merged = _joined(kept)
    return Timeline(
        [turn.start for turn in merged], [turn.end for turn in merged], [turn.speaker for turn in merged]
    )


def _settled(run: Sequence[Turn], before: Turn | None, after: Turn | None) -> Turn:
    start, end = run[0].start, run[-1].end
    if end - start < FLICKER_S:
        near = [
            turn
            for turn in (before, after)
            if turn and turn.start - end <= TOUCH_S and start - turn.end <= TOUCH_S
        ]
        if near:
            return Turn(start, end, max(near, key=lambda turn: turn.end - turn.start).speaker)
    held: dict[str, float] = {}
    for turn in run:
        held[turn.speaker] = held.get(turn.speaker, 0.0) + turn.end - turn.start
    return Turn(start, end, max(held, key=lambda speaker: held[speaker]))
