"""`fanscribe generate`: the endpoints of endpoints.toml as files for other platforms than Runpod."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanscribe.cli.deployment import Endpoints, Profile, endpoints_file, project_of
from fanscribe.cli.exits import clear_errors

if TYPE_CHECKING:
    from fanscribe.generate.workers import Deployment

app = typer.Typer(no_args_is_help=True, help="Files that run the same endpoints elsewhere than on Runpod.")

_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.", show_default=False),
]


@app.command()
def compose(profile: Profile = None, endpoints: Endpoints = None, output: _Output = None) -> None:
    """A docker compose file for one machine: the local platform, and each endpoint's workers as containers."""
    from fanscribe.generate.compose import URL
    from fanscribe.generate.compose import compose as text_of

    _generate(profile, endpoints, output, lambda file: URL, text_of)


@app.command()
def ecs(profile: Profile = None, endpoints: Endpoints = None, output: _Output = None) -> None:
    """A CloudFormation template for Amazon ECS: services that scale with the queue, on spot machines."""
    from fanscribe.generate.ecs import ecs as text_of
    from fanscribe.generate.ecs_base import platform_url

    _generate(profile, endpoints, output, lambda file: platform_url(project_of(file)), text_of)


def _generate(
    profile: str | None,
    endpoints: Path | None,
    output: Path | None,
    url_of: Callable[[Path], str],
    text_of: "Callable[[Deployment], str]",
) -> None:
    from fanscribe.contracts.errors import FanscribeError
    from fanscribe.generate.workers import read_deployment

    with clear_errors():
        file = endpoints_file(endpoints)
        text = text_of(read_deployment(file, profile, url_of(file)))
        if output is None:
            print(text, end="")
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise FanscribeError(f"{output}: cannot be written: {error.strerror or error}") from error
        print(f"wrote {output}")
