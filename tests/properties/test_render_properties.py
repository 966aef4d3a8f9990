"""Captions stay valid whatever was said."""

import html
import itertools
import re

import srt
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.transcript import Gap, Segment, Transcript, Word
from fanscribe.render import render
from fanscribe.render.cues import LINE_WIDTH, LINES, LONGEST_MS, clean, cues

TOKENS = st.one_of(
    st.sampled_from(["-->", "&", "<b>", "</v>", "1", "00:00:01,000", "WEBVTT", "NOTE", "a", "yes.", "你好"]),
    st.text(min_size=1, max_size=12),
)
TIMES = st.integers(0, 500_000_000).map(lambda tick: tick / 1000)
SPEAKERS = st.one_of(st.none(), st.sampled_from(["SPEAKER_00", "SPEAKER_01", "A & <B>", "a\nb"]))


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    start = draw(TIMES)
    tokens = draw(st.lists(TOKENS, max_size=30))
    times = sorted(start + draw(st.integers(0, 40_000)) / 1000 for _ in tokens)
    words = [
        Word(token, at, at + draw(st.integers(0, 9000)) / 1000)
        for token, at in zip(tokens, times, strict=True)
    ]
    separator = draw(st.sampled_from([" ", "\n\n", ""]))
    text = separator.join(tokens)
    end = max([start, *(word.end for word in words)])
    return Segment(start, end, text, draw(SPEAKERS), words if draw(st.booleans()) else [])


TRANSCRIPTS = st.builds(
    lambda parts, gaps: Transcript(segments=parts, gaps=gaps),
    st.lists(segments(), max_size=5),
    st.lists(
        st.builds(
            lambda start, length, reason: Gap(start, start + length, "transcribe", reason),
            TIMES,
            st.floats(0.001, 1000),
            st.text(max_size=60),
        ),
        max_size=2,
    ),
)


@given(TRANSCRIPTS)
def test_cues_are_ordered_short_and_never_blank(transcript: Transcript) -> None:
    made = cues(transcript, prefix=False)
    assert [cue.start_ms for cue in made] == sorted(cue.start_ms for cue in made)
    for cue in made:
        assert 0 < cue.end_ms - cue.start_ms <= LONGEST_MS
        assert all(line.strip() and "\n" not in line for line in cue.lines)
        if not cue.lines[0].startswith("[gap"):
            assert len(cue.lines) <= LINES or max(map(len, cue.lines)) > LINE_WIDTH
    for speaker in {cue.speaker for cue in made}:
        own = [cue for cue in made if cue.speaker == speaker]
        for cue, following in itertools.pairwise(own):
            assert cue.end_ms <= following.start_ms or cue.start_ms == following.start_ms


@given(TRANSCRIPTS)
def test_srt_reads_back_whole(transcript: Transcript) -> None:
    rendered = render(transcript, ResponseFormat.SRT)
    assert isinstance(rendered, str)
    expected = cues(transcript, prefix=True)
    parsed = list(srt.parse(rendered))
    assert [round(one.start.total_seconds() * 1000) for one in parsed] == [cue.start_ms for cue in expected]
    assert [round(one.end.total_seconds() * 1000) for one in parsed] == [cue.end_ms for cue in expected]
    assert [one.content for one in parsed] == [
        "\n".join(cue.lines).replace("-->", "-- >") for cue in expected
    ]


@given(TRANSCRIPTS)
@example(Transcript(segments=[Segment(0, 1, "a --> b <v x> & c", "A & <B>")]))
def test_vtt_reads_back_whole(transcript: Transcript) -> None:
    rendered = render(transcript, ResponseFormat.VTT)
    assert isinstance(rendered, str)
    expected = cues(transcript, prefix=False)
    parsed = webvtt.from_string(rendered).captions
    assert len(parsed) == len(expected)
    for caption, cue in zip(parsed, expected, strict=True):
        raw = re.sub(r"^<v [^>]*>", "", caption.raw_text)
        assert "<" not in raw
        assert html.unescape(raw).split() == html.unescape(" ".join(cue.lines).replace("&", "&amp;")).split()


@given(TRANSCRIPTS)
def test_no_word_is_missing_from_the_captions(transcript: Transcript) -> None:
    shown = "".join(
        "".join(cue.lines) for cue in cues(Transcript(segments=transcript.segments), prefix=False)
    )
    ordered = sorted(transcript.segments, key=lambda segment: segment.start)
    said = "".join(segment.text for segment in ordered)
    assert sorted("".join(shown.split())) == sorted("".join(clean(said).split()))
