"""`fanscribe engines`: the catalogue, to look at, to check, to try out and to add to."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fanscribe.cli.exits import Exit, clear_errors, complain

app = typer.Typer(
    no_args_is_help=True, help="The engines and variants there are; checks; a start for a new one."
)

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
    room = max((len(", ".join(each.stages)) for each in variants), default=0)
    for each in variants:
        where = "cpu, gpu" if each.hardware.cpu else "gpu"
        aliases = f"  aliases: {', '.join(each.aliases)}" if each.aliases else ""
        print(f"{each.id:<{width}}  {', '.join(each.stages):<{room}}  {where:<8}  {each.name}{aliases}")


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


@app.command()
def validate(
    all_: Annotated[
        bool,
        typer.Option("--all", help="Also that each family has its code, Dockerfile and extra in a checkout."),
    ] = False,
    endpoints: _Endpoints = None,
    checkout: Annotated[Path, typer.Option(metavar="DIR", help="The checkout that --all looks at.")] = Path(),
) -> None:
    """Check every variant file; each fault is one line with its file and key. Exit code 2 where there are any."""
    from fanscribe.catalogue import builtin_variants, own_variants
    from fanscribe.engines.checks import catalogue_faults, family_faults

    builtin = [variant for _, variant in builtin_variants()]
    faults = catalogue_faults(endpoints)
    if all_:
        faults += family_faults(checkout, builtin)
    if faults:
        complain("\n".join(faults))
        raise typer.Exit(Exit.USAGE)
    count = len(builtin) + (len(list(own_variants(endpoints))) if endpoints is not None else 0)
    print(f"{count} variants of {len({each.family for each in builtin})} families: no faults")


@app.command("test")
def try_out(
    name: Annotated[str, typer.Argument(metavar="VARIANT", help="A variant's id or alias.")],
    endpoints: _Endpoints = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds, a download of the model included.")] = 900.0,
    json_: _Json = False,
) -> None:
    """Start a variant's handler on this machine and have it do one short recording. Exit code 1 where it cannot."""
    from fanscribe.catalogue import load_catalogue
    from fanscribe.engines.selftest import self_test

    with clear_errors():
        told = self_test(load_catalogue(endpoints).variant(name), timeout_s=timeout)
    if json_:
        result = {"variant": told.variant, "passed": told.passed, "seconds": round(told.seconds, 2)}
        print(json.dumps({**result, "said": told.said, "code": told.code}))
    elif told.passed:
        print(f"{told.variant}: passed in {told.seconds:.1f} s: {told.said}")
    else:
        complain(f"{told.variant}: failed after {told.seconds:.1f} s: {told.said}")
    if not told.passed:
        raise typer.Exit(Exit.FAILED)


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The family: small letters, digits, underscores.")
    ],
    stage: Annotated[str, typer.Option(help="What it does: transcribe, diarize or align.")],
    variants: Annotated[
        str, typer.Option(metavar="A,B", help="The ids of its variants behind the family's name.")
    ],
    path: Annotated[Path, typer.Option(metavar="DIR", help="The checkout to write into.")] = Path(),
) -> None:
    """Start an engine family in a checkout: its folder, variants, Dockerfile, extra and test."""
    from fanscribe.engines.scaffold import create, plan

    with clear_errors():
        files = create(plan(name, stage, variants.split(",")), path)
    for file in files:
        print(file)
    print(f"now write run() in {path / 'handlers' / 'fanscribe_handlers' / name / 'engine.py'}")
