"""The file of traces: private, bounded, and read in spite of damage."""

import json
import multiprocessing
from pathlib import Path

import pytest
from tests.traced import cold_job, ids, job, request, task

from fanscribe.contracts.errors import UsageError
from fanscribe.trace import file as trace_file
from fanscribe.trace.file import FILE_NAME, read, traces_file, write
from fanscribe.trace.recorder import Recorder
from fanscribe.trace.spans import Span, spans_of
from fanscribe.trace.summary import Summary
from fanscribe.trace.traceparent import Ids
from fanscribe.trace.tracing import tracing


def trace_of(digit: str, jobs: int = 1) -> list[Span]:
    tasks = [task(cold_job(job_id=f"j{number}"), number=number) for number in range(jobs)]
    return spans_of(request(*tasks), ids(digit * 32))


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / FILE_NAME
    written = trace_of("a", 3)
    write(file, written)
    write(file, trace_of("b"))
    found = read(file)
    assert [each.root.trace for each in found.traces] == ["a" * 32, "b" * 32]
    assert (found.damaged_lines, found.rootless) == ([], [])
    for one, two in zip(written, found.traces[0].spans, strict=True):
        assert (one.id, one.parent, one.kind, one.name, one.attributes) == (
            (two.id, two.parent, two.kind, two.name, two.attributes)
        )
        assert two.start_s == pytest.approx(one.start_s, abs=1e-6)
        assert two.duration_s == pytest.approx(one.duration_s, abs=2e-6)
    assert read(file.parent).traces == found.traces


def test_it_is_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / FILE_NAME
    write(file, trace_of("a"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0


def test_damaged_lines_are_told_and_passed_over(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    write(file, trace_of("a"))
    good = len(file.read_text().splitlines())
    lines = [
        "no json",
        '{"trace": 1}',
        "[]",
        json.dumps({"trace": "a" * 32, "span": "b" * 16, "kind": "job", "name": "x", "at": 0}),
        file.read_text().splitlines()[2].replace('"start_s":', '"start_s":NaN,"x":'),
        file.read_text().splitlines()[2].replace('"duration_s":', '"duration_s":-1,"x":'),
        file.read_text().splitlines()[2].replace('"duration_s":', '"duration_s":1e300,"x":'),
        file.read_text().splitlines()[2].replace('"at":', '"at":1e300,"x":'),
        file.read_text().splitlines()[2].replace('"at":', '"at":-1e300,"x":'),
    ]
    with file.open("a") as opened:
        opened.write("\n".join([*lines, "", '{"torn']))
    write(file, trace_of("c"))
    found = read(file)
    assert [each.root.trace[0] for each in found.traces] == ["a", "c"]
    assert found.damaged_lines == [*range(good + 1, good + 10), good + 11]
    assert len(found.traces[1].spans) == len(trace_of("c")), "a torn line damages no other"


def test_a_trace_without_its_beginning_is_told(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    write(file, trace_of("a")[1:])
    found = read(file)
    assert (found.traces, found.rootless) == ([], ["a" * 32])


def test_two_requests_of_one_callers_trace_are_two(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    for number in range(2):
        facts = request(task(job(job_id=f"j{number}")))
        write(file, spans_of(facts, Ids("a" * 32, "b" * 16)))
    found = read(file)
    assert [len(each.spans) for each in found.traces] == [len(found.traces[0].spans)] * 2
    assert {each.trace for trace in found.traces for each in trace.spans} == {"a" * 32}


def test_the_file_loses_its_older_half_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "MAX_BYTES", 20_000)
    file = tmp_path / FILE_NAME
    for number in range(100):
        write(file, trace_of(f"{number % 10}"))
        assert file.stat().st_size < 25_000
    found = read(file)
    assert found.damaged_lines == []
    assert 3 < len(found.traces) < 30
    assert found.traces[-1].root.trace == "9" * 32


def _write_many(file: Path, digit: str) -> None:
    for _ in range(20):
        write(file, trace_of(digit, 10))


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(file, digit)) for digit in "abc"]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    found = read(file)
    assert (len(found.traces), found.damaged_lines) == (60, [])
    assert {len(each.spans) for each in found.traces} == {len(trace_of("a", 10))}


def test_where_there_are_no_locks_it_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fanscribe.line_file.fcntl.flock", refuse)
    write(tmp_path / FILE_NAME, trace_of("a"))
    assert len(read(tmp_path).traces) == 1


@pytest.mark.parametrize("named", ["s3://bucket/traces", "file:///tmp"])
def test_an_address_is_no_folder(named: str) -> None:
    with pytest.raises(UsageError, match=r"FANSCRIBE_TRACES=.*folder"):
        traces_file({"FANSCRIBE_TRACES": named})


def test_the_environment_names_the_folder(tmp_path: Path) -> None:
    assert traces_file({}) is traces_file({"FANSCRIBE_TRACES": "off"}) is None
    assert traces_file({"FANSCRIBE_TRACES": str(tmp_path)}) == tmp_path / FILE_NAME
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        traces_file({"FANSCRIBE_TRACES": str(tmp_path / "file")})


def test_a_file_that_is_not_there_or_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"gone\.jsonl: cannot be read: No such file"):
        read(tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path)
    monkeypatch.setattr(trace_file, "READABLE_BYTES", 10)
    write(tmp_path / FILE_NAME, trace_of("a"))
    with pytest.raises(UsageError, match="larger than"):
        read(tmp_path)


async def test_a_request_that_fails_leaves_a_trace(tmp_path: Path) -> None:
    async def fail(recorder: Recorder) -> None:
        with recorder.step("plan"):
            raise UsageError("what he said was secret")

    with pytest.raises(UsageError):
        async with tracing(tmp_path / FILE_NAME, {"model": "auto"}) as recorder:
            await fail(recorder)
    (found,) = read(tmp_path).traces
    assert found.root.trace == recorder.ids.trace
    assert (found.root.status, found.root.error) == ("error", "UsageError")
    assert [each.name for each in found.spans] == ["request", "plan"]
    assert "secret" not in (tmp_path / FILE_NAME).read_text()


async def test_a_trace_that_cannot_be_written_fails_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    async with tracing(tmp_path / FILE_NAME):
        pass
    assert "the trace is lost" in caplog.text


async def test_without_a_place_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[Summary] = []
    async with tracing(None, ended=told.append) as recorder:
        with recorder.step("plan"):
            pass
    assert list(tmp_path.iterdir()) == []
    assert [(each.jobs, each.status, each.trace) for each in told] == [(0, "ok", recorder.ids.trace)]
