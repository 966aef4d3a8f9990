"""`fanscribe images`: the container images of the engine families, to list, build and push."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanscribe.cli.exits import clear_errors

if TYPE_CHECKING:
    from fanscribe.deploy.images import Image

app = typer.Typer(no_args_is_help=True, help="Container images of the engine families: list, build, push.")

_Families = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FAMILY]...", help="Which families; default: all.", show_default=False),
]
_Registry = Annotated[
    str,
    typer.Option(
        envvar="FANSCRIBE_REGISTRY", metavar="PREFIX", help="What stands before the names, as ghcr.io/you."
    ),
]
_Version = Annotated[
    str | None, typer.Option("--tag", help="The tag; default: the checkout's version.", show_default=False)
]
_Context = Annotated[Path, typer.Option(metavar="DIR", help="The checkout to build from.")]
_Bake = Annotated[
    str | None,
    typer.Option(
        metavar="VARIANT", help="Put the weights of this variant into the image.", show_default=False
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands and run nothing.")]


@app.command("list")
def list_(
    registry: _Registry = "",
    tag: _Version = None,
    context: _Context = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """One line an image: its name, its Dockerfile, the variants it serves."""
    with clear_errors():
        found = _images(None, registry, tag, context, None)
    if json_:
        listed = [
            {
                "family": each.family,
                "image": each.tag,
                "dockerfile": str(each.dockerfile),
                "variants": each.variants,
            }
            for each in found
        ]
        print(json.dumps(listed, indent=2))
        return
    width = max(len(each.tag) for each in found)
    for each in found:
        print(f"{each.tag:<{width}}  {each.dockerfile}  {', '.join(each.variants)}")


@app.command()
def build(
    families: _Families = None,
    registry: _Registry = "",
    tag: _Version = None,
    context: _Context = Path(),
    bake: _Bake = None,
    push: Annotated[bool, typer.Option("--push", help="Push each image as soon as it is built.")] = False,
    dry_run: _DryRun = False,
) -> None:
    """Build images with docker buildx; HF_TOKEN in the environment lets --bake fetch a gated model."""
    from fanscribe.deploy.images import build_command

    with clear_errors():
        if push:
            _needs_registry(registry)
        found = _images(families, registry, tag, context, bake)
        _run([build_command(each, context, push=push) for each in found], dry_run)


@app.command()
def push(
    families: _Families = None,
    registry: _Registry = "",
    tag: _Version = None,
    context: _Context = Path(),
    bake: _Bake = None,
    dry_run: _DryRun = False,
) -> None:
    """Push images that are built."""
    from fanscribe.deploy.images import push_command

    with clear_errors():
        _needs_registry(registry)
        _run([push_command(each) for each in _images(families, registry, tag, context, bake)], dry_run)


def _images(
    families: list[str] | None, registry: str, tag: str | None, context: Path, bake: str | None
) -> "list[Image]":
    from fanscribe.catalogue import load_catalogue
    from fanscribe.deploy.images import images, version_of

    return images(
        context,
        load_catalogue().variants.values(),
        version=tag or version_of(context),
        registry=registry,
        only=tuple(families or ()),
        bake=bake,
    )


def _needs_registry(registry: str) -> None:
    from fanscribe.contracts.errors import UsageError

    if not registry:
        raise UsageError("--registry: give the prefix to push to, as ghcr.io/you, or set FANSCRIBE_REGISTRY")


def _run(commands: list[list[str]], dry_run: bool) -> None:
    """Print each command; run it too unless `dry_run`. The first that fails ends the row."""
    from fanscribe.contracts.errors import FanscribeError

    if not dry_run:
        _needs_docker(buildx=any("buildx" in command for command in commands))
    for command in commands:
        print(shlex.join(command), flush=True)
        if not dry_run and (status := subprocess.run(command, check=False).returncode) != 0:
            raise FanscribeError(f"docker ended with status {status}; what it printed above says why")


def _needs_docker(*, buildx: bool) -> None:
    from fanscribe.contracts.errors import FanscribeError

    if shutil.which("docker") is None:
        raise FanscribeError("docker is not installed: install it, or print the commands with --dry-run")
    if buildx and subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode != 0:
        raise FanscribeError(
            "docker has no buildx: install its plug-in (docker-buildx), or print the commands with --dry-run"
        )
