import pytest

from fanscribe.contracts.variant import Variant
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.whisperx.options import MOST, ON_CPU, Options, options_of, windows_at_once

VARIANT = read_variant({"FANSCRIBE_VARIANT": "whisperx-large-v3"}, "whisperx")


def having(**options: str | int | float | bool) -> Variant:
    return VARIANT.model_copy(update={"options": options})


def test_the_shipped_variant_names_models_that_it_fetches() -> None:
    options = options_of(VARIANT)
    assert options.diarizer is not None
    assert {*options.aligners.values(), options.diarizer} == {part.repo for part in VARIANT.model.also}
    assert list(options.aligners) == VARIANT.capabilities.languages


def test_options_are_read() -> None:
    given = having(align_en="a/b", align_de="c/d", compute_type="int8", beam_size=1, batch_size=2)
    assert options_of(given) == Options({"en": "a/b", "de": "c/d"}, None, "int8", 1, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"beam": 5},
        {"beam_size": 0},
        {"beam_size": True},
        {"batch_size": -1},
        {"batch_size": "4"},
        {"align_en": 1},
        {"diarizer": ""},
    ],
)
def test_a_wrong_option_is_named(options: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match=f"whisperx-large-v3: option {next(iter(options))} is "):
        options_of(having(**options))


def test_windows_fit_into_half_of_the_memory() -> None:
    assert windows_at_once(0) == ON_CPU
    assert windows_at_once(10_000_000) == 1
    assert windows_at_once(10_000_000_000) == 8
    assert windows_at_once(10**12) == MOST
