import re
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from tools import make_conversation
from tools.conversation import SAMPLE_RATE, Line, Samples, mix, parse_script, place, rttm, speech_spans, stm
from tools.dialogue import EXCHANGES, SLOTS, Dialogue, sentences
from tools.score import read_rttm, read_stm
from tools.voices import VOICES, Voice

from fanscribe.media import decode

ROOT = Path(__file__).resolve().parent.parent.parent


def tone(*spans: tuple[float, float], length_s: float) -> Samples:
    """Sound in the spans (seconds), silence elsewhere."""
    time = np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 0.5 * np.sin(2 * np.pi * 220 * time)
    audible = np.any([(time >= a) & (time < b) for a, b in spans], axis=0)
    return np.asarray(sound * audible, dtype=np.float32)


def test_the_dialogue_of_an_hour_says_nothing_twice() -> None:
    lines = list(islice(Dialogue(["ines", "tom"], 3), 1200))
    said = [sentence for line in lines for sentence in sentences(line.text)]
    assert len(lines) == 1200
    assert len(said) == len(set(said))


def test_the_dialogue_is_the_same_for_the_same_seed() -> None:
    first, again, other = (list(islice(Dialogue(["a", "b"], seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]])
def test_speakers_take_turns_and_all_speak(names: list[str]) -> None:
    speakers = [line.speaker for line in islice(Dialogue(names, 5), 100)]
    assert all(now != following for now, following in pairwise(speakers))
    assert set(speakers) == set(names)


def test_every_line_is_filled_and_reads_as_a_sentence() -> None:
    for line in islice(Dialogue(["a", "b"], 7), 600):
        assert "{" not in line.text
        assert line.text[0].isupper()
        assert line.text[-1] in ".?!"
        assert not re.search(r"\b[Aa] [aeiou]", line.text)


def test_every_slot_of_the_patterns_has_words() -> None:
    used = {
        slot.split("}")[0].rstrip("2")
        for pattern in EXCHANGES
        for line in pattern
        for slot in line.split("{")[1:]
    }
    assert used == set(SLOTS)


def test_script_lines() -> None:
    lines = parse_script("# made up\n\nines 0.0 Good morning.\ntom -0.25 Morning, Ines.\n")
    assert lines == [Line("ines", "Good morning.", 0.0), Line("tom", "Morning, Ines.", -0.25)]


def test_a_broken_script_line_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_script("ines 0.0 Good morning.\ntom soon Morning.\n")


def test_speech_is_split_at_long_pauses_only() -> None:
    spans = speech_spans(tone((0.0, 1.0), (1.2, 2.0), (3.0, 4.0), length_s=4.0))
    assert spans == [pytest.approx((0.0, 2.0), abs=0.011), pytest.approx((3.0, 4.0), abs=0.011)]


def test_lines_follow_each_other_with_their_gaps() -> None:
    lines = [Line("a", "One."), Line("b", "Two.", 0.4), Line("a", "Three.", -0.3)]
    placed = place(lines, [tone((0, 2), length_s=2.0)] * 3, lead_in_s=1.0)
    assert [(p.start, p.end) for p in placed] == [(1.0, 3.0), (3.4, 5.4), (5.1, 7.1)]


def test_nobody_overlaps_with_themselves_or_cuts_in_at_once() -> None:
    lines = [Line("a", "One."), Line("b", "Two.", -5.0), Line("a", "Three.", -5.0)]
    placed = place(lines, [tone((0, 2), length_s=2.0)] * 3, lead_in_s=0.0)
    assert [p.start for p in placed] == [0.0, 0.2, 2.0]


def test_turns_and_text_are_written_and_read_back(tmp_path: Path) -> None:
    lines = [Line("a", "One lamp, please."), Line("b", "Two chairs.", -0.3)]
    placed = place(lines, [tone((0, 1), (2, 3), length_s=3.0), tone((0, 2), length_s=2.0)], lead_in_s=0.5)
    (tmp_path / "x.stm").write_text(stm("x", placed))
    (tmp_path / "x.rttm").write_text(rttm("x", placed))
    assert read_stm(tmp_path / "x.stm") == [("a", "One lamp, please."), ("b", "Two chairs.")]
    assert read_rttm(tmp_path / "x.rttm") == [
        (0.5, 1.5, "a"),
        (2.5, 3.5, "a"),
        (3.2, 5.2, "b"),
    ]


def test_the_mix_is_the_same_for_the_same_seed_and_has_sound_where_the_turns_are() -> None:
    spoken = [tone((0, 1), length_s=1.0), tone((0, 1), length_s=1.0)]
    placed = place([Line("a", "One."), Line("b", "Two.", 1.0)], spoken)
    first, again = (mix(placed, spoken, np.random.default_rng(4), noise_db=-64.0) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first).max() == pytest.approx(0.5)
    for at in (p.start for p in placed):
        heard = first[round((at + 0.1) * SAMPLE_RATE) : round((at + 0.9) * SAMPLE_RATE)]
        assert np.sqrt((heard**2).mean()) > 0.05
    pause = first[round((placed[0].end + 0.3) * SAMPLE_RATE) : round((placed[1].start - 0.1) * SAMPLE_RATE)]
    assert 0 < np.sqrt((pause**2).mean()) < 0.005


class Hum:
    """Speaks in tones whose pitch tells the voice and whose length tells the text."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def speak(self, voice: Voice, text: str) -> Samples:
        return tone((0.0, 0.06 * len(text)), length_s=0.06 * len(text)) * np.float32(voice.pitch)


def test_the_tool_writes_three_files_of_the_length_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_conversation, "Voices", Hum)
    arguments = ["--minutes", "0.5", "--seed", "9", "--out", str(tmp_path), "--cache", str(tmp_path / "kept")]
    make_conversation.main([*arguments, "--voices", "may,tom,olga"])
    decoded = decode(tmp_path / "conversation-9.flac", "conversation-9.flac")
    turns = read_rttm(tmp_path / "conversation-9.rttm")
    assert 28 < decoded.duration_s < 45
    assert max(end for _, end, _ in turns) < decoded.duration_s
    assert {speaker for _, _, speaker in turns} == {"may", "tom", "olga"} <= set(VOICES)
    assert len(read_stm(tmp_path / "conversation-9.stm")) > 5


@pytest.mark.parametrize("voices", ["ines", "ines,ines", "ines,nobody", "ines,tom,olga,victor,may"])
def test_wrong_voices_are_refused(voices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_conversation.main(["--voices", voices, "--out", str(tmp_path), "--cache", str(tmp_path)])
    assert "--voices takes 2 to 4" in capsys.readouterr().err


def test_the_sample_agrees_with_its_script() -> None:
    folder = ROOT / "docs" / "samples"
    script = parse_script((folder / "conversation.txt").read_text(encoding="utf-8"))
    assert read_stm(folder / "conversation.stm") == [(line.speaker, line.text) for line in script]
    decoded = decode(folder / "conversation.flac", "conversation.flac")
    turns = read_rttm(folder / "conversation.rttm")
    assert 55 < decoded.duration_s < 70
    assert 0 < turns[0][0] < turns[-1][1] < decoded.duration_s
