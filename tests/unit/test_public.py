"""The public surface: exact, and cheap to import."""

import subprocess
import sys

import pytest

import fanscribe

HEAVY = (
    "torch",
    "runpod",
    "boto3",
    "av",
    "numpy",
    "httpx2",
    "pydantic",
    "typer",
    "starlette",
    "uvicorn",
    "rich",
)


def test_every_public_name_is_there() -> None:
    for name in fanscribe.__all__:
        assert getattr(fanscribe, name).__name__ == name


def test_the_list_and_the_homes_agree() -> None:
    assert sorted(fanscribe._HOMES) == sorted(fanscribe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fanscribe.nothing


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import fanscribe", HEAVY),
        ("from fanscribe import Client", ("torch", "runpod", "boto3", "starlette", "uvicorn", "typer")),
        ("import fanscribe.cli", ("torch", "runpod", "boto3", "av", "numpy", "httpx2", "pydantic")),
        ("import fanscribe.local.process", ("starlette", "uvicorn", "fanscribe.contracts", "pydantic")),
    ],
)
def test_imports_stay_light(statement: str, forbidden: tuple[str, ...]) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
