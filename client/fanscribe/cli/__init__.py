"""The command line. Each command imports what it needs when it runs, so that --help is quick."""

from typing import Annotated

import typer

from fanscribe.cli import cache, engines, generate, images, local
from fanscribe.cli.deploy import adopt, deploy, destroy, plan
from fanscribe.cli.init import init
from fanscribe.cli.operate import logs, stats, status
from fanscribe.cli.render import render
from fanscribe.cli.smoke import smoke
from fanscribe.cli.trace import trace
from fanscribe.cli.transcribe import transcribe

app = typer.Typer(
    name="fanscribe",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Transcripts that say who said what: on Runpod endpoints, or on this machine.",
)
app.command()(transcribe)
app.command()(render)
app.command()(trace)
app.command()(init)
app.command()(plan)
app.command()(deploy)
app.command()(destroy)
app.command()(adopt)
app.command()(status)
app.command()(stats)
app.command()(logs)
app.command()(smoke)
app.add_typer(engines.app, name="engines")
app.add_typer(images.app, name="images")
app.add_typer(local.app, name="local")
app.add_typer(generate.app, name="generate")
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        import fanscribe

        print(f"fanscribe {fanscribe.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """The `fanscribe` command."""
    app()
