"""What holds for every set of words, turns and cuts."""

import copy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.contracts.task import DiarizeResult
from fanscribe.contracts.transcript import Segment, Turn, Word
from fanscribe.pipeline.merge import Part, assign_speakers, interleave, merge, stitch

TEXTS = st.sampled_from(["so", "yes", "Yes.", "no,", "well?", "a", "a", "你", "好。", "1984"])
TIMES = st.integers(0, 4000).map(lambda tick: tick / 100)


@st.composite
def word_lists(draw: st.DrawFn) -> list[Word]:
    """Words in order of time, each with a start of its own; lengths from none to three seconds."""
    starts = sorted(draw(st.sets(TIMES, max_size=40)))
    return [
        Word(draw(TEXTS), start, start + draw(st.integers(0, 300)) / 100, draw(st.floats(0, 1)))
        for start in starts
    ]


@st.composite
def transcriptions(draw: st.DrawFn) -> list[Segment]:
    words = draw(word_lists())
    segments: list[Segment] = []
    while words:
        size = draw(st.integers(1, len(words)))
        own, words = words[:size], words[size:]
        text = " ".join(word.text for word in own) if draw(st.booleans()) else "".join(w.text for w in own)
        segments.append(Segment(own[0].start, own[-1].end, text, words=own))
    return segments


TURNS = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start, start + length, speaker),
        TIMES,
        st.integers(1, 900).map(lambda tick: tick / 100),
        st.sampled_from(["A", "B", "C"]),
    ),
    max_size=25,
)


def heard(segments: list[Segment]) -> list[tuple[str, float, float, float | None]]:
    return [(w.text, w.start, w.end, w.confidence) for segment in segments for w in segment.words]


def letters(segments: list[Segment]) -> str:
    return "".join("".join(segment.text.split()) for segment in segments)


@given(transcriptions(), TURNS)
def test_no_word_is_lost_invented_moved_or_altered(segments: list[Segment], turns: list[Turn]) -> None:
    before = copy.deepcopy((segments, turns))
    found = assign_speakers(segments, turns)
    assert heard(found) == heard(segments)
    assert letters(found) == letters(segments)
    assert (segments, turns) == before


@given(transcriptions(), TURNS)
def test_segments_have_one_speaker_and_confidences_are_shares(
    segments: list[Segment], turns: list[Turn]
) -> None:
    for segment in assign_speakers(segments, turns):
        assert {word.speaker for word in segment.words} == {segment.speaker}
        assert (segment.speaker is None) == (not turns)
        assert all(0 <= (word.speaker_confidence or 0.0) <= 1 for word in segment.words)
        assert segment.start <= segment.end


@given(transcriptions(), TURNS)
def test_a_second_time_changes_nothing(segments: list[Segment], turns: list[Turn]) -> None:
    once = assign_speakers(segments, turns)
    assert assign_speakers(once, turns) == once


@given(transcriptions(), TURNS, st.permutations(["X", "Y", "Z"]))
def test_labels_inside_the_diarization_do_not_matter(
    segments: list[Segment], turns: list[Turn], new: list[str]
) -> None:
    renaming = dict(zip("ABC", new, strict=True))
    renamed = [Turn(turn.start, turn.end, renaming[turn.speaker]) for turn in turns]
    parts = [Part(0, 50, segments)]
    expected = merge(parts, duration=50, diarization=DiarizeResult(segments=turns))
    assert merge(parts, duration=50, diarization=DiarizeResult(segments=renamed)) == expected


@given(transcriptions(), st.sets(st.integers(1, 80), min_size=1, max_size=12), st.data())
def test_a_word_inside_one_turn_goes_to_its_speaker(
    segments: list[Segment], borders: set[int], data: st.DataObject
) -> None:
    # Disjoint turns of half a second and more that fill the time between the borders.
    times = sorted(border / 2 for border in borders)
    turns = [Turn(a, b, data.draw(st.sampled_from("ABC"))) for a, b in pairwise(times)]
    for segment in assign_speakers(segments, turns):
        for word in segment.words:
            for turn in turns:
                if turn.start <= word.start and word.end <= turn.end and word.start < turn.end:
                    assert (word.speaker, word.speaker_confidence) == (turn.speaker, 1.0)


@given(word_lists(), st.sets(st.integers(1, 39), max_size=4), st.integers(0, 30), st.randoms())
def test_cutting_and_stitching_gives_the_same_words(
    words: list[Word], cuts: set[int], context_ticks: int, random: object
) -> None:
    """An ideal engine reports exactly the words whose midpoint lies in the audio it was given."""
    # Audio that overlaps a cut by less than half a word shows neither side the whole of it.
    longest = max((word.end - word.start for word in words), default=0.0)
    context = max(context_ticks / 10, longest / 2) if context_ticks else 0.0
    borders = [0.0, *map(float, sorted(cuts)), 50.0]
    parts = []
    for start, end in pairwise(borders):
        first, last = max(0.0, start - context), min(50.0, end + context)
        own = [word for word in words if first <= (word.start + word.end) / 2 < last]
        # Its times end where its audio ends only without context; with it, the border is far enough.
        segments = (
            [Segment(own[0].start, own[-1].end, " ".join(w.text for w in own), words=own)] if own else []
        )
        parts.append(Part(start, end, segments, first, last))
    found = stitch(parts[::-1])
    assert found == stitch(parts)
    # Without a common order of midpoints the parts themselves are not in the order of the words.
    assert sorted(word.text for part in found for word in part.words) == sorted(word.text for word in words)


@given(transcriptions(), transcriptions())
def test_channels_keep_all_their_words_in_their_order(left: list[Segment], right: list[Segment]) -> None:
    found = interleave({"CHANNEL_0": left, "CHANNEL_1": right})
    for label, own in (("CHANNEL_0", left), ("CHANNEL_1", right)):
        mine = [segment for segment in found if segment.speaker == label]
        assert sorted(heard(mine), key=lambda word: word[1]) == heard(own)
        assert letters(mine) == letters(own)
    assert [segment.start for segment in found] == sorted(segment.start for segment in found)
