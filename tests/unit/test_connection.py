"""Which platform is chosen, and what is said when it cannot be."""

from pathlib import Path

import pytest

from fanscribe.catalogue import DeployedEndpoint, load_catalogue
from fanscribe.connection import PlatformChoice, connect, runpod_key
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.endpoint import RUNPOD_URL

ENDPOINTS = """
[project]
name = "mine"
[endpoints.asr]
variant = "whisper-base"
id = "abc123"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_auto_is_runpod_with_a_key_and_named_endpoints(here: Path) -> None:
    (here / "endpoints.toml").write_text(ENDPOINTS)
    connection = await connect(PlatformChoice.AUTO, environment={"RUNPOD_API_KEY": "k", "HOME": str(here)})
    assert (connection.name, connection.platform.base_url) == ("runpod", RUNPOD_URL)
    assert connection.local is None
    assert [each.id for each in connection.catalogue.endpoints] == ["abc123"]
    await connection.close()


@pytest.mark.parametrize(
    ("environment", "text", "said"),
    [
        ({}, ENDPOINTS, "there is no API key; set RUNPOD_API_KEY"),
        ({"RUNPOD_API_KEY": "k"}, None, "there is no endpoints.toml here"),
    ],
)
async def test_runpod_says_what_it_lacks(
    here: Path, environment: dict[str, str], text: str | None, said: str
) -> None:
    if text:
        (here / "endpoints.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        await connect(PlatformChoice.RUNPOD, environment={**environment, "HOME": str(here)})


async def _find(*deployed: DeployedEndpoint) -> tuple[DeployedEndpoint, ...]:
    return deployed


@pytest.fixture
def unnamed(here: Path) -> dict[str, str]:
    """A file that names no ids, and the environment of somebody with a key."""
    (here / "endpoints.toml").write_text(ENDPOINTS.replace('id = "abc123"', ""))
    return {"RUNPOD_API_KEY": "k", "HOME": str(here)}


async def test_runpod_finds_the_ids_of_what_was_deployed(
    unnamed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = load_catalogue().variants["whisper-base"]
    found = DeployedEndpoint("asr", "made-by-deploy", whisper)
    monkeypatch.setattr("fanscribe.connection.deployed_endpoints", lambda *_: _find(found))
    for choice in (PlatformChoice.RUNPOD, PlatformChoice.AUTO):
        connection = await connect(choice, environment=unnamed)
        assert connection.name == "runpod"
        assert [each.id for each in connection.catalogue.endpoints] == ["made-by-deploy"]
        await connection.close()


async def test_runpod_says_what_is_not_deployed(
    unnamed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanscribe.connection.deployed_endpoints", lambda *_: _find())
    with pytest.raises(CatalogueError, match=r"endpoints\.asr is not deployed: run fanscribe deploy"):
        await connect(PlatformChoice.RUNPOD, environment=unnamed)


async def test_faults_in_the_file_are_reported_rather_than_passed_over(here: Path) -> None:
    (here / "endpoints.toml").write_text("[endpoints")
    with pytest.raises(CatalogueError, match="not valid TOML"):
        await connect(PlatformChoice.AUTO, environment={"RUNPOD_API_KEY": "k", "HOME": str(here)})


def test_the_key_of_the_platforms_own_config_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod" / "config.toml").write_text('[default]\napi_key = "from-file"\n')
    assert runpod_key({"HOME": str(tmp_path)}) == "from-file"
    assert runpod_key({"HOME": str(tmp_path), "RUNPOD_API_KEY": "from-env"}) == "from-env"
    assert runpod_key({"HOME": str(tmp_path / "elsewhere")}) is None


async def test_a_file_is_not_silently_ignored_where_a_platform_is_up(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Up:
        url = "http://127.0.0.1:1"
        key = "k"

        def status(self) -> dict[str, list[dict[str, str]]]:
            return {"endpoints": []}

    monkeypatch.setattr("fanscribe.local.process.find", Up)
    monkeypatch.setattr("fanscribe.connection.deployed_endpoints", lambda *_: _find())
    (here / "mine.toml").write_text(ENDPOINTS)
    with pytest.raises(
        UsageError, match=r"mine\.toml: a local platform is up already at http://127\.0\.0\.1:1"
    ):
        await connect(
            PlatformChoice.LOCAL, endpoints_file=here / "mine.toml", environment={"HOME": str(here)}
        )


@pytest.mark.parametrize("key", ["rpa_sécret", "rpa\nsecret"])
async def test_a_key_that_cannot_be_is_refused_without_showing_it(here: Path, key: str) -> None:
    with pytest.raises(UsageError, match="RUNPOD_API_KEY") as caught:
        await connect(PlatformChoice.RUNPOD, environment={"RUNPOD_API_KEY": key, "HOME": str(here)})
    assert "rpa" not in str(caught.value)


OF_TWO_PROFILES = """
[project]
name = "p"
profile = "small"
[endpoints.asr]
variant = "whisper-base"
[endpoints.diarize]
variant = "diarize-onnx"
[profiles.small]
endpoints = ["asr"]
[profiles.other]
endpoints = ["diarize"]
"""


async def test_a_platform_elsewhere_is_used_and_never_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers; that it was started with another profile of the file does not matter."""
    up = {"name": "diarize", "labels": {"variant": "diarize-onnx"}, "min_workers": 1, "max_workers": 3}
    monkeypatch.setattr("fanscribe.local.process.find", lambda: pytest.fail("the variable goes before"))
    monkeypatch.setattr(
        "fanscribe.local.process.RunningPlatform.status", lambda self, timeout_s=5.0: {"endpoints": [up]}
    )
    monkeypatch.setattr("fanscribe.connection.deployed_endpoints", lambda *_: _find())
    (here / "mine.toml").write_text(OF_TWO_PROFILES)
    environment = {
        "HOME": str(here),
        "FANSCRIBE_LOCAL_URL": "http://127.0.0.1:8008/",
        "FANSCRIBE_LOCAL_KEY": "the-key",
    }
    for file in (here / "mine.toml", None):
        connection = await connect(PlatformChoice.LOCAL, endpoints_file=file, environment=environment)
        (endpoint,) = connection.catalogue.endpoints
        assert (endpoint.id, endpoint.workers.min, endpoint.workers.max) == ("diarize", 1, 3)
        assert (connection.platform.base_url, connection.platform.api_key) == (
            "http://127.0.0.1:8008/v2",
            "the-key",
        )
        assert connection.local is None
        await connection.close()
