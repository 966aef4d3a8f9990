"""docs/troubleshooting.md and docs/models.md keep up with the code that they explain."""

import re
from pathlib import Path

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import ErrorCode
from fanscribe_handlers.models import MODEL_STORE, MODEL_STORE_VARIABLE, TOKEN_VARIABLES

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
MODELS = (DOCS / "models.md").read_text(encoding="utf-8")


def test_every_error_code_has_a_section_and_no_other_has() -> None:
    part = PAGE.split("## By error code")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", part, re.MULTILINE) == [code.value for code in ErrorCode]


def test_every_section_says_something() -> None:
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        _, _, text = section.partition("\n")
        assert len(text.strip()) > 60


def test_the_places_and_variables_are_those_of_the_code() -> None:
    for name in (str(MODEL_STORE), MODEL_STORE_VARIABLE, "FANSCRIBE_MODEL_DIR", *TOKEN_VARIABLES):
        assert name in MODELS
    assert all(name in PAGE for name in TOKEN_VARIABLES)


def test_variants_that_are_named_exist() -> None:
    known = set(load_catalogue().variants)
    named = set(re.findall(r"`(whisper-[a-z0-9.-]+)`", PAGE + MODELS))
    assert named
    assert named <= known


def test_links_lead_somewhere() -> None:
    for file in ("troubleshooting.md", "models.md", "endpoints.md", "adding-an-engine.md"):
        text = (DOCS / file).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (DOCS / target).exists(), f"{file} links to {target}"
