from importlib import resources
from typing import Any

import pytest
import yaml

from fanscribe.contracts.task import TranscribeInput
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import InvalidTask
from fanscribe_handlers.parakeet.wishes import language_of, refuse_impossible

VARIANTS = {
    variant.id: variant
    for family in ("parakeet", "parakeet_onnx")
    for entry in (resources.files(f"fanscribe_handlers.{family}") / "variants").iterdir()
    for variant in [Variant.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))]
}


def asked(**fields: Any) -> TranscribeInput:
    return TranscribeInput(audio="data:,", **fields)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_no_variant_translates(name: str) -> None:
    with pytest.raises(InvalidTask, match=f"field task: {name} does not translate"):
        refuse_impossible(asked(task="translate"), VARIANTS[name])
    assert not VARIANTS[name].capabilities.translate


def test_an_english_model_hears_english_only() -> None:
    variant = VARIANTS["parakeet-tdt-0.6b-v2"]
    refuse_impossible(asked(language="en"), variant)
    with pytest.raises(
        InvalidTask, match=r"field language: parakeet-tdt-0\.6b-v2 does not know 'de', only en"
    ):
        refuse_impossible(asked(language="de"), variant)
    assert language_of(asked(), variant) == "en"


@pytest.mark.parametrize("name", ["parakeet-tdt-0.6b-v3", "parakeet-onnx-tdt-0.6b-v3"])
def test_v3_hears_25_languages_and_does_not_say_which(name: str) -> None:
    variant = VARIANTS[name]
    assert len(set(variant.capabilities.languages)) == 25
    for language in ("mt", "uk", "el"):
        refuse_impossible(asked(language=language), variant)
    for language in ("no", "ja", "yue"):
        with pytest.raises(InvalidTask, match="field language"):
            refuse_impossible(asked(language=language), variant)
    assert language_of(asked(), variant) is None
    assert language_of(asked(language="de"), variant) == "de"
