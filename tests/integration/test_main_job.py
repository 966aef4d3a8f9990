"""The main job with real engines on real speech: quality, forms of input, and what must not go wrong."""

import re
from pathlib import Path

import jiwer
import pytest
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate
from whisper_normalizer.english import EnglishTextNormalizer

from fanscribe import Client, Event, Transcript

pytestmark = [pytest.mark.engine, pytest.mark.speech, pytest.mark.timeout(600)]

NORMALISE = EnglishTextNormalizer()

JFK = (
    "And so my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country."
)
LEFT = "He began a confused complaint against the wizard, who had vanished behind the curtain on the left."
RIGHT = "The horizon seems extremely distant."


def _two_cities(speech_dir: Path) -> str:
    text = (speech_dir / "README.md").read_text()
    found = re.search(r"^two_cities\.flac: (.+)$", text, re.MULTILINE)
    assert found
    return found.group(1)


def _said(transcript: Transcript, speaker: str) -> str:
    return " ".join(each.text for each in transcript.segments if each.speaker == speaker)


@pytest.fixture(scope="module")
def call(client: Client, speech_dir: Path) -> Transcript:
    return client.transcribe(speech_dir / "pyannote_sample.wav", diarize=True, language="en")


def test_clean_speech_is_recognised(client: Client, speech_dir: Path) -> None:
    channels = client.transcribe(speech_dir / "stereo_diarization.wav", per_channel=True)
    assert channels.speakers == ["CHANNEL_0", "CHANNEL_1"]
    pairs = [
        (JFK, client.transcribe(speech_dir / "jfk.flac").text),
        (_two_cities(speech_dir), client.transcribe(speech_dir / "two_cities.flac").text),
        (LEFT, _said(channels, "CHANNEL_0")),
        (RIGHT, _said(channels, "CHANNEL_1")),
    ]
    references, hypotheses = zip(*[(NORMALISE(said), NORMALISE(heard)) for said, heard in pairs], strict=True)
    assert jiwer.wer(list(references), list(hypotheses)) <= 0.025


def test_the_call_has_its_two_speakers(call: Transcript, speech_dir: Path) -> None:
    reference, hypothesis = Annotation(), Annotation()
    for line in (speech_dir / "pyannote_sample.rttm").read_text().splitlines():
        _, _, _, start, length, _, _, speaker, *_ = line.split()
        span = Segment(float(start), float(start) + float(length))
        reference[span, f"{start}-{speaker}"] = speaker
    for number, turn in enumerate(call.turns):
        hypothesis[Segment(turn.start, turn.end), number] = turn.speaker
    assert call.speakers == ["SPEAKER_00", "SPEAKER_01"]
    assert DiarizationErrorRate()(reference, hypothesis, uem=Timeline([Segment(0, 30)])) <= 0.06


def test_the_words_of_the_call_go_to_the_right_speaker(call: Transcript, speech_dir: Path) -> None:
    import meeteval

    lines: dict[str, list[str]] = {}
    for line in (speech_dir / "pyannote_sample.stm").read_text().splitlines():
        _, _, speaker, _, _, text = line.split(maxsplit=5)
        lines.setdefault(speaker, []).append(text)
    reference = {speaker: NORMALISE(" ".join(texts)) for speaker, texts in lines.items()}
    hypothesis = {speaker: NORMALISE(_said(call, speaker)) for speaker in call.speakers}
    score = meeteval.wer.cp_word_error_rate(reference, hypothesis)
    assert score.error_rate <= 0.19


def test_the_transcript_is_complete(call: Transcript) -> None:
    assert call.language == "en"
    assert call.duration == pytest.approx(30.0, abs=0.05)
    assert not call.gaps
    assert {task.stage for task in call.tasks} == {"transcribe", "diarize"}
    assert all(task.timings["inference"] > 0 and task.worker_id and task.job_id for task in call.tasks)
    words = call.words
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert all(0 <= word.start <= word.end <= call.duration for word in words)
    assert all(word.speaker and word.confidence is not None for word in words)


def test_a_language_is_detected_and_the_english_half_is_right(client: Client, speech_dir: Path) -> None:
    transcript = client.transcribe(speech_dir / "multilingual.mp3")
    assert transcript.language == "en"
    start = NORMALISE(
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and "
        "associated documentation files"
    )
    assert start in NORMALISE(transcript.text)


def test_keyterms_help(client: Client, speech_dir: Path) -> None:
    transcript = client.transcribe(speech_dir / "hotwords.mp3", keyterms=["ComfyUI"], language="en")
    assert "ComfyUI" in transcript.text


def test_two_calls_at_once_give_both_answers_and_progress(client: Client, speech_dir: Path) -> None:
    first = client.submit(speech_dir / "jfk.flac")
    second = client.submit((speech_dir / "stereo_diarization.wav").read_bytes(), per_channel=True)
    events: list[Event] = list(first.progress())
    assert [event.state for event in events if event.task == "prepare"][-1] == "done"
    assert events[-1].state == "done"
    assert jiwer.wer(NORMALISE(JFK), NORMALISE(first.result().text)) == 0
    assert len(second.result().speakers) == 2


def test_word_times_can_be_left_out(client: Client, speech_dir: Path) -> None:
    transcript = client.transcribe(speech_dir / "jfk.flac", timestamps="segment")
    assert transcript.words == []
    assert transcript.segments[-1].end > 9


def test_an_aligner_times_the_words_where_it_is_asked_to(client: Client, speech_dir: Path) -> None:
    plain = client.transcribe(speech_dir / "jfk.flac", language="en")
    aligned = client.transcribe(speech_dir / "jfk.flac", language="en", align="always")
    assert [word.text for word in aligned.words] == [word.text for word in plain.words]
    assert {task.stage for task in aligned.tasks} == {"transcribe", "align"}
    assert aligned.warnings == []
    what = next(word for word in aligned.words if word.text == "what")
    # By ear: "what" begins at 5.37 s, after a pause in which the recogniser likes to begin it.
    assert abs(what.start - 5.37) < 0.1
    assert not any(word.start > word.end for word in aligned.words)
