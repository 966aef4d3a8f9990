"""`fanscribe transcribe`."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanscribe.cli.exits import Exit, clear_errors, code_of, complain, worst
from fanscribe.cli.output import FORMATS, write

if TYPE_CHECKING:
    from fanscribe.cli.progress import Display
    from fanscribe.client import AsyncClient
    from fanscribe.contracts.transcript import Transcript


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for every input of one command."""

    options: dict[str, Any]
    format: str
    output: Path | None
    many: bool
    report: bool = False
    json: bool = False
    trace: Path | None = None
    orchestrator: str | None = None


def transcribe(
    audio: Annotated[list[str], typer.Argument(help="Audio or video files, or https/s3 URLs.")],
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell speakers apart by their voices.")] = False,
    per_channel: Annotated[bool, typer.Option("--per-channel", help="One speaker on each channel.")] = False,
    speakers: Annotated[int | None, typer.Option(help="Exactly so many speakers (with --diarize).")] = None,
    min_speakers: Annotated[int | None, typer.Option(help="At least so many speakers.")] = None,
    max_speakers: Annotated[int | None, typer.Option(help="At most so many speakers.")] = None,
    model: Annotated[
        str, typer.Option(help="A variant's id or alias; see `fanscribe engines list`.")
    ] = "auto",
    language: Annotated[
        str | None, typer.Option(help="ISO 639 code, such as en; detected when left out.")
    ] = None,
    timestamps: Annotated[str, typer.Option(help="none, segment or word.")] = "word",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "text",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write; with several inputs a folder.", show_default=False
        ),
    ] = None,
    platform: Annotated[str, typer.Option(help="auto, local or runpod.")] = "auto",
    endpoints: Annotated[
        Path | None,
        typer.Option(help="endpoints.toml to use (else FANSCRIBE_ENDPOINTS).", show_default=False),
    ] = None,
    orchestrator: Annotated[
        bool, typer.Option("--orchestrator", help="Send each input to the orchestrator endpoint, as one job.")
    ] = False,
    orchestrator_name: Annotated[
        str | None,
        typer.Option(help="Its name in endpoints.toml, or an endpoint's id on Runpod.", show_default=False),
    ] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds that one input may take.")] = None,
    optimize: Annotated[
        str, typer.Option(help="What chunks and workers are chosen for: latency, cost or balanced.")
    ] = "latency",
    send: Annotated[
        str, typer.Option(help="How audio reaches the workers: auto, inline, or reference (of a URL).")
    ] = "auto",
    align: Annotated[
        str, typer.Option(help="When an aligner times the words: auto (if the model cannot), always, never.")
    ] = "auto",
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would run, its seconds and dollars; run nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Say on standard error what was predicted and what happened.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(help="File to add a trace to; see fanscribe trace.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="With --plan or --report: as JSON.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep finished work (see fanscribe cache).")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no warnings.")] = False,
) -> None:
    """Transcribe recordings, with speakers when asked.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partial (gaps or missing speakers are stated), 130 interrupted.
    """
    from fanscribe.contracts.errors import UsageError

    with clear_errors():
        if format not in FORMATS:
            raise UsageError(f"--format {format}: unknown format; choose one of {', '.join(FORMATS)}")
        if platform not in ("auto", "local", "runpod"):
            raise UsageError(f"--platform {platform}: choose auto, local or runpod")
        for option, value, choices in (
            ("--timestamps", timestamps, ("none", "segment", "word")),
            ("--optimize", optimize, ("latency", "cost", "balanced")),
            ("--send", send, ("auto", "inline", "reference")),
            ("--align", align, ("auto", "always", "never")),
        ):
            if value not in choices:
                raise UsageError(f"{option} {value}: choose one of {', '.join(choices)}")
        if json_ and not (plan or report):
            raise UsageError("--json goes with --plan or --report; for the transcript use --format native")
        if orchestrator_name == "":
            raise UsageError("--orchestrator-name: is empty; name an orchestrator, or leave the option out")
        through = orchestrator_name or ("orchestrator" if orchestrator else None)
        if through is not None and plan:
            raise UsageError("--plan excludes --orchestrator, which makes its own plan when it has the audio")
        if through is not None and send != "auto":
            raise UsageError(f"--send {send} excludes --orchestrator, which sends audio its own way")
        options = _options(
            {
                "--speakers": speakers,
                "--min-speakers": min_speakers,
                "--max-speakers": max_speakers,
                "--deadline": deadline,
            }
        )
        options |= {"diarize": diarize, "per_channel": per_channel, "model": model, "language": language}
        options |= {"timestamps": timestamps, "optimize": optimize, "send": send}
        options |= {"align": align, "cache": not no_cache}
        _check_options(options)
        job = _Job(options, format, output, len(audio) > 1, report, json_, trace, through)
        if plan:
            raise typer.Exit(worst(asyncio.run(_plan_all(audio, job, platform, endpoints))))
        _check_output(job, audio)
        if trace is not None and (trace.is_dir() or not os.access(trace.parent, os.W_OK)):
            raise UsageError(f"--trace {trace}: name a file in a folder that exists and may be written to")
        codes = asyncio.run(_transcribe_all(audio, job, platform, endpoints, quiet))
    raise typer.Exit(worst(codes))


def _options(numbers: dict[str, float | None]) -> dict[str, Any]:
    """The numeric options by the request's names. Raises UsageError that names the option."""
    from fanscribe.contracts.errors import UsageError

    for option, value in numbers.items():
        if value is not None and value <= 0:
            raise UsageError(f"{option} {value:g}: must be above 0")
        if value is not None and option != "--deadline" and value > 64:
            raise UsageError(f"{option} {value:g}: at most 64 speakers can be told apart")
    if numbers["--speakers"] and (numbers["--min-speakers"] or numbers["--max-speakers"]):
        raise UsageError("--speakers excludes --min-speakers and --max-speakers")
    least, most = numbers["--min-speakers"], numbers["--max-speakers"]
    if least and most and least > most:
        raise UsageError(f"--min-speakers {least:g}: must not be above --max-speakers {most:g}")
    return {
        "speakers": numbers["--speakers"],
        "min_speakers": least,
        "max_speakers": most,
        "deadline_s": numbers["--deadline"],
    }


def _check_options(options: dict[str, Any]) -> None:
    """Let the request itself judge them, once and before anything is started; its words become ours."""
    from fanscribe.contracts.errors import UsageError
    from fanscribe.pipeline.request import make_request

    try:
        make_request(**options)
    except UsageError as error:
        said = (
            str(error)
            .replace("(diarize=True)", "(--diarize)")
            .replace("diarize and per_channel", "--diarize and --per-channel")
        )
        for field, option in (("language: ", "--language: "), ("deadline_s: ", "--deadline: ")):
            said = said.replace(field, option)
        raise UsageError(said.removeprefix("request: ")) from error


def _check_output(job: _Job, inputs: list[str]) -> None:
    """Refuse an output that cannot be written before any work is done."""
    from fanscribe.contracts.errors import UsageError

    target = job.output
    if target is None:
        return
    if job.many:
        if target.exists() and not target.is_dir():
            raise UsageError(f"-o {target}: with several inputs this must be a folder")
        names = [_stem(each) for each in inputs]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise UsageError(
                f"-o {target}: several inputs would be written to {double[0]}; rename one of them"
            )
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"-o {target}: the folder cannot be made: {error.strerror}") from error
    folder = target if target.is_dir() else target.parent
    if not folder.is_dir():
        raise UsageError(f"-o {target}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"-o {target}: {folder} may not be written to")


async def _plan_all(inputs: list[str], job: _Job, platform: str, endpoints: Path | None) -> list[Exit]:
    import json

    from fanscribe.cli.tables import plan_table
    from fanscribe.client import AsyncClient
    from fanscribe.contracts.errors import FanscribeError
    from fanscribe.pipeline.description import describe
    from fanscribe.source import name_of

    codes: list[Exit] = []
    described: dict[str, Any] = {}
    async with AsyncClient(platform=platform, endpoints=endpoints) as client:
        for each in inputs:
            try:
                described[name_of(each)] = describe(await client.plan(each, **job.options))
            except FanscribeError as error:
                complain(error)
                codes.append(code_of(error))
    if job.json:
        print(json.dumps(described, indent=2))
    else:
        print("\n\n".join(plan_table(name, plan) for name, plan in described.items()))
    return codes


async def _transcribe_all(
    inputs: list[str], job: _Job, platform: str, endpoints: Path | None, quiet: bool
) -> list[Exit]:
    from fanscribe.cli.progress import Display
    from fanscribe.client import AsyncClient

    codes: list[Exit] = []
    async with AsyncClient(
        platform=platform, endpoints=endpoints, trace=job.trace, orchestrator=job.orchestrator
    ) as client:
        for each in inputs:
            with Display(quiet=quiet) as display:
                codes.append(await _transcribe_one(client, each, job, display, quiet))
    return codes


async def _transcribe_one(
    client: "AsyncClient", audio: str, job: _Job, display: "Display", quiet: bool
) -> Exit:
    from fanscribe.contracts.errors import FanscribeError
    from fanscribe.contracts.task import ResponseFormat
    from fanscribe.render import extension, render
    from fanscribe.source import name_of

    name = name_of(audio)
    try:
        transcript = await client.transcribe(
            audio, on_progress=lambda event: display.show(name, event), **job.options
        )
    except FanscribeError as error:
        complain(error)
        return code_of(error)
    shape = ResponseFormat(job.format)
    try:
        write(render(transcript, shape, file_id=_stem(audio)), _target(job, audio, extension(shape)))
    except FanscribeError as error:
        complain(error)
        return Exit.FAILED
    if not quiet:
        for warning in transcript.warnings:
            print(f"{name}: warning: {warning}", file=sys.stderr)
        for gap in transcript.gaps:
            print(f"{name}: gap from {gap.start:.1f} s to {gap.end:.1f} s: {gap.reason}", file=sys.stderr)
    if job.report:
        _say_report(name, transcript, job)
    return Exit.PARTIAL if transcript.partial else Exit.DONE


def _say_report(name: str, transcript: "Transcript", job: _Job) -> None:
    import json

    from fanscribe.cli.tables import report_table
    from fanscribe.pipeline.description import report

    about = report(transcript)
    print(json.dumps({name: about}) if job.json else report_table(name, about), file=sys.stderr)


def _stem(audio: str) -> str:
    from fanscribe.source import name_of

    return Path(name_of(audio)).stem or "audio"


def _target(job: _Job, audio: str, suffix: str) -> Path | None:
    if job.output is None:
        return None
    if job.many or job.output.is_dir():
        return job.output / f"{_stem(audio)}.{suffix}"
    return job.output
