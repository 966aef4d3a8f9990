"""Log lines of a process of ours: as text or as JSON, each with the ids of what it is about.

Neither sound nor what people said belongs into a log line; `spoken` is for a line that would hold it.
"""

import contextvars
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from fanscribe.contracts.errors import UsageError

FORMAT_VARIABLE = "FANSCRIBE_LOG_FORMAT"
"""Environment variable: text (the default) or json."""

TEXT_VARIABLE = "FANSCRIBE_LOG_TEXT"
"""Environment variable: 1 lets log lines hold what people said."""

_ids: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("fanscribe_log_ids", default={})  # noqa: B039

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "ids", "taskName"}
"""What every record has; anything else was given by `extra`."""


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Put these ids onto every log line in the block, also of the asyncio tasks that are started in it.

    A thread does not see them unless it is started with `asyncio.to_thread`.
    """
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def spoken(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a log line may tell of what people said: its length, or the text itself where FANSCRIBE_LOG_TEXT is 1."""
    return text if environment.get(TEXT_VARIABLE) == "1" else f"({len(text)} characters)"


def configure(environment: Mapping[str, str] = os.environ, stream: TextIO | None = None) -> None:
    """Set up the process's log as FANSCRIBE_LOG_FORMAT says, from level INFO on; on stderr when no stream is named.

    Raises UsageError for a format that is not known.
    """
    wanted = environment.get(FORMAT_VARIABLE) or "text"
    if wanted not in ("text", "json"):
        raise UsageError(f"{FORMAT_VARIABLE}={wanted}: choose text or json")
    handler = logging.StreamHandler(stream)
    handler.addFilter(_with_ids)
    handler.setFormatter(JsonFormatter() if wanted == "json" else TextFormatter())
    root = logging.getLogger()
    for each in list(root.handlers):
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # They name every URL that is called, and a presigned one is a key.
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _with_ids(record: logging.LogRecord) -> bool:
    record.ids = dict(_ids.get())
    return True


def _ids_of(record: logging.LogRecord) -> dict[str, str]:
    ids: dict[str, str] = getattr(record, "ids", {})
    return ids


class TextFormatter(logging.Formatter):
    """`INFO fanscribe.pipeline.attempts: … [job=… task=…]`; a trace of a failure follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        ids = " ".join(f"{name}={value}" for name, value in _ids_of(record).items())
        line = f"{record.levelname} {record.name}: {record.getMessage()}"
        lines = [f"{line} [{ids}]" if ids else line]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the ids, and the fields that `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        for name, value in {**extra, **_ids_of(record)}.items():
            fields.setdefault(name, value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str, separators=(",", ":"))
