"""Where results go: stdout, or a file that is complete or not there at all."""

import json
import os
import sys
from pathlib import Path
from typing import Any

FORMATS = ("text", "native", "json", "verbose_json", "diarized_json", "srt", "vtt", "rttm")
"""What `--format` takes: the values of ResponseFormat, spelt out so that --help need not load it."""


def write(rendered: str | dict[str, Any], target: Path | None, option: str = "-o") -> None:
    """Write what was rendered. Raises FanscribeError that names `option` when the file cannot be written."""
    text = rendered if isinstance(rendered, str) else json.dumps(rendered, ensure_ascii=False, indent=2)
    if text and not text.endswith("\n"):
        text += "\n"
    if target is None:
        _print(text)
        return
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")  # a device or a pipe, such as /dev/stdout
        else:
            _replace(target, text)
    except OSError as error:
        from fanscribe.contracts.errors import FanscribeError

        raise FanscribeError(f"{option} {target}: cannot be written: {error.strerror or error}") from error


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from fanscribe.contracts.errors import FanscribeError

        # What could not be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise FanscribeError(f"standard output: cannot be written: {error.strerror or error}") from error


def _replace(target: Path, text: str) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
