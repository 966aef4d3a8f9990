"""Which orchestrator is called, and what is said when there is none."""

from pathlib import Path
from typing import Any

import pytest

from fanscribe import AsyncClient
from fanscribe.connection import PlatformChoice
from fanscribe.contracts.errors import AudioError, CatalogueError, UsageError
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import EndpointState, LiveEndpoint
from fanscribe.endpoint import RUNPOD_URL
from fanscribe.remote_connection import ANY, connect_remote

FILE = """
[project]
name = "mine"
[endpoints.asr]
variant = "whisper-base"
[orchestrator]
name = "front"
"""
AUTO, LOCAL, RUNPOD = PlatformChoice.AUTO, PlatformChoice.LOCAL, PlatformChoice.RUNPOD


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keyed(here: Path) -> dict[str, str]:
    return {"RUNPOD_API_KEY": "k", "HOME": str(here)}


def deployed(monkeypatch: pytest.MonkeyPatch, found: str | None) -> list[str]:
    """The account has this orchestrator; gives the projects that it was asked about."""
    asked: list[str] = []
    state = EndpointState("mine-front", "cpu", "image", {}, 0, 1, 60, 600.0, "", "on", 20)

    async def answer(management: Management, project: str) -> LiveEndpoint | None:
        asked.append(f"{management.platform} {project}")
        return LiveEndpoint(found, state) if found else None

    monkeypatch.setattr("fanscribe.remote_connection.deployed_orchestrator", answer)
    return asked


def up(monkeypatch: pytest.MonkeyPatch, *endpoints: dict[str, Any]) -> None:
    """A local platform is up with these endpoints."""

    class Up:
        url, key = "http://127.0.0.1:1", "local-key"

        def status(self) -> dict[str, Any]:
            return {"endpoints": list(endpoints)}

    monkeypatch.setattr("fanscribe.local.process.find", Up)


@pytest.mark.parametrize("choice", [AUTO, RUNPOD])
@pytest.mark.parametrize("name", [ANY, "front"])
async def test_the_files_own_id_needs_no_question(
    here: Path, keyed: dict[str, str], choice: PlatformChoice, name: str
) -> None:
    (here / "endpoints.toml").write_text(FILE + 'id = "abc123"\n')
    connection = await connect_remote(choice, name, environment=keyed)
    assert (connection.endpoint_id, connection.platform.base_url) == ("abc123", RUNPOD_URL)
    assert (connection.uploads, connection.local, connection.platform.objects) == (None, None, None)
    await connection.close()


async def test_without_one_the_account_is_asked(
    here: Path, keyed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "endpoints.toml").write_text(FILE)
    asked = deployed(monkeypatch, "made-by-deploy")
    for choice in (AUTO, RUNPOD):
        connection = await connect_remote(choice, ANY, environment=keyed)
        assert connection.endpoint_id == "made-by-deploy"
        await connection.close()
    assert asked == ["runpod mine", "runpod mine"]
    deployed(monkeypatch, None)
    with pytest.raises(UsageError, match="has one that is not deployed: run fanscribe deploy"):
        await connect_remote(RUNPOD, "front", environment=keyed)


@pytest.mark.parametrize("choice", [AUTO, RUNPOD])
async def test_an_id_needs_no_file(here: Path, keyed: dict[str, str], choice: PlatformChoice) -> None:
    environment = {**keyed, "RUNPOD_ENDPOINT_BASE_URL": "https://elsewhere.example/v2"}
    connection = await connect_remote(choice, "xyz789", environment=environment)
    assert (connection.endpoint_id, connection.platform.base_url) == (
        "xyz789",
        "https://elsewhere.example/v2",
    )
    await connection.close()


async def test_the_users_bucket_is_there_on_runpod(
    keyed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    environment = {**keyed, "FANSCRIBE_UPLOADS": "s3://inbox/audio", "AWS_DEFAULT_REGION": "us-east-1"}
    connection = await connect_remote(RUNPOD, "xyz789", environment=environment)
    assert connection.uploads is not None
    await connection.close()
    with pytest.raises(UsageError, match="FANSCRIBE_UPLOADS"):
        await connect_remote(RUNPOD, "xyz789", environment={**keyed, "FANSCRIBE_UPLOADS": "inbox"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"there is no endpoints\.toml here that names one; .* or give the endpoint's id"),
        (FILE.partition("[orchestrator]")[0], r"endpoints\.toml has no \[orchestrator\]; add one"),
    ],
)
async def test_runpod_says_what_it_lacks(
    here: Path, keyed: dict[str, str], text: str | None, said: str
) -> None:
    if text:
        (here / "endpoints.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        await connect_remote(RUNPOD, ANY, environment=keyed)


async def test_what_cannot_be_is_said_before_anything_is_asked(here: Path) -> None:
    with pytest.raises(UsageError, match="there is no API key"):
        await connect_remote(RUNPOD, "xyz789", environment={"HOME": str(here)})
    with pytest.raises(UsageError, match="RUNPOD_API_KEY"):
        await connect_remote(AUTO, "xyz789", environment={"HOME": str(here), "RUNPOD_API_KEY": "a\nb"})
    (here / "endpoints.toml").write_text("[orchestrator")
    with pytest.raises(CatalogueError, match="not valid TOML"):
        await connect_remote(AUTO, ANY, environment={"HOME": str(here), "RUNPOD_API_KEY": "k"})


ORCHESTRATOR = {"name": "front", "labels": {"orchestrator": "1"}}
WORDS = {"name": "asr", "labels": {"variant": "whisper-base"}}


async def test_a_local_platform_that_is_up_is_used(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(monkeypatch, WORDS, ORCHESTRATOR)
    for name in (ANY, "front"):
        connection = await connect_remote(LOCAL, name, environment={"HOME": str(here)})
        assert (connection.endpoint_id, connection.platform.api_key) == ("front", "local-key")
        assert connection.platform.objects is not None
        assert connection.local is None
        await connection.close()
    with pytest.raises(UsageError, match="has none of that name; start it with one: fanscribe local down"):
        await connect_remote(LOCAL, "asr", environment={"HOME": str(here)})


async def test_without_a_key_or_an_orchestrator_on_runpod_auto_is_local(
    here: Path, keyed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    up(monkeypatch, ORCHESTRATOR)
    for environment in ({"HOME": str(here)}, keyed):
        connection = await connect_remote(AUTO, ANY, environment=environment)
        assert connection.platform.name == "local"
        await connection.close()


async def test_one_that_was_deployed_on_the_local_platform_is_found_by_its_mark(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(monkeypatch, {"name": "ab12cd", "labels": {"orchestrator": "1"}})
    asked = deployed(monkeypatch, "ab12cd")
    (here / "mine.toml").write_text(FILE)
    connection = await connect_remote(
        LOCAL, ANY, endpoints_file=here / "mine.toml", environment={"HOME": str(here)}
    )
    assert connection.endpoint_id == "ab12cd"
    assert asked == ["local mine"]
    await connection.close()


async def test_a_platform_that_was_started_for_nothing_is_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    class Started:
        url, key = "http://127.0.0.1:1", "local-key"

        def status(self) -> dict[str, Any]:
            return {"endpoints": [WORDS]}

        def stop(self) -> None:
            log.append("stopped")

    monkeypatch.setattr("fanscribe.local.process.find", lambda: None)
    monkeypatch.setattr("fanscribe.local.process.start", lambda specs: Started())
    (here / "mine.toml").write_text(FILE.partition("[orchestrator]")[0])
    with pytest.raises(UsageError, match=r"mine\.toml has no \[orchestrator\]; add one"):
        await connect_remote(LOCAL, ANY, endpoints_file=here / "mine.toml", environment={"HOME": str(here)})
    assert log == ["stopped"]


async def test_a_file_that_is_not_there_is_told_before_a_platform_is_started(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connected(*_: Any, **__: Any) -> None:
        raise AssertionError("a platform was started for nothing")

    monkeypatch.setattr("fanscribe.client.connect_remote", connected)
    async with AsyncClient(platform="local", orchestrator="orchestrator") as client:
        with pytest.raises(AudioError, match=r"gone\.wav: there is no such file"):
            await client.transcribe(here / "gone.wav")
