"""What an orchestrator learns from its environment."""

import json
from typing import Any

import pytest

from fanscribe.worker_environment import SettingsError
from fanscribe_orchestrator.settings import Settings

ENTRY: dict[str, Any] = {
    "name": "whisper",
    "id": "abc123",
    "variant": "whisper-base",
    "workers": {"min": 1, "max": 3},
    "gpus": ["ADA_24"],
    "idle_timeout_s": 30,
    "execution_timeout_s": 900,
    "prefetch": True,
    "added_by_a_later_version": 1,
}


def environment(*entries: dict[str, Any], **more: str) -> dict[str, str]:
    return {"RUNPOD_API_KEY": "rpa_key", "FANSCRIBE_DEPLOYMENT": json.dumps(list(entries))} | more


def test_the_deployment() -> None:
    settings = Settings.from_env(environment(ENTRY))
    (endpoint,) = settings.catalogue.endpoints
    assert (endpoint.name, endpoint.id, endpoint.variant.id) == ("whisper", "abc123", "whisper-base")
    assert (endpoint.workers.min, endpoint.workers.max, endpoint.gpus) == (1, 3, ("ADA_24",))
    assert (endpoint.idle_timeout_s, endpoint.execution_timeout_s, endpoint.prefetch) == (30, 900.0, True)
    assert settings.catalogue.variant("turbo").id == "whisper-large-v3-turbo"  # aliases stay
    assert (settings.base_url, settings.local) == ("https://api.runpod.ai/v2", False)
    assert settings.jobs_held > 1


def test_a_variant_of_the_users() -> None:
    known = Settings.from_env(environment(ENTRY)).catalogue.variants["whisper-base"]
    own = known.model_copy(update={"id": "whisper-mine", "aliases": []}).model_dump_json(
        exclude_defaults=True
    )
    settings = Settings.from_env(environment(ENTRY | {"variant": "whisper-mine", "variant_json": own}))
    assert settings.catalogue.variant("whisper-mine") == settings.catalogue.endpoints[0].variant


def test_a_local_platform_is_known_by_its_origin() -> None:
    url = {"RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:8000/v2/"}
    origins = "https://files.example.org, http://127.0.0.1:8000"
    settings = Settings.from_env(environment(ENTRY, FANSCRIBE_ALLOWED_ORIGINS=origins, **url))
    assert settings.local
    assert settings.base_url == "http://127.0.0.1:8000/v2"
    assert settings.allowed_origins == ("https://files.example.org", "http://127.0.0.1:8000")
    assert not Settings.from_env(environment(ENTRY, **url)).local


def test_limits() -> None:
    given = {
        "FANSCRIBE_CONCURRENCY": "7",
        "FANSCRIBE_DECODES": "2",
        "FANSCRIBE_MAX_BYTES": "1000",
        "FANSCRIBE_MAX_AUDIO_S": "60.5",
        "FANSCRIBE_EXECUTION_TIMEOUT_S": "3600",
    }
    settings = Settings.from_env(environment(ENTRY, **given))
    assert (settings.jobs_held, settings.decodes, settings.max_bytes) == (7, 2, 1000)
    assert (settings.max_audio_s, settings.execution_timeout_s) == (60.5, 3600.0)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (environment(ENTRY, RUNPOD_API_KEY=" "), "RUNPOD_API_KEY is not set"),
        ({"RUNPOD_API_KEY": "k"}, "FANSCRIBE_DEPLOYMENT does not list the endpoints (it is not JSON)"),
        ({"RUNPOD_API_KEY": "k", "FANSCRIBE_DEPLOYMENT": "[{}]"}, "(0.name: Field required)"),
        (environment(ENTRY | {"variant": "whisper-giant"}), "unknown variant 'whisper-giant'"),
        (
            environment(ENTRY | {"variant_json": "{}"}),
            "the endpoint whisper has a variant that cannot be read",
        ),
        (environment(ENTRY, FANSCRIBE_CONCURRENCY="many"), "FANSCRIBE_CONCURRENCY is 'many'"),
        (environment(ENTRY, FANSCRIBE_CONCURRENCY="0"), "FANSCRIBE_CONCURRENCY is '0'"),
        (environment(ENTRY, FANSCRIBE_DECODES="nan"), "FANSCRIBE_DECODES is 'nan'"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    assert said in str(caught.value)
    assert "rpa_key" not in str(caught.value)
