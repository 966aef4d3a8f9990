"""What is checked before anything is changed: quota, conflicts, and whether images exist."""

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.diff import make_plan
from fanscribe.deploy.image_registry import Found, Reference, image_exists, parse
from fanscribe.deploy.preflight import check, check_images
from fanscribe.deploy.state import Account, Desired, LiveEndpoint

FILE = """
[project]
name = "calls"
[images]
registry = "registry.example/acme"
tag = "1"
[endpoints.asr]
variant = "whisper-base"
workers = { min = 0, max = 4 }
"""


def _desired(tmp_path: Path, text: str = FILE) -> Desired:
    file = tmp_path / "endpoints.toml"
    file.write_text(text)
    return read_desired(file)


def test_a_quota_that_is_too_small_is_refused_before_any_change(tmp_path: Path) -> None:
    wanted = _desired(tmp_path)
    foreign = replace(wanted.endpoints[0].state, env={}, name="somebody else's")
    account = Account((LiveEndpoint("x", foreign),), worker_limit=7)
    with pytest.raises(
        UsageError, match=r"may have 7 workers, but the plan wants 4 workers at most, and other .* 4"
    ):
        check(make_plan(wanted, account), wanted, account)
    roomy = replace(account, worker_limit=8)
    assert check(make_plan(wanted, roomy), wanted, roomy) == []


def test_the_files_own_limit_counts_where_the_platform_tells_none(tmp_path: Path) -> None:
    wanted = _desired(tmp_path, FILE.replace('name = "calls"', 'name = "calls"\nworker_limit = 3'))
    account = Account(())
    with pytest.raises(UsageError, match="may have 3 workers"):
        check(make_plan(wanted, account), wanted, account)
    untold = _desired(tmp_path, FILE.replace("max = 4", "max = 9"))
    (note,) = check(make_plan(untold, account), untold, account)
    assert "project.worker_limit" in note


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("ghcr.io/acme/fanscribe-whisper:1.2", Reference("ghcr.io", "acme/fanscribe-whisper", "1.2")),
        ("localhost:5000/x", Reference("localhost:5000", "x", "latest")),
        ("acme/x@sha256:ab", Reference("registry-1.docker.io", "acme/x", "sha256:ab")),
        ("python:3.12", Reference("registry-1.docker.io", "library/python", "3.12")),
    ],
)
def test_the_parts_of_an_image_reference(image: str, parts: Reference) -> None:
    assert parse(image) == parts


def _registry(status: int, *, token: bool = True) -> httpx2.AsyncClient:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "auth.example":
            assert dict(request.url.params) == {"service": "r", "scope": "repository:acme/x:pull"}
            return httpx2.Response(200, json={"token": "anonymous"} if token else {})
        if request.headers.get("Authorization") != "Bearer anonymous":
            challenge = 'Bearer realm="https://auth.example/token",service="r",scope="repository:acme/x:pull"'
            return httpx2.Response(401, headers={"WWW-Authenticate": challenge})
        assert request.method == "HEAD"
        return httpx2.Response(status)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "found"), [(200, Found.YES), (404, Found.NO), (401, Found.UNKNOWN), (503, Found.UNKNOWN)]
)
async def test_a_registry_is_asked_with_the_token_that_it_gives_to_anybody(status: int, found: Found) -> None:
    assert await image_exists(_registry(status), "registry.example/acme/x:1") is found


async def test_a_registry_that_gives_no_token_or_no_answer_leaves_it_unknown() -> None:
    assert await image_exists(_registry(200, token=False), "registry.example/acme/x:1") is Found.UNKNOWN

    def down(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(down)) as http:
        assert await image_exists(http, "registry.example/acme/x:1") is Found.UNKNOWN


async def test_a_missing_image_stops_the_deployment_and_an_untold_one_is_noted(tmp_path: Path) -> None:
    plan = make_plan(_desired(tmp_path), Account(()))

    def http(status: int) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(status)))

    with pytest.raises(
        UsageError, match=r"image registry\.example/acme/fanscribe-whisper:1: its registry has no such"
    ):
        await check_images(plan, http(404))
    assert await check_images(plan, http(200)) == []
    (note,) = await check_images(plan, http(403))
    assert "does not tell whether it exists" in note
    unchanged = make_plan(
        _desired(tmp_path), Account((LiveEndpoint("x", _desired(tmp_path).endpoints[0].state),))
    )
    assert await check_images(unchanged, http(404)) == []
