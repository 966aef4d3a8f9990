"""The self-test of a variant: what is asked of its handler, and how its end is judged."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fanscribe.catalogue import load_catalogue
from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.task import INPUTS, Stage
from fanscribe.contracts.variant import Variant
from fanscribe.engines.selftest import SAMPLE_S, judge, sample_input, self_test
from fanscribe.media import decode

CATALOGUE = load_catalogue()
WHISPER = CATALOGUE.variant("whisper-base")
DIARIZER = CATALOGUE.variant("diarize-onnx")
ALIGNER = WHISPER.model_copy(update={"stages": [Stage.ALIGN]})


def ended(variant: Variant, output: object, status: int = 0) -> tuple[bool, str]:
    told = judge(variant, status, f"INFO   | local_test | Job result: {{'output': {output!r}}}\n", "", 1.0)
    return told.passed, told.said


@pytest.mark.parametrize("variant", [WHISPER, DIARIZER, ALIGNER], ids=["transcribe", "diarize", "align"])
def test_the_sample_is_a_valid_task_that_fits_a_command_line(variant: Variant) -> None:
    body = sample_input(variant)
    INPUTS[variant.stages[0]].model_validate(body)
    assert len(json.dumps(body)) < 128 * 1024


def test_the_sample_has_the_length_that_is_said() -> None:
    file = Path(sys.modules["fanscribe.engines.selftest"].__file__ or "").with_name("sample.flac")
    with file.open("rb") as sound:
        assert len(decode(sound, "the sample").samples) / 16_000 == pytest.approx(SAMPLE_S)


def test_a_language_that_the_variant_knows_is_asked_for() -> None:
    capabilities = WHISPER.capabilities.model_copy(update={"languages": ["de", "fr"]})
    assert sample_input(WHISPER.model_copy(update={"capabilities": capabilities}))["language"] == "de"


def test_answers_are_told_in_a_line() -> None:
    heard = {"text": " Good morning. ", "segments": [{"start": 0.2, "end": 4.3}]}
    assert ended(WHISPER, heard) == (True, "'Good morning.'")
    assert ended(WHISPER, {"text": "", "segments": []}) == (True, "it heard no words")
    turns = "SPEAKER x 1 0.3 1.2 <NA> <NA> SPEAKER_00 <NA> <NA>\nSPEAKER x 1 2.0 1.0 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
    assert ended(DIARIZER, {"text": turns}) == (True, "2 turns, 2 speakers")
    words = [{"start": 0.3 * n, "end": 0.3 * n + 0.2} for n in range(13)]
    assert ended(ALIGNER, {"segments": [{"words": words}]}) == (True, "13 words timed")


@pytest.mark.parametrize(
    ("variant", "output", "said"),
    [
        (WHISPER, {"text": "x", "segments": [{"start": 3.0, "end": 9.0}]}, "a span from 3.0 to 9.0 s"),
        (WHISPER, {"text": "x", "segments": [{"start": 3, "end": 4}, {"start": 1, "end": 2}]}, "do not rise"),
        (WHISPER, {"text": "x"}, "does not fit the contract: 'segments'"),
        (ALIGNER, {"segments": [{"words": []}]}, "0 of 12 words have times"),
    ],
)
def test_an_answer_that_cannot_be_fails(variant: Variant, output: object, said: str) -> None:
    passed, told = ended(variant, output)
    assert not passed
    assert said in told


def test_a_refusal_is_told_with_its_code() -> None:
    error = TaskError(code=ErrorCode.MODEL_MISSING, message="nowhere: accept its licence").model_dump_json()
    told = judge(WHISPER, 1, f"ERROR  | local_test | Job local_test failed with error: {error}\n", "", 1.0)
    assert (told.passed, told.code) == (False, ErrorCode.MODEL_MISSING)
    assert told.said == "MODEL_MISSING: nowhere: accept its licence"


def test_a_handler_that_ends_otherwise_is_quoted() -> None:
    told = judge(WHISPER, 1, "", "Traceback\n  File x\nModuleNotFoundError: No module named 'nemo'\n", 1.0)
    assert "ended with status 1" in told.said
    assert "No module named 'nemo'" in told.said
    assert "silently" in judge(WHISPER, -9, "", "", 1.0).said


def test_a_handler_that_does_not_end_is_given_up() -> None:
    told = self_test(WHISPER, timeout_s=0.05)
    assert not told.passed
    assert "did not end within" in told.said


def test_the_command_tells_and_ends_accordingly() -> None:
    good = CliRunner().invoke(app, ["engines", "test", "diarize-onnx", "--json"])
    assert good.exit_code == Exit.DONE
    assert json.loads(good.stdout)["passed"] is True
    assert CliRunner().invoke(app, ["engines", "test", "nope"]).exit_code == Exit.USAGE
