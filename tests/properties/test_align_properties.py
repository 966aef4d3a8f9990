"""Whatever an aligner finds or misses: no word is lost, and no time goes back."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.contracts.transcript import Segment
from fanscribe_handlers.align.timing import Placed, timed_segment, windows
from fanscribe_handlers.align.windows import HOP, batches, cut
from fanscribe_handlers.align.wording import spoken_words, written_words

SECONDS = st.floats(0, 60, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    starts = draw(st.lists(SECONDS, max_size=8))
    return [Segment(start, start + draw(SECONDS), draw(st.text(max_size=12))) for start in starts]


@given(st.text(max_size=40), st.sampled_from(["en", "de", "zh", "xx"]))
def test_any_text_is_cut_into_words_without_loss(text: str, language: str) -> None:
    words = written_words(Segment(0, 1, text))
    assert "".join(word.text for word in words) == "".join(text.split())
    for word in words:
        for spoken in spoken_words(word.text, language):
            assert spoken == spoken.strip("' ")
            assert spoken


@given(st.lists(st.tuples(st.booleans(), SECONDS, SECONDS), min_size=1, max_size=12), SECONDS, SECONDS)
def test_times_of_words_never_go_back(
    found: list[tuple[bool, float, float]], start: float, length: float
) -> None:
    times = sorted(time for _, begin, end in found for time in (begin, end))
    placed = [
        Placed(times[2 * number], times[2 * number + 1]) if there else None
        for number, (there, _, _) in enumerate(found)
    ]
    text = " ".join(["word"] * len(found))
    segment = Segment(start, start + length, text)
    timed = timed_segment(segment, written_words(segment), placed)
    assert [word.text for word in timed.words] == text.split()
    got = [time for word in timed.words for time in (word.start, word.end)]
    assert all(before <= after + 1e-9 for before, after in pairwise(got))
    for word, where in zip(timed.words, placed, strict=True):
        assert where is None or (word.start, word.end) == (where.start, where.end)


@given(segments(), st.floats(0, 60, allow_nan=False))
def test_windows_lie_in_the_audio_and_hold_their_segment(
    given_segments: list[Segment], duration: float
) -> None:
    for segment, (start, end) in zip(given_segments, windows(given_segments, duration), strict=True):
        assert 0 <= start <= end <= duration
        if segment.end <= duration:
            assert start <= segment.start
            assert segment.end <= end


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=6),
    st.integers(0, 100 * 16_000),
    st.integers(1, 4000),
)
def test_every_window_is_in_one_batch_and_in_the_recording(
    spans: list[tuple[float, float]], samples: int, limit: int
) -> None:
    whole = samples // HOP
    made = cut(spans, samples, 16_000)
    divided = batches(made, limit, whole)
    assert sorted(each.wanted for batch in divided for each in batch) == sorted(each.wanted for each in made)
    for batch in divided:
        assert len({each.length for each in batch}) == 1
        for each in batch:
            assert 0 <= each.heard_first <= each.first < each.last <= each.heard_last <= whole
            assert each.length <= 1600
