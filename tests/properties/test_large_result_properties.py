"""Whatever the answer holds: what stands for it fits or is refused, and is read back as it was."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanscribe.contracts.large_result import LargeResult, compressed, encoded
from fanscribe.job_input import Refused
from fanscribe.large_results import read_result
from fanscribe_orchestrator import oversize
from fanscribe_orchestrator.oversize import Outbox

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=15,
)
OUTPUTS = st.fixed_dictionaries(
    {"text": TEXT, "segments": st.lists(VALUES, max_size=5)},
    optional={"language": TEXT, "duration": NUMBERS, "warnings": st.lists(TEXT, max_size=3), "tasks": VALUES},
)


@given(OUTPUTS)
def test_what_is_compressed_is_unpacked_as_it_was(output: dict[str, Any]) -> None:
    result = compressed(encoded(output))
    again = LargeResult.model_validate_json(result.model_dump_json())
    assert read_result({"result": again.model_dump(mode="json")}) == output


@given(OUTPUTS, st.integers(1, 3000), st.booleans())
def test_what_is_sent_fits_or_is_refused(output: dict[str, Any], limit: int, sync: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oversize, "RUN_LIMIT_BYTES", limit)
        patch.setattr(oversize, "RUNSYNC_LIMIT_BYTES", limit)
        try:
            sent = asyncio.run(Outbox().fitted(output, "sync-1" if sync else "1"))
        except Refused:
            assert len(encoded({"output": output})) > limit
            return
    assert len(encoded({"output": sent})) <= limit
    assert read_result(json.loads(json.dumps(sent))) == output
