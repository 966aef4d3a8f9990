"""Log lines: text or JSON, with the ids of what they are about."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fanscribe import logs
from fanscribe.contracts.errors import UsageError

log = logging.getLogger("fanscribe.test")


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    """The log of this process as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def json_lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_text_is_the_default_and_names_the_ids() -> None:
    written = io.StringIO()
    logs.configure({}, written)
    log.info("ready")
    with logs.about(job="j1"), logs.about(task="transcribe-0"):
        log.warning("%s straggles", "it")
    log.debug("not shown")
    assert written.getvalue().splitlines() == [
        "INFO fanscribe.test: ready",
        "WARNING fanscribe.test: it straggles [job=j1 task=transcribe-0]",
    ]


def test_json_has_one_object_a_line() -> None:
    written = io.StringIO()
    logs.configure({"FANSCRIBE_LOG_FORMAT": "json"}, written)
    with logs.about(job="j1", request="r1"):
        log.info("two\nlines with %s", '"quotes"', extra={"seconds": 1.5, "job": "not this one"})
    (line,) = json_lines(written)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "fanscribe.test",
        "message": 'two\nlines with "quotes"',
        "job": "j1",
        "request": "r1",
        "seconds": 1.5,
    }


def test_a_failure_keeps_its_trace() -> None:
    both = []
    for shape in ("json", "text"):
        written = io.StringIO()
        logs.configure({"FANSCRIBE_LOG_FORMAT": shape}, written)
        try:
            raise ValueError("boom")
        except ValueError:
            log.exception("failed")
        both.append(written.getvalue())
    assert "ValueError: boom" in json.loads(both[0])["exception"]
    assert "Traceback" in both[1]


def test_what_json_does_not_know_is_written_as_text() -> None:
    written = io.StringIO()
    logs.configure({"FANSCRIBE_LOG_FORMAT": "json"}, written)
    log.info("x", extra={"where": io.StringIO})
    assert "StringIO" in json_lines(written)[0]["where"]


async def test_requests_at_once_do_not_mix() -> None:
    written = io.StringIO()
    logs.configure({"FANSCRIBE_LOG_FORMAT": "json"}, written)

    async def request(number: int) -> None:
        with logs.about(job=f"j{number}"):

            async def child(task: int) -> None:
                with logs.about(task=f"t{task}"):
                    await asyncio.sleep(0)
                    await asyncio.to_thread(log.info, "%s-%s", number, task)

            await asyncio.gather(*(child(task) for task in range(3)))
            log.info("%s-", number)

    await asyncio.gather(*(request(number) for number in range(3)))
    lines = json_lines(written)
    assert len(lines) == 12
    for each in lines:
        number, task = each["message"].split("-")
        assert each["job"] == f"j{number}"
        assert each.get("task", "t")[1:] == task


def test_what_people_said_is_only_counted_unless_asked_for() -> None:
    assert logs.spoken("my PIN is 1234", {}) == "(14 characters)"
    assert logs.spoken("hello", {"FANSCRIBE_LOG_TEXT": "1"}) == "hello"
    assert logs.spoken("hello", {"FANSCRIBE_LOG_TEXT": "0"}) == "(5 characters)"


def test_addresses_that_are_called_are_not_logged() -> None:
    written = io.StringIO()
    logs.configure({}, written)
    logging.getLogger("httpx2").info("HTTP Request: GET https://bucket/key?X-Amz-Signature=secret")
    assert written.getvalue() == ""


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="FANSCRIBE_LOG_FORMAT=xml: choose text or json"):
        logs.configure({"FANSCRIBE_LOG_FORMAT": "xml"})
