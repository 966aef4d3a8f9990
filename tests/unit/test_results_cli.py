"""`fanscribe cache`: what is kept, listed and removed, and nothing of what was said."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fanscribe.cli.cache import app
from fanscribe.cli.exits import Exit
from fanscribe.results.folder import FolderResults


def key(number: int, kind: str = "task") -> str:
    return f"{kind}/{number:064x}"


@pytest.fixture
def place(tmp_path: Path) -> str:
    times = iter((1_000_000_000.0, 1_700_000_000.0))
    store = FolderResults(tmp_path / "kept", clock=lambda: next(times))
    store.put(key(1), {"text": "a secret"})
    store.put(key(2, "cuts"), {"cuts_s": [1.5]})
    return str(tmp_path / "kept")


def run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_the_last_used_first_and_the_sum(place: str) -> None:
    lines = run("list", "--at", place).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["cuts", "task"]
    assert "2023-11-1" in lines[0]
    assert lines[2].startswith(f"{place}: 2 results, ")
    assert "secret" not in "".join(lines)


def test_list_for_machines(place: str) -> None:
    listed = json.loads(run("list", "--json", FANSCRIBE_RESULTS=place))
    assert listed["location"] == place
    assert [each["key"] for each in listed["entries"]] == [key(2, "cuts"), key(1)]
    assert listed["entries"][1]["used_at"] == 1_000_000_000.0
    assert listed["size_bytes"] == sum(each["size_bytes"] for each in listed["entries"])


def test_clear_removes_all(place: str) -> None:
    assert run("clear", "--at", place) == f"{place}: 2 results removed\n"
    assert json.loads(run("clear", "--json", "--at", place)) == {"location": place, "removed": 0}
    assert run("list", "--at", place) == f"{place}: 0 results, 0 B\n"


def test_a_wrong_place_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["list", "--at", "ftp://there"])
    assert result.exit_code == Exit.USAGE
    assert "give a folder or s3://bucket/prefix" in result.stderr
