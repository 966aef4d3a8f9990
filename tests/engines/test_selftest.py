"""The worker of the family whose environment this is, started by hand: it answers, or says that weights are missing.

`make test-engines` names the family in FANSCRIBE_FAMILY; see tools/engine_tests.py.
"""

import os
from pathlib import Path

import pytest

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import ErrorCode
from fanscribe.contracts.variant import Variant
from fanscribe.engines.selftest import self_test

WITH_WEIGHTS = {"whisper-base", "diarize-onnx", "align-pocketsphinx-en", "whisper-base-diarized"}
"""Variants whose weights come in packages; those of the others are on the hub, which tests do not ask."""

FAMILY = os.environ.get("FANSCRIBE_FAMILY", "")
VARIANTS = [each for each in load_catalogue().variants.values() if each.family == FAMILY]

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.mark.skipif(not VARIANTS, reason="FANSCRIBE_FAMILY names no family: run make test-engines")
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
def test_the_worker_starts_and_answers(variant: Variant, tmp_path: Path) -> None:
    elsewhere = {"HF_HOME": str(tmp_path), "FANSCRIBE_MODEL_STORE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    told = self_test(variant, {**os.environ, **elsewhere}, timeout_s=240)
    if variant.id in WITH_WEIGHTS:
        assert told.passed, told.said
    else:
        assert told.code is ErrorCode.MODEL_MISSING, told.said
        assert "hub download" in told.said


@pytest.mark.skipif(not VARIANTS, reason="FANSCRIBE_FAMILY names no family: run make test-engines")
def test_it_runs_the_installed_package_and_not_the_checkout() -> None:
    import fanscribe_handlers

    assert "site-packages" in str(fanscribe_handlers.__file__)
