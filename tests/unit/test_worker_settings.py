import json
from importlib import resources

import pytest
import yaml

from fanscribe.fetch.policy import DEFAULT_MAX_BYTES
from fanscribe.worker_environment import SettingsError
from fanscribe_handlers.settings import Settings

BASE = {"FANSCRIBE_VARIANT": "whisper-base"}


def test_defaults() -> None:
    settings = Settings.from_env(BASE, "whisper")
    assert settings.variant.id == "whisper-base"
    assert settings.model_dir is None
    assert settings.threads >= 1
    assert settings.jobs_held == 1
    assert settings.allowed_origins == ()
    assert settings.max_audio_s == settings.variant.capabilities.max_audio_s
    assert settings.max_bytes == DEFAULT_MAX_BYTES


def test_every_variable_counts() -> None:
    settings = Settings.from_env(
        BASE
        | {
            "FANSCRIBE_MODEL_DIR": "/models/base",
            "FANSCRIBE_THREADS": "3",
            "FANSCRIBE_PREFETCH": "1",
            "FANSCRIBE_ALLOWED_ORIGINS": "http://127.0.0.1:9000, https://a.example",
            "FANSCRIBE_MAX_AUDIO_S": "60",
            "FANSCRIBE_MAX_BYTES": "1000",
        },
        "whisper",
    )
    assert str(settings.model_dir) == "/models/base"
    assert (settings.threads, settings.jobs_held) == (3, 2)
    assert settings.allowed_origins == ("http://127.0.0.1:9000", "https://a.example")
    assert (settings.max_audio_s, settings.max_bytes) == (60, 1000)


def test_a_variant_of_the_users_own() -> None:
    own = yaml.safe_load(
        (resources.files("fanscribe_handlers.whisper") / "variants" / "whisper-base.yaml").read_text()
    )
    own["id"] = "mine"
    settings = Settings.from_env({"FANSCRIBE_VARIANT_JSON": json.dumps(own)}, "whisper")
    assert settings.variant.id == "mine"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "FANSCRIBE_VARIANT is ''.*whisper-base"),
        ({"FANSCRIBE_VARIANT": "../whisper-base"}, "set it to one of"),
        ({"FANSCRIBE_VARIANT_JSON": "{"}, "FANSCRIBE_VARIANT_JSON"),
        ({"FANSCRIBE_VARIANT_JSON": '{"id": "x"}'}, "schema_version"),
        (BASE | {"FANSCRIBE_THREADS": "many"}, "FANSCRIBE_THREADS is 'many'"),
        (BASE | {"FANSCRIBE_THREADS": "0"}, "1 or more"),
        (BASE | {"FANSCRIBE_MAX_AUDIO_S": "nan"}, "FANSCRIBE_MAX_AUDIO_S"),
        (BASE | {"FANSCRIBE_PREFETCH": "perhaps"}, "FANSCRIBE_PREFETCH"),
    ],
)
def test_a_wrong_environment_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(environ, "whisper")


def test_a_variant_of_another_family_is_refused() -> None:
    own = yaml.safe_load(
        (resources.files("fanscribe_handlers.whisper") / "variants" / "whisper-base.yaml").read_text()
    )
    own["family"] = "parakeet"
    with pytest.raises(SettingsError, match="belongs to the family parakeet"):
        Settings.from_env({"FANSCRIBE_VARIANT_JSON": json.dumps(own)}, "whisper")


def test_every_variant_file_reads_and_is_named_by_its_id() -> None:
    for file in (resources.files("fanscribe_handlers.whisper") / "variants").iterdir():
        name = file.name.removesuffix(".yaml")
        assert Settings.from_env({"FANSCRIBE_VARIANT": name}, "whisper").variant.id == name
