"""The waterfall: rows, characters, the page, and the command."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.traced import BEGAN, cold_job, ids, job, request, task
from typer.testing import CliRunner

from fanscribe.cli import app
from fanscribe.trace.facts import RequestFacts, Role, Status
from fanscribe.trace.file import FILE_NAME, write
from fanscribe.trace.page import page
from fanscribe.trace.rows import MEANINGS, Paint, rows_of
from fanscribe.trace.spans import Kind, spans_of
from fanscribe.trace.terminal import GLYPHS, bar

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y>\x1b[31m&amp;"


def facts() -> RequestFacts:
    hedged = task(
        job(status=Status.CANCELLED, timing=None, job_id="slow", doing="running"),
        job(role=Role.HEDGE, job_id="quick", began=BEGAN + 1.5, submitted=BEGAN + 1.6),
        number=1,
    )
    return request(task(cold_job()), hedged, task(stage="diarize", reused=True))


class _Page(HTMLParser):
    """The tags of a page, and what they say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_task_with_one_job_is_one_row() -> None:
    rows = rows_of(spans_of(facts(), ids()))
    assert [(each.depth, each.label) for each in rows] == [
        (0, "request"),
        (1, "diarize"),
        (2, "diarize-0"),
        (1, "plan"),
        (1, "transcribe"),
        (2, "transcribe-0"),
        (2, "transcribe-1"),
        (3, "slow"),
        (3, "quick"),
        (1, "merge"),
    ]
    notes = {each.label: each.note for each in rows}
    assert notes["diarize-0"] == "kept from before"
    assert notes["transcribe-0"] == "cold start"
    assert (notes["slow"], notes["quick"]) == ("cancelled", "hedge")


def test_a_load_beside_the_start_is_drawn_there() -> None:
    row = next(each for each in rows_of(spans_of(facts(), ids())) if each.label == "transcribe-0")
    drawn: list[Any] = [(each.paint, pytest.approx(each.end_s - each.start_s)) for each in row.pieces]
    assert drawn == [
        (Paint.TRANSFER, 0.1),
        (Paint.START, 1.8),
        (Paint.LOADING, 1.2),  # of 2.5 s of load, 1 s was waited for, and 0.3 s went by with the download
        (Paint.TRANSFER, 0.3),
        (Paint.LOAD, 1.0),
        (Paint.INFERENCE, 1.7),
        (Paint.TRANSFER, 0.1),
    ]


def test_a_span_whose_parent_is_lost_hangs_from_the_request() -> None:
    spans = [each for each in spans_of(facts(), ids()) if each.name != "transcribe"]
    depths = {each.label: each.depth for each in rows_of(spans)}
    assert (depths["transcribe-1"], depths["quick"]) == (1, 2)


def test_whatever_hangs_from_whatever_is_drawn_once_and_low() -> None:
    spans = spans_of(facts(), ids())
    root, first = spans[0], next(each for each in spans if each.kind is Kind.TASK)
    itself = replace(first, id="5" * 16, parent="5" * 16)
    chain = [
        replace(first, id=f"{number:016x}", parent=f"{number - 1:016x}") for number in range(9000, 12_000)
    ]
    twice = replace(root, kind=Kind.TASK, parent=root.id)
    rows = rows_of([*spans, *spans[1:], itself, *chain, twice])
    assert len(rows) == len(rows_of(spans)) + 1 + len(chain)
    assert max(each.depth for each in rows) <= 3


def test_a_bar_shows_what_fills_its_cells() -> None:
    spans = spans_of(request(task(job())), ids())
    row = next(each for each in rows_of(spans) if each.label == "transcribe-0")
    drawn = "".join(run for _, run in bar(row, spans[0].duration_s, 39))
    begin, end = drawn.index(GLYPHS[Paint.TRANSFER]), len(drawn.rstrip())
    assert re.fullmatch("~·{4}~{3}█{17}~{2}", drawn[begin:end])
    assert begin == 10


def test_every_paint_has_a_character_a_colour_and_a_meaning_of_its_own() -> None:
    assert set(GLYPHS) == set(MEANINGS) == set(Paint)
    assert len(set(GLYPHS.values())) == len(Paint)


def test_the_page_has_a_bar_for_every_piece_and_no_script() -> None:
    spans = spans_of(facts(), ids())
    made = _Page(page(spans))
    tags = [tag for tag, _ in made.tags]
    assert made.open == []
    assert tags.count("i") == sum(len(each.pieces) for each in rows_of(spans))
    assert not {"script", "link", "img", "iframe", "form"} & set(tags)
    assert not [name for _, about in made.tags for name in about if name in ("src", "href")]
    assert "url(" not in page(spans)
    policy = next(about for _, about in made.tags if about.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    for paint in (Paint.START, Paint.LOADING, Paint.LOAD, Paint.INFERENCE, Paint.QUEUE):
        assert f"{paint.value}: {MEANINGS[paint]}" in made.text
    labels = [about["aria-label"] for _, about in made.tags if "aria-label" in about]
    assert any("transcribe-0" in (each or "") and "inference 1.700 s" in (each or "") for each in labels)


def test_the_page_escapes_everything() -> None:
    evil = job(job_id=HOSTILE, endpoint=HOSTILE, worker_id=HOSTILE, status=Status.ERROR, error=HOSTILE)
    spans = spans_of(
        request(
            task(evil, id=HOSTILE, stage_id=HOSTILE), task(evil, job(), id=HOSTILE), about={"model": HOSTILE}
        ),
        ids(),
    )
    made, honest = _Page(page(spans)), _Page(page(spans_of(facts(), ids())))
    assert {tag for tag, _ in made.tags} == {tag for tag, _ in honest.tags}
    assert {name for _, about in made.tags for name in about} <= (
        {name for _, about in honest.tags for name in about}
    )
    assert "<script>alert('x')</script>" in made.text
    assert made.open == []


@pytest.mark.parametrize("total_s", [1e-6, 0.004, 1.0, 7.3, 61.0, 1e5])
def test_the_axis_has_a_few_round_numbers(total_s: float) -> None:
    text = page(spans_of(request(ended=1000.0 + total_s), ids()))
    ticks = re.findall(r'<span style="left:[\d.]+%">([^<]+)</span>', text)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] == "0"


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["trace", *arguments], env={"COLUMNS": "100", "FANSCRIBE_TRACES": ""})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / FILE_NAME
    write(written, spans_of(facts(), ids("a" * 32)))
    write(
        written, spans_of(request(task(job(job_id=HOSTILE, error="no", status=Status.ERROR))), ids("b" * 32))
    )
    return written


def test_the_command_draws_the_last_trace(file: Path) -> None:
    code, out, _ = run(str(file))
    assert code == 0
    assert "b" * 32 in out
    assert "█" in out
    assert "inference: the engine works" in out
    assert "\x1b" not in out


def test_the_command_draws_the_trace_that_is_named(file: Path) -> None:
    code, out, _ = run(str(file.parent), "--id", "aaaa")
    assert code == 0
    assert re.search(r"transcribe-0 .*░+▒+.*▓+█+.* cold start", out)
    assert re.search(r"quick .* hedge", out)
    assert "3 jobs (1 hedge, 1 cancelled)" in out


def test_the_folder_of_the_environment_is_the_default(file: Path) -> None:
    done = CliRunner().invoke(app, ["trace"], env={"FANSCRIBE_TRACES": str(file.parent)})
    assert (done.exit_code, "b" * 32 in done.stdout) == (0, True)
    code, _, said = run()
    assert (code, "FANSCRIBE_TRACES" in said) == (2, True)


def test_json_is_for_machines(file: Path) -> None:
    code, out, _ = run(str(file), "--json", "--id", "a" * 32)
    spans = json.loads(out)
    assert code == 0
    assert (spans[0]["kind"], spans[0]["trace"]) == ("request", "a" * 32)
    assert {each["parent"] for each in spans[1:]} <= {each["span"] for each in spans}


def test_a_page_is_written(file: Path, tmp_path: Path) -> None:
    code, out, _ = run(str(file), "--html", str(tmp_path / "trace.html"))
    assert (code, out) == (0, "")
    assert (tmp_path / "trace.html").read_text().startswith("<!doctype html>")
    for place in (tmp_path, tmp_path / "none" / "trace.html"):
        code, _, said = run(str(file), "--html", str(place))
        assert (code, said.startswith(f"fanscribe: --html {place}: name a file")) == (2, True)


def test_an_unknown_or_ambiguous_id_is_told(file: Path) -> None:
    code, _, said = run(str(file), "--id", "ffff")
    assert code == 2
    assert "no such trace" in said
    assert "a" * 32 in said
    write(file, spans_of(facts(), ids("ab" * 16)))
    code, _, said = run(str(file), "--id", "a")
    assert (code, "more of its digits" in said) == (2, True)


def test_a_place_for_the_trace_that_cannot_be_is_refused(tone: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "trace.jsonl"):
        done = CliRunner().invoke(
            app, ["transcribe", str(tone), "--platform", "local", "--trace", str(place)]
        )
        assert (done.exit_code, done.stderr.startswith(f"fanscribe: --trace {place}: name a file")) == (
            2,
            True,
        )


def test_damage_is_told(file: Path, tmp_path: Path) -> None:
    with file.open("a") as opened:
        opened.write("garbage\n")
    code, out, said = run(str(file))
    assert (code, "1 damaged lines are passed over" in said, "b" * 32 in out) == (0, True, True)
    (tmp_path / "empty.jsonl").touch()
    code, _, said = run(str(tmp_path / "empty.jsonl"))
    assert (code, "holds no trace" in said) == (2, True)
    code, _, said = run(str(tmp_path / "gone.jsonl"))
    assert (code, "cannot be read: No such file" in said) == (2, True)
