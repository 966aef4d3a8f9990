"""Run records: kept, read back, bounded, and added up by endpoint."""

import json
import logging
from pathlib import Path

import pytest

from fanscribe import run_records
from fanscribe.contracts.transcript import TaskRecord
from fanscribe.deploy.statistics import figures
from fanscribe.run_records import RunRecord, keep, read, record_of, records_file


def _record(at: float = 1.0, **changes: object) -> RunRecord:
    task = TaskRecord(
        "t1", "transcribe", "whisper-base", 0.0, 60.0, {"queue": 1.0, "inference": 2.0}, endpoint="asr"
    )
    for name, value in changes.items():
        setattr(task, name, value)
    return record_of(task, at)


def test_records_are_read_back_from_their_time_on(tmp_path: Path) -> None:
    file = tmp_path / "state" / "runs.jsonl"
    keep(file, [_record(1.0), _record(2.0)])
    keep(file, [_record(3.0, cost_usd=0.5)])
    keep(file, [])
    assert list(read(file)) == [_record(1.0), _record(2.0), _record(3.0, cost_usd=0.5)]
    assert [each.at for each in read(file, since=2.0)] == [2.0, 3.0]
    assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_line_and_a_missing_file_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert list(read(file)) == []
    keep(file, [_record(1.0)])
    with file.open("a") as lines:
        lines.write('{"at": 1\n[]\n{"other": true}\n')
    keep(file, [_record(2.0)])
    assert [each.at for each in read(file)] == [1.0, 2.0]


def test_the_file_loses_its_older_half_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_records, "MAX_BYTES", 4000)
    file = tmp_path / "runs.jsonl"
    for number in range(100):
        keep(file, [_record(float(number))])
    kept = [each.at for each in read(file)]
    assert kept == [float(number) for number in range(100 - len(kept), 100)]
    assert 3 < len(kept) < 40
    assert file.stat().st_size < 5000


def test_a_file_that_cannot_be_written_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        keep(tmp_path / "runs.jsonl", [_record()])
    assert "no run records are kept" in caplog.text


def test_where_they_lie(tmp_path: Path) -> None:
    assert records_file({"FANSCRIBE_RECORDS": "off"}) is None
    assert records_file({"FANSCRIBE_RECORDS": str(tmp_path / "x")}) == tmp_path / "x"
    default = records_file({})
    assert default is not None
    assert default.name == "runs.jsonl"


def test_a_record_holds_no_text_and_no_job() -> None:
    told = json.dumps(_record(job_id="job-1", worker_id="w-1").timings) + str(_record(job_id="job-1"))
    assert "job-1" not in told


def test_figures_by_endpoint() -> None:
    found = figures(
        [
            _record(cold_start=True, cost_usd=0.01, timings={"start": 7.0, "load": 1.0, "inference": 3.0}),
            _record(cost_usd=0.02, attempts=2, hedges=1),
            _record(cost_usd=0.03, attempts=3, error="OUT_OF_MEMORY: …"),
            _record(reused=True),
            _record(endpoint="speakers", variant="diarize-onnx"),
        ]
    )
    asr, speakers = found
    assert (asr.endpoint, asr.tasks, asr.reused, asr.jobs) == ("asr", 3, 1, 7)
    assert asr.cold_start_rate == 0.5
    assert asr.mean_queue_s == pytest.approx((7 + 1) / 2)
    assert asr.mean_execution_s == pytest.approx((4 + 2) / 2)
    assert asr.error_rate == pytest.approx((0 + 1 + 3) / 7)
    assert asr.usd_per_request == pytest.approx(0.02)
    assert asr.usd_per_audio_hour == pytest.approx(0.06 / 180 * 3600)
    assert speakers.usd_per_request == 0
    assert figures([]) == []


def test_an_endpoint_of_which_everything_was_kept_has_no_figures() -> None:
    (only,) = figures([_record(reused=True)])
    assert (only.tasks, only.reused) == (0, 1)
    assert (only.error_rate, only.mean_queue_s, only.usd_per_request) == (None, None, None)
