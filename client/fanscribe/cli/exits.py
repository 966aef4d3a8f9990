"""How commands end: exit codes, and errors as one line on stderr."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from fanscribe.contracts.errors import FanscribeError


class Exit(IntEnum):
    """Exit codes of every command. PARTIAL: a transcript with stated gaps or without the speakers asked for."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    INTERRUPTED = 130


_WORST_FIRST = (Exit.INTERRUPTED, Exit.FAILED, Exit.USAGE, Exit.PARTIAL, Exit.DONE)


def worst(codes: list[Exit]) -> Exit:
    """The exit code of several inputs: failed before usage before partial."""
    return min(codes, key=_WORST_FIRST.index, default=Exit.DONE)


def code_of(error: "FanscribeError") -> Exit:
    """USAGE for what the caller must change; FAILED for what may pass by itself, as an unreachable URL."""
    from fanscribe.contracts.errors import UsageError

    return Exit.USAGE if isinstance(error, UsageError) and not error.retryable else Exit.FAILED


def complain(message: object) -> None:
    """One error on stderr, each line of it named as ours."""
    for line in str(message).splitlines() or [""]:
        print(f"fanscribe: {line}", file=sys.stderr)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into a line on stderr and an exit code; anything else is a bug and keeps its trace.

    Ctrl-C, SIGTERM and SIGHUP end in INTERRUPTED after what was under way has been cleaned up.
    """
    from fanscribe.contracts.errors import FanscribeError

    previous = {
        each: signal.signal(each, _interrupt)
        for each in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(each) is not signal.SIG_IGN  # as under nohup
    }
    try:
        yield
    except FanscribeError as error:
        complain(error)
        raise typer.Exit(code_of(error)) from error
    except KeyboardInterrupt as error:
        complain("interrupted; nothing is left running")
        raise typer.Exit(Exit.INTERRUPTED) from error
    except BrokenPipeError as error:
        sys.stderr.close()  # the reader of our output has gone, as with `| head`: nothing more can be said
        raise typer.Exit(Exit.FAILED) from error
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _interrupt(_signal: int, _frame: object) -> None:
    # The same way out as Ctrl-C, for which asyncio.run has its own handler.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's shell starts jobs with & so
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
