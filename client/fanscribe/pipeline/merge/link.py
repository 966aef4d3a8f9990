"""Joining the diarizations of overlapping chunks: which speakers of different chunks are one person.

Each chunk was diarized by itself, so its labels mean nothing outside of it. All speakers of all chunks are
clustered at once by their voice embeddings. Speakers of one chunk are different people. Where two chunks heard
the same seconds, those who speak at the same moments are likely one person, those who do not likely two.

A chunk cannot be asked for the number of speakers of the whole recording, for not everybody need speak in it;
at most that many do, so `max_speakers` is all that a chunk should be asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Turn
from fanscribe.pipeline.merge.clustering import Floats, Integers, Voices, cluster
from fanscribe.pipeline.merge.naming import rename_turns, speaker_labels
from fanscribe.pipeline.merge.turns import TOUCH_S, spans_by_speaker

THRESHOLD = 0.7045654963945799
"""Distance of unit vectors up to which two voices are one: that of pyannote/speaker-diarization-3.1's own
clustering (its published config), which diarize-onnx uses too."""

BRIEF_S = 2.0
"""Seconds of speech below which a speaker without an embedding is not worth a speaker of their own."""

Spans = Sequence[tuple[float, float]]


@dataclass(slots=True, frozen=True)
class DiarizedPart:
    """The diarization of one chunk, times in seconds from the start of the file.

    `start` and `end` are its side of the cuts, `heard_start` and `heard_end` the audio it was made from.
    `result` is None for a chunk that failed: its side of the cuts stays without turns.
    """

    result: DiarizeResult | None
    start: float
    end: float
    heard_start: float
    heard_end: float


@dataclass(slots=True, frozen=True)
class _Speaker:
    """A speaker of one chunk: all that was heard of them, and what of it lies on the chunk's side of the cuts."""

    part: int
    label: str
    heard: Spans
    kept: Spans
    vector: tuple[float, ...]

    @property
    def speech_s(self) -> float:
        return _length(self.heard)


def link(
    parts: Sequence[DiarizedPart],
    *,
    num_speakers: int | None = None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    threshold: float = THRESHOLD,
) -> DiarizeResult:
    """One diarization out of those of overlapping chunks.

    `num_speakers`, or the two bounds, hold for the whole; fewer come out only where the chunks have fewer speakers
    together. Two speakers of one chunk become one only where the chunk alone has more than the bound. `threshold`
    is a distance of unit vectors (0 to 2). Labels are SPEAKER_00, … in order of first speech. Neither the order
    of `parts` nor the labels inside of them matter; the input is not changed. The embedding of a speaker is the
    mean of those of the chunks, weighted with the seconds of speech.
    """
    ordered = sorted(parts, key=lambda part: (part.start, part.end, part.heard_start, part.heard_end))
    speakers = [each for number, part in enumerate(ordered) for each in _speakers(number, part)]
    least, most = num_speakers or min_speakers or 1, num_speakers or max_speakers
    people = _people(speakers, ordered, threshold, least, most)
    names = {
        (each.part, each.label): f"{person}" for each, person in zip(speakers, people.tolist(), strict=True)
    }
    segments, exclusive = (_turns(ordered, names, exclusive=each) for each in (False, True))
    labels = speaker_labels([*segments, *exclusive])
    return DiarizeResult(
        segments=rename_turns(segments, labels),
        exclusive_segments=rename_turns(exclusive, labels),
        num_speakers=len(labels),
        embeddings=_embeddings(speakers, people, labels),
        duration=max((part.end for part in ordered), default=0.0),
    )


def _speakers(number: int, part: DiarizedPart) -> list[_Speaker]:
    """The speakers of a chunk who speak on its side of the cuts, in an order that does not depend on labels."""
    if part.result is None:
        return []
    found = []
    alone = spans_by_speaker(part.result.exclusive_segments)
    turns = [*part.result.segments, *part.result.exclusive_segments]
    for label, (starts, ends) in spans_by_speaker(turns).items():
        heard = list(zip(starts, ends, strict=True))
        kept = _within(heard, part.start, part.end)
        if kept:
            vector = tuple(part.result.embeddings.get(label, ()))
            found.append(_Speaker(number, label, heard, kept, vector))
    return sorted(
        found,
        key=lambda speaker: (speaker.kept, speaker.heard, speaker.vector, alone.get(speaker.label, ([], []))),
    )


def _people(
    speakers: Sequence[_Speaker],
    parts: Sequence[DiarizedPart],
    threshold: float,
    least: int,
    most: int | None,
) -> Integers:
    """The number of the person that each speaker is, (speakers,)."""
    vectors = _vectors(speakers)
    evidence = _evidence(speakers, parts)
    silent = np.isnan(vectors).any(axis=1)
    brief = silent & np.array([each.speech_s < BRIEF_S for each in speakers], np.bool_)
    lasting = np.flatnonzero(~brief)
    people: Integers = np.full(len(speakers), -1, np.int64)
    if len(lasting):
        people[lasting] = cluster(
            Voices(
                vectors[lasting],
                np.array([speakers[at].speech_s for at in lasting.tolist()]),
                np.array([speakers[at].part for at in lasting.tolist()]),
                evidence[np.ix_(lasting, lasting)],
            ),
            threshold,
            least,
            most,
        )
    for at in np.flatnonzero(brief).tolist():
        people[at] = _adopted(at, speakers, people, evidence, least, most)
    return people


def _adopted(
    at: int,
    speakers: Sequence[_Speaker],
    people: Integers,
    evidence: Floats,
    least: int,
    most: int | None,
) -> int:
    """Whose the few words of a speaker without an embedding are.

    They go to the one who spoke at the same moments in another chunk, else to the one who speaks nearest in time;
    never to somebody else of the same chunk, unless the bound on the number of people leaves no other way.
    """
    count = int(people.max(initial=-1)) + 1
    taken = {int(people[n]) for n, each in enumerate(speakers) if each.part == speakers[at].part}
    free = [person for person in range(count) if person not in taken]
    if not free and most is not None and count >= most:
        free = list(range(count))
    if not free or count < least:
        return count
    heard = {person: float(evidence[at, people == person].sum()) for person in free}
    best = max(free, key=lambda person: heard[person])
    if heard[best] > 0:
        return best
    return min(
        free,
        key=lambda person: min(
            _gap(speakers[at].kept, speakers[n].kept) for n in np.flatnonzero(people == person).tolist()
        ),
    )


def _vectors(speakers: Sequence[_Speaker]) -> Floats:
    """(speakers, dimension), NaN where there is no usable vector.

    Vectors of another length come from another network and cannot be compared: the length that most speech has
    is the one that counts.
    """
    speech: dict[int, float] = {}
    for each in speakers:
        if each.vector:
            speech[len(each.vector)] = speech.get(len(each.vector), 0.0) + each.speech_s
    dimension = max(sorted(speech), key=lambda length: speech[length], default=1)
    vectors = np.full((len(speakers), dimension), np.nan)
    for row, each in enumerate(speakers):
        if len(each.vector) == dimension and any(each.vector) and np.isfinite(each.vector).all():
            vectors[row] = each.vector
    return vectors


def _evidence(speakers: Sequence[_Speaker], parts: Sequence[DiarizedPart]) -> Floats:
    """Seconds that two speakers of different chunks speak together, less those that one speaks without the other.

    Only the audio that both chunks heard counts, so most pairs have 0. Shape (speakers, speakers).
    """
    evidence = np.zeros((len(speakers), len(speakers)))
    members: dict[int, list[int]] = {}
    for row, each in enumerate(speakers):
        members.setdefault(each.part, []).append(row)
    for left, right in _neighbours(parts):
        start = max(parts[left].heard_start, parts[right].heard_start)
        end = min(parts[left].heard_end, parts[right].heard_end)
        ours = {row: _within(speakers[row].heard, start, end) for row in members.get(left, ())}
        theirs = {row: _within(speakers[row].heard, start, end) for row in members.get(right, ())}
        for row, spans in ours.items():
            for other, others in theirs.items():
                together = _shared(spans, others)
                evidence[row, other] = 3 * together - _length(spans) - _length(others)
                evidence[other, row] = evidence[row, other]
    return evidence


def _neighbours(parts: Sequence[DiarizedPart]) -> Iterable[tuple[int, int]]:
    """Pairs of chunks, in order, that heard the same seconds."""
    by_time = sorted(range(len(parts)), key=lambda number: parts[number].heard_start)
    for at, left in enumerate(by_time):
        for right in by_time[at + 1 :]:
            if parts[right].heard_start >= parts[left].heard_end:
                break
            yield left, right


def _turns(
    parts: Sequence[DiarizedPart], names: Mapping[tuple[int, str], str], exclusive: bool
) -> list[Turn]:
    """The turns of all chunks, cut at the borders, with the people's names; whoever speaks over a cut has one turn."""
    turns: list[Turn] = []
    for number, part in enumerate(parts):
        if part.result is None:
            continue
        for turn in part.result.exclusive_segments if exclusive else part.result.segments:
            start, end = max(turn.start, part.start), min(turn.end, part.end)
            if start < end:
                turns.append(Turn(start, end, names[number, turn.speaker]))
    turns.sort(key=lambda turn: (turn.start, turn.end, turn.speaker))
    return _joined(turns, [part.end for part in parts], exclusive)


def _joined(turns: Sequence[Turn], cuts: Sequence[float], exclusive: bool) -> list[Turn]:
    """Turns of one person that overlap, or touch at a cut, as one."""
    joined: list[Turn] = []
    latest: dict[str, int] = {}
    for turn in turns:
        at = latest.get(turn.speaker)
        before = joined[at] if at is not None else None
        if at is not None and before is not None and (not exclusive or at == len(joined) - 1):
            touching = turn.start - before.end <= TOUCH_S and any(
                before.end <= cut <= turn.start for cut in cuts
            )
            if turn.start < before.end or touching:
                joined[at] = Turn(before.start, max(before.end, turn.end), turn.speaker)
                continue
        latest[turn.speaker] = len(joined)
        joined.append(turn)
    return joined


def _embeddings(
    speakers: Sequence[_Speaker], people: Integers, labels: Mapping[str, str]
) -> dict[str, list[float]]:
    vectors = _vectors(speakers)
    found = {}
    for name, label in labels.items():
        rows = np.flatnonzero((people == int(name)) & ~np.isnan(vectors).any(axis=1))
        if len(rows):
            weights = np.array([speakers[row].speech_s for row in rows.tolist()])
            found[label] = np.average(vectors[rows], axis=0, weights=weights).tolist()
    return found


def _within(spans: Spans, start: float, end: float) -> list[tuple[float, float]]:
    return [(max(a, start), min(b, end)) for a, b in spans if max(a, start) < min(b, end)]


def _length(spans: Spans) -> float:
    return sum(end - start for start, end in spans)


def _shared(ours: Spans, theirs: Spans) -> float:
    """Seconds that lie in both; the spans of each are in order and disjoint."""
    return sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for start, end in ours
        for other_start, other_end in theirs
    )


def _gap(ours: Spans, theirs: Spans) -> float:
    """Seconds between the two at their nearest; 0 where they overlap."""
    return min(
        max(0.0, other_start - end, start - other_end)
        for start, end in ours
        for other_start, other_end in theirs
    )
