"""A cut anywhere splits the coded words between its two sides: none lost, none twice, no time moved."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fanscribe.contracts.task import DiarizeInput, TranscribeInput
from fanscribe_handlers.simulated.coded import WORD_SAMPLES, listen, word_samples
from fanscribe_handlers.simulated.engine import diarized, transcribed
from fanscribe_handlers.simulated.recording import CodedRecording, speaker_of

LONG = CodedRecording(40, pause_s=0.1)
DENSE = CodedRecording(40, pause_s=0.0, first_word=70_000)
recordings = st.sampled_from([LONG, DENSE])


@given(recordings, st.lists(st.integers(1, DENSE.samples - 1), min_size=1, max_size=4, unique=True))
def test_pieces_hold_each_word_once(recording: CodedRecording, cuts: list[int]) -> None:
    sound = recording.floats()
    edges = [0, *sorted(cuts), len(sound)]
    found = [
        each.index
        for piece in np.split(sound, edges[1:-1])
        if len(piece)
        for each in listen(piece)
        if each.recognised
    ]
    # A word cut more than once may be nowhere more than half: then it is missing, but never doubled.
    whole = [
        number + recording.first_word
        for number in range(recording.words)
        if sum(_begin(recording, number) < cut < _begin(recording, number) + WORD_SAMPLES for cut in cuts) < 2
    ]
    assert len(found) == len(set(found))
    assert found == sorted(found)
    assert set(whole) <= set(found)


@given(recordings, st.integers(0, DENSE.samples - 4000), st.integers(4000, 60_000))
def test_times_in_a_span_are_those_of_the_recording(
    recording: CodedRecording, first: int, length: int
) -> None:
    last = min(first + length, recording.samples)
    for each in listen(recording.floats(first, last)):
        begin = _begin(recording, each.index - recording.first_word)
        assert each.first + first == max(begin, first)
        assert each.last + first == min(begin + WORD_SAMPLES, last)
        assert each.speaker == speaker_of(each.index, recording.speakers)


@given(recordings, st.integers(0, 2000), st.integers(0, 30_000))
def test_any_span_is_the_same_sound_as_in_the_whole(
    recording: CodedRecording, first: int, length: int
) -> None:
    last = min(first + length, recording.samples)
    assert np.array_equal(recording.pcm(first, last), recording.pcm(0, recording.samples)[first:last])


@given(st.integers(0, (1 << 24) - 1), st.integers(0, 255))
def test_every_number_can_be_said(index: int, speaker: int) -> None:
    sound = word_samples(np.array([index]), np.array([speaker]))[0].astype(np.float32) / np.float32(32_768)
    (word,) = listen(sound)
    assert (word.index, word.speaker, word.first, word.last) == (index, speaker, 0, WORD_SAMPLES)


@given(st.binary(min_size=2, max_size=4000))
def test_other_sound_gives_no_words(data: bytes) -> None:
    noise = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / np.float32(131_072)
    assert listen(noise) == []


@given(recordings, st.integers(0, DENSE.samples - 20_000), st.integers(20_000, 200_000))
def test_answers_of_a_span_agree_with_the_truth(recording: CodedRecording, first: int, length: int) -> None:
    last = min(first + length, recording.samples)
    heard = listen(recording.floats(first, last))
    duration = (last - first) / 16_000
    spoken = {word.text: word for word in recording.spoken()}
    result = transcribed(TranscribeInput(audio="data:,"), heard, duration)
    for word in (word for segment in result.segments for word in segment.words):
        truth = spoken[word.text]
        assert truth.start <= word.start + first / 16_000 + 1e-9
        assert word.end + first / 16_000 <= truth.end + 1e-9
    turns = diarized(DiarizeInput(audio="data:,"), heard, duration).exclusive_segments
    assert all(one.end <= other.start for one, other in pairwise(turns))
    assert all(0 <= turn.start < turn.end <= duration for turn in turns)


def _begin(recording: CodedRecording, number: int) -> int:
    spacing = recording.samples // recording.words
    return number * spacing + (spacing - WORD_SAMPLES) // 2
