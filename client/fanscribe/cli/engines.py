"""`fanscribe engines`: the catalogue, to look at."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fanscribe.cli.exits import clear_errors

app = typer.Typer(no_args_is_help=True, help="The engines and variants there are.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_Endpoints = Annotated[
    Path | None, typer.Option(help="endpoints.toml with folders of your own variants.", show_default=False)
]


@app.command("list")
def list_(json_: _Json = False, endpoints: _Endpoints = None) -> None:
    """One line a variant: id, stages, where it runs, aliases."""
    from fanscribe.catalogue import load_catalogue

    with clear_errors():
        variants = sorted(load_catalogue(endpoints).variants.values(), key=lambda each: each.id)
    if json_:
        print(json.dumps([each.model_dump(mode="json") for each in variants], indent=2))
        return
    width = max((len(each.id) for each in variants), default=0)
    for each in variants:
        where = "cpu, gpu" if each.hardware.cpu else "gpu"
        aliases = f"  aliases: {', '.join(each.aliases)}" if each.aliases else ""
        print(f"{each.id:<{width}}  {', '.join(each.stages):<12}  {where:<8}  {each.name}{aliases}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A variant's id or alias.")],
    json_: _Json = False,
    endpoints: _Endpoints = None,
) -> None:
    """Everything that is known of one variant."""
    import yaml

    from fanscribe.catalogue import load_catalogue

    with clear_errors():
        data = load_catalogue(endpoints).variant(name).model_dump(mode="json")
    if json_:
        print(json.dumps(data, indent=2))
    else:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
