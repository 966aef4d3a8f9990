"""Each format, read back by a foreign reader where there is one."""

import io
import itertools
from typing import Any

import pytest
import srt
import webvtt

from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.transcript import Gap, Segment, Transcript, Turn, Word
from fanscribe.render import extension, render
from fanscribe.render.languages import LANGUAGES


def sample() -> Transcript:
    words = [Word("Hello", 0.0, 0.5, 0.5, "SPEAKER_00", 1.0), Word("Bob.", 0.5, 1.0, 0.5, "SPEAKER_00", 1.0)]
    return Transcript(
        text="Hello Bob. Hi & <bye>.",
        language="en",
        duration=3.0,
        speakers=["SPEAKER_00", "SPEAKER_01"],
        segments=[
            Segment(0.0, 1.0, "Hello Bob.", "SPEAKER_00", words),
            Segment(1.5, 3.0, "Hi & <bye>.", "SPEAKER_01"),
        ],
        turns=[Turn(1.4, 3.0, "SPEAKER_01"), Turn(0.0, 1.1, "SPEAKER_00")],
    )


def as_text(transcript: Transcript, format: ResponseFormat) -> str:
    rendered = render(transcript, format, file_id="my talk")
    assert isinstance(rendered, str)
    return rendered


def as_object(transcript: Transcript, format: ResponseFormat) -> dict[str, Any]:
    rendered = render(transcript, format)
    assert isinstance(rendered, dict)
    return rendered


def test_native_is_the_whole_transcript() -> None:
    assert Transcript.from_dict(as_object(sample(), ResponseFormat.NATIVE)) == sample()


def test_text_has_a_paragraph_for_each_change_of_speaker() -> None:
    assert as_text(sample(), ResponseFormat.TEXT) == "SPEAKER_00: Hello Bob.\nSPEAKER_01: Hi & <bye>.\n"
    joined = Transcript(segments=[Segment(0, 1, "One\n\ntwo."), Segment(1, 2, "Three.")])
    assert as_text(joined, ResponseFormat.TEXT) == "One two. Three.\n"
    mixed = Transcript(segments=[Segment(0, 1, "One.", "Anna"), Segment(1, 2, "Two.")])
    assert as_text(mixed, ResponseFormat.TEXT) == "Anna: One.\nUNKNOWN: Two.\n"


def test_a_gap_stands_where_the_words_are_missing() -> None:
    gappy = sample()
    gappy.gaps = [Gap(1.0, 1.4, "transcribe", "worker\nlost --> gone")]
    line = "[gap 00:00:01-00:00:01: transcribe: worker lost --> gone]"
    assert as_text(gappy, ResponseFormat.TEXT).splitlines()[1] == line
    captions = list(srt.parse(as_text(gappy, ResponseFormat.SRT)))
    assert "[gap" in captions[1].content
    assert "[gap" in webvtt.from_string(as_text(gappy, ResponseFormat.VTT)).captions[1].text
    for format in (ResponseFormat.JSON, ResponseFormat.VERBOSE_JSON, ResponseFormat.DIARIZED_JSON):
        assert as_object(gappy, format)["gaps"][0]["stage"] == "transcribe"
        assert "gaps" not in as_object(sample(), format)


def test_verbose_json_has_every_field_that_openai_requires() -> None:
    body = as_object(sample(), ResponseFormat.VERBOSE_JSON)
    assert (body["language"], body["duration"], body["task"]) == ("english", 3.0, "transcribe")
    assert set(body["segments"][0]) == {
        "id",
        "seek",
        "start",
        "end",
        "text",
        "tokens",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
        "speaker",
    }
    assert body["segments"][0]["avg_logprob"] == pytest.approx(-0.6931, abs=1e-4)
    assert body["words"][1] == {"word": "Bob.", "start": 0.5, "end": 1.0, "speaker": "SPEAKER_00"}
    assert body["usage"] == {"type": "duration", "seconds": 3.0}
    assert "words" not in as_object(Transcript(), ResponseFormat.VERBOSE_JSON)


def test_diarized_json_counts_speakers_in_letters_and_keeps_names() -> None:
    body = as_object(sample(), ResponseFormat.DIARIZED_JSON)
    assert [part["speaker"] for part in body["segments"]] == ["A", "B"]
    assert set(body["segments"][0]) == {"id", "type", "start", "end", "speaker", "text"}
    many = Transcript(
        speakers=[f"SPEAKER_{n:02d}" for n in range(28)],
        segments=[Segment(n, n + 1, "x", f"SPEAKER_{n:02d}") for n in range(28)]
        + [Segment(28, 29, "y", "A")],
    )
    letters = [part["speaker"] for part in as_object(many, ResponseFormat.DIARIZED_JSON)["segments"]]
    assert (letters[0], letters[24], letters[25], letters[27], letters[28]) == ("B", "Z", "AA", "AC", "A")


def test_rttm_has_ten_fields_a_line_from_turns_or_segments() -> None:
    lines = as_text(sample(), ResponseFormat.RTTM).splitlines()
    assert lines[0] == "SPEAKER my_talk 1 0.000 1.100 <NA> <NA> SPEAKER_00 <NA> <NA>"
    named = Transcript(
        segments=[Segment(1, 2, "x", "Anna  Maria"), Segment(3, 3, "y", "B"), Segment(4, 5, "z")]
    )
    assert as_text(named, ResponseFormat.RTTM) == (
        "SPEAKER my_talk 1 1.000 1.000 <NA> <NA> Anna_Maria <NA> <NA>\n"
    )


def test_vtt_has_voices_and_escapes() -> None:
    content = as_text(sample(), ResponseFormat.VTT)
    assert "<v SPEAKER_01>Hi &amp; &lt;bye&gt;." in content
    parsed = webvtt.from_string(content).captions
    assert [caption.voice for caption in parsed] == ["SPEAKER_00", "SPEAKER_01"]
    warned = sample()
    warned.warnings = ["a --> b\n\nc"]
    assert "NOTE a --&gt; b c\n\n" in as_text(warned, ResponseFormat.VTT)
    assert len(webvtt.from_string(as_text(warned, ResponseFormat.VTT)).captions) == 2


def test_srt_reads_back() -> None:
    parsed = list(srt.parse(as_text(sample(), ResponseFormat.SRT)))
    assert [one.content for one in parsed] == ["SPEAKER_00: Hello Bob.", "SPEAKER_01: Hi & <bye>."]
    assert parsed[1].start.total_seconds() == 1.5


def test_long_text_becomes_cues_that_fit_a_screen() -> None:
    words = [Word(f"word{n:03d}", n * 0.4, n * 0.4 + 0.3) for n in range(200)]
    long = Transcript(segments=[Segment(0, 80, " ".join(w.text for w in words), "SPEAKER_00", words)])
    parsed = list(srt.parse(as_text(long, ResponseFormat.SRT)))
    assert len(parsed) > 10
    for one in parsed:
        lines = one.content.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= 42 for line in lines)
        assert (one.end - one.start).total_seconds() <= 7
    said = [one.content.replace("SPEAKER_00: ", "").split() for one in parsed]
    assert [word for line in said for word in line] == [word.text for word in words]


def test_text_without_word_times_or_spaces_is_still_broken() -> None:
    long = Transcript(segments=[Segment(0, 60, "今日は良い天気ですね。" * 20)])
    parsed = list(srt.parse(as_text(long, ResponseFormat.SRT)))
    assert all(len(line) <= 21 for one in parsed for line in one.content.split("\n"))
    assert "".join(one.content.replace("\n", "") for one in parsed) == "今日は良い天気ですね。" * 20
    assert all(later.start >= earlier.end for earlier, later in itertools.pairwise(parsed))


def test_hours_beyond_two_digits() -> None:
    late = Transcript(segments=[Segment(400_000.0, 400_001.5, "late")])
    assert "111:06:40.000 --> 111:06:41.500" in as_text(late, ResponseFormat.VTT)
    assert next(iter(srt.parse(as_text(late, ResponseFormat.SRT)))).start.total_seconds() == 400_000


@pytest.mark.parametrize("format", list(ResponseFormat))
def test_an_empty_transcript_is_valid_everywhere(format: ResponseFormat) -> None:
    rendered = render(Transcript(), format)
    if isinstance(rendered, dict):
        assert rendered["text"] == ""
    elif format is ResponseFormat.VTT:
        assert len(webvtt.from_buffer(io.StringIO(rendered)).captions) == 0
    else:
        assert rendered == ""


def test_extensions() -> None:
    assert [extension(format) for format in ResponseFormat] == ["json"] * 4 + ["txt", "srt", "vtt", "rttm"]


def test_every_language_of_whisper_has_a_name() -> None:
    assert len(LANGUAGES) == 100
    assert (LANGUAGES["haw"], LANGUAGES["ht"], LANGUAGES["yue"]) == (
        "hawaiian",
        "haitian creole",
        "cantonese",
    )
    assert all(name == name.strip().lower() and name for name in LANGUAGES.values())
