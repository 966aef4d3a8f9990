"""`python -m fanscribe.local`: run a platform until it is told to stop.

python -m fanscribe.local --endpoint echo='python my_handler.py' --port 8200
"""

import argparse
import asyncio
import contextlib
import errno
import json
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fanscribe.local.faults import FaultRule, Faults, rules_from_json
from fanscribe.local.machine import memory_limits, parse_size
from fanscribe.local.management.account import AccountError
from fanscribe.local.management.service import ManagementSettings, settings_from_files
from fanscribe.local.memory import NeverFitsError, check_fits
from fanscribe.local.platform import Behaviour
from fanscribe.local.process import KEY_VARIABLE
from fanscribe.local.queue import Retention
from fanscribe.local.server import Settings, serve
from fanscribe.local.spec import EndpointSpec, SpecError, check_names

USAGE, FAILED = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, serve, and return the exit code: 0 stopped, 1 failed, 2 usage."""
    options = _parser().parse_args(arguments)
    # httpx2 logs each webhook's URL, whose query may hold a secret.
    for name in ("uvicorn", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    said = _say_to_parent if options.config_stdin else _say_to_user
    try:
        settings, lifeline = _settings(options)
        bound = _bind(settings.host, settings.port)
    except PortTakenError as error:
        said("port_in_use", str(error))
        return FAILED
    except (NeverFitsError, SpecError, ValueError, OSError) as error:
        said("usage", str(error))
        return USAGE
    detached = options.config_stdin and not lifeline
    try:
        asyncio.run(_run(settings, bound, lifeline=lifeline, detached=detached))
    except AccountError as error:
        said("usage", str(error))
        return USAGE
    return 0


class PortTakenError(OSError):
    """Another program listens where the platform shall listen."""


def _say_to_user(kind: str, message: str) -> None:
    print(f"fanscribe.local: {message}", file=sys.stderr)


def _say_to_parent(kind: str, message: str) -> None:
    print(json.dumps({"error": message, "kind": kind}), flush=True)


async def _run(settings: Settings, bound: socket.socket, *, lifeline: bool, detached: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if lifeline:
        os.set_blocking(0, False)
        loop.add_reader(0, _parent_gone, stop)

    def ready(url: str, logs: Path) -> None:
        if detached:
            # Whoever started us will be gone: what is logged from here on goes where the workers' logs are.
            log = os.open(logs / "platform.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(log, 2)
            os.close(log)
        print(json.dumps({"url": url, "pid": os.getpid()}), flush=True)

    await serve(settings, bound, ready, stop)


def _parent_gone(stop: asyncio.Event) -> None:
    """The parent holds the other end of standard input and writes nothing to it: readable means closed."""
    with contextlib.suppress(BlockingIOError):
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            stop.set()


def _settings(options: argparse.Namespace) -> tuple[Settings, bool]:
    given: dict[str, Any] = json.loads(_first_line()) if options.config_stdin else {}
    specs = [EndpointSpec.from_json(value) for value in given.get("specs", [])]
    if options.specs is not None:
        try:
            listed = json.loads(options.specs.read_bytes())
        except ValueError as error:
            raise SpecError(f"{options.specs}: not valid JSON: {error}") from None
        if not isinstance(listed, list):
            raise SpecError(f"{options.specs}: must hold a JSON list of endpoint specs")
        specs += [EndpointSpec.from_json(value) for value in listed]
    specs += [_endpoint_option(text) for text in options.endpoint]
    management = ManagementSettings.from_json(given["management"]) if "management" in given else None
    management = management or settings_from_files(options.images, options.secrets, options.worker_limit)
    if not specs and not management.images:
        raise SpecError("no endpoints: give --endpoint NAME='COMMAND', --specs FILE or --images FILE")
    # Taken out in any case: workers inherit the rest of the environment.
    from_environment = os.environ.pop(KEY_VARIABLE, None)
    key = given.get("key") or from_environment or None
    if options.host not in ("127.0.0.1", "::1", "localhost") and key is None:
        raise SpecError("listening beyond this machine needs a key: set FANSCRIBE_LOCAL_KEY")
    if management.images and key is None:
        # Whoever may create endpoints may run what the images stand for in an environment of their choice.
        raise SpecError("creating endpoints (--images) needs a key: set FANSCRIBE_LOCAL_KEY")
    of_images = [rule.spec("image") for rule in management.images]
    limits = memory_limits(options.ram_limit, options.vram_limit, [*specs, *of_images])
    check_names(specs)
    check_fits(limits, specs)
    kept_s = options.keep_results
    behaviour = Behaviour(
        Retention() if kept_s is None else Retention(async_s=kept_s, sync_s=min(kept_s, Retention().sync_s)),
        rate_limits=not options.no_rate_limits,
        faults=Faults(_fault_rules(options.faults)),
    )
    settings = Settings(
        specs,
        limits,
        options.host,
        options.port,
        key,
        options.data_dir,
        behaviour=behaviour,
        management=management,
        url=options.url.rstrip("/") if options.url else None,
        metrics_namespace=options.cloudwatch,
    )
    return settings, bool(given.get("lifeline"))


def _first_line() -> bytes:
    """The configuration on standard input, read past no further than its line."""
    line = b""
    while not line.endswith(b"\n") and (part := os.read(0, 65536)):
        line += part
    return line


def _fault_rules(path: Path | None) -> list[FaultRule]:
    if path is None:
        return []
    try:
        return rules_from_json(json.loads(path.read_bytes()))
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from None


def _endpoint_option(text: str) -> EndpointSpec:
    name, equals, command = text.partition("=")
    if not equals or not command.strip():
        raise SpecError(f"--endpoint takes NAME='COMMAND', not {text!r}")
    return EndpointSpec(name=name, command=tuple(shlex.split(command)), max_workers=3)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio switches Nagle's algorithm off, which else holds each reply back 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port} is in use; choose another, or 0 for any free one") from error
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fanscribe.local", description="A local Runpod for any worker."
    )
    add = parser.add_argument
    add(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME='COMMAND'",
        help="serve a handler (repeatable)",
    )
    add("--specs", type=Path, metavar="FILE", help="a JSON list of endpoint specs")
    add(
        "--images",
        type=Path,
        metavar="FILE",
        help="a JSON list of image rules, for endpoints made by the API",
    )
    add("--secrets", type=Path, metavar="FILE", help="a JSON object of secrets that environments refer to")
    add("--worker-limit", type=int, metavar="N", help="the account's limit of workers over all endpoints")
    add("--host", default="127.0.0.1", help="other than loopback only with a key in FANSCRIBE_LOCAL_KEY")
    add("--url", help="where workers reach it, if elsewhere than it listens, as http://platform:8008")
    add(
        "--cloudwatch",
        metavar="NAMESPACE",
        help="print queue and workers of each endpoint every ten seconds, in CloudWatch's embedded metric format",
    )
    add("--port", type=int, default=0, help="0, the default, takes a free one")
    add(
        "--data-dir", type=Path, metavar="DIR", help="keep logs and objects here; default: a temporary folder"
    )
    add("--ram-limit", type=parse_size, metavar="SIZE", help="RAM for all workers, e.g. 12G")
    add("--vram-limit", type=parse_size, metavar="SIZE", help="GPU memory for all workers, e.g. 20G")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    add("--faults", type=Path, metavar="FILE", help="a JSON list of fault rules")
    add(
        "--keep-results",
        type=float,
        metavar="S",
        help="seconds a finished job is kept; default 1800, runsync 60",
    )
    add("--no-rate-limits", action="store_true", help="do not answer 429 where the platform would")
    add("--config-stdin", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
