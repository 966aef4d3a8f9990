"""`fanscribe init`: a commented endpoints.toml to begin with."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from fanscribe.cli.exits import clear_errors

_DEFAULT_REGISTRY = "ghcr.io/your-name"


def init(
    project: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Default: the folder's name.", show_default=False),
    ] = None,
    registry: Annotated[
        str, typer.Option(metavar="PREFIX", help="Where your worker images lie.")
    ] = _DEFAULT_REGISTRY,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "endpoints.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the file's JSON schema, for editors, and write nothing.")
    ] = False,
) -> None:
    """Write a commented endpoints.toml with the profiles minimal, standard and quality."""
    from fanscribe.contracts.errors import FanscribeError, UsageError

    with clear_errors():
        if schema:
            from fanscribe.endpoints_file import json_schema

            print(json.dumps(json_schema(), indent=2))
            return
        name = project or _slug(Path.cwd().name)
        text = template(name, registry)
        faults = _faults(text)
        if faults:
            raise UsageError("\n".join(faults))
        if output.exists() and not force:
            raise UsageError(f"{output}: is there already; --force overwrites it, -o names another")
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise FanscribeError(f"{output}: cannot be written: {error.strerror or error}") from error
        print(f"wrote {output} for project {name}; next: fanscribe plan --platform local, or runpod")


def template(project: str, registry: str) -> str:
    """The file's text."""
    text = resources.files("fanscribe.deploy").joinpath("endpoints_template.toml").read_text(encoding="utf-8")
    return text.replace("@PROJECT@", project).replace("@REGISTRY@", registry)


def _faults(text: str) -> list[str]:
    """What is wrong with the options, by what they would make of the file."""
    import tomllib

    from pydantic import ValidationError

    from fanscribe.endpoints_file import faults_of
    from fanscribe.endpoints_schema import EndpointsFile

    try:
        EndpointsFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        return [f"--project, --registry: cannot stand in a file: {error}"]
    except ValidationError as error:
        options = {"options: project.name": "--project", "options: images.registry": "--registry"}
        found = []
        for fault in faults_of("options", error):
            key = ": ".join(fault.split(": ")[:2])
            found.append(fault.replace(key, options.get(key, key)))
        return found
    return []


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return slug or "transcripts"
