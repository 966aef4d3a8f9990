"""`fanscribe render`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fanscribe.cli.exits import clear_errors
from fanscribe.cli.output import FORMATS, write


def render(
    transcript: Annotated[Path, typer.Argument(help="A transcript in the native format.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default=False)
    ] = None,
) -> None:
    """Turn a transcript that was saved as native JSON into another format."""
    from pydantic import ValidationError

    from fanscribe.contracts.errors import UsageError
    from fanscribe.contracts.task import ResponseFormat
    from fanscribe.contracts.transcript import Transcript
    from fanscribe.render import render as rendered

    with clear_errors():
        if format not in FORMATS:
            raise UsageError(f"--format {format}: unknown format; choose one of {', '.join(FORMATS)}")
        try:
            data = json.loads(transcript.read_text(encoding="utf-8"))
            parsed = Transcript.from_dict(data)
        except OSError as error:
            raise UsageError(f"{transcript}: cannot be read: {error.strerror}") from error
        except (ValueError, ValidationError) as error:
            raise UsageError(f"{transcript}: is not a transcript in the native format") from error
        write(rendered(parsed, ResponseFormat(format), file_id=transcript.stem), output)
