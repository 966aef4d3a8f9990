"""docs/local-platform.md says what is emulated and by which test it is shown: those tests exist."""

import ast
import re
from pathlib import Path

from fanscribe.local.faults import KINDS
from fanscribe.local.spec import EndpointSpec

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "local-platform.md").read_text(encoding="utf-8")


def test_every_claim_names_a_test_that_exists() -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 40
    for path, name in named:
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, (
            f"{path}::{name}"
        )


def test_every_row_of_what_is_emulated_names_a_test() -> None:
    part = TEXT.split("## What is emulated")[1].split("## What is not")[0]
    rows = [
        line for line in part.splitlines() if line.startswith("|") and not line.startswith(("|---", "| what"))
    ]
    assert rows
    assert [row for row in rows if "::test_" not in row] == []


def test_fields_and_faults_are_those_there_are() -> None:
    fields = set(EndpointSpec.__dataclass_fields__) - {"name", "labels"}
    assert {name for name in fields if f"`{name}`" not in TEXT} == set()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in TEXT] == []
