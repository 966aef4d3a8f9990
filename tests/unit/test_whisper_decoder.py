from fanscribe_handlers.whisper.decoder import _loops

TWO_CITIES = "It was the best of times. It was the worst of times. It was the age of wisdom. " * 3


def test_a_loop_is_repetitive_and_longer_than_anybody_speaks() -> None:
    assert _loops("and then we go, " * 60, tokens=300, duration_s=10)


def test_speech_that_repeats_itself_on_purpose_is_no_loop() -> None:
    assert not _loops(TWO_CITIES, tokens=80, duration_s=25)


def test_fast_speech_that_does_not_repeat_itself_is_no_loop() -> None:
    assert not _loops("Seventeen odd wizards juggle my five quick boxes.", tokens=60, duration_s=2)


def test_nothing_is_no_loop() -> None:
    assert not _loops("", tokens=0, duration_s=0)
