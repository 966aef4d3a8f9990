from fanscribe_handlers.whisper.decoder import HeardWord, _loops, possible

TWO_CITIES = "It was the best of times. It was the worst of times. It was the age of wisdom. " * 3


def test_a_loop_is_repetitive_and_longer_than_anybody_speaks() -> None:
    assert _loops("and then we go, " * 60, tokens=300, duration_s=10)


def test_speech_that_repeats_itself_on_purpose_is_no_loop() -> None:
    assert not _loops(TWO_CITIES, tokens=80, duration_s=25)


def test_fast_speech_that_does_not_repeat_itself_is_no_loop() -> None:
    assert not _loops("Seventeen odd wizards juggle my five quick boxes.", tokens=60, duration_s=2)


def test_nothing_is_no_loop() -> None:
    assert not _loops("", tokens=0, duration_s=0)


def _words(*spans: tuple[float, float]) -> list[HeardWord]:
    return [HeardWord(f" w{number}", start, end, 0.9) for number, (start, end) in enumerate(spans)]


def test_sentences_for_which_no_sound_was_left_were_not_said() -> None:
    said = _words((0.0, 0.4), (0.4, 0.9))
    crowd = _words(*[(0.9, 0.9)] * 9)
    later = _words((1.2, 1.5))
    assert possible(said + crowd + later) == said + later
    assert possible(said + crowd) == said


def test_quick_speech_and_a_few_words_without_length_stay() -> None:
    quick = _words(*[(0.1 * number, 0.1 * number + 0.1) for number in range(20)])
    few = _words((3.0, 3.0), (3.0, 3.0), (3.0, 3.0))
    assert possible(quick + few) == quick + few
    assert possible([]) == []
