"""Settings that a worker reads from its environment, whichever worker it is."""

import os
from collections.abc import Mapping

from pydantic import ValidationError


class SettingsError(Exception):
    """The environment is wrong; the message names the variable and what it may hold."""


def cores() -> int:
    """Cores that this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number(environ: Mapping[str, str], name: str, default: float) -> float:
    """The number of 1 or more that a variable holds. Raises SettingsError."""
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise SettingsError(f"{name} is {text!r}: set it to a number of 1 or more")
    return value


def first_fault(error: ValidationError) -> str:
    """Where the first fault lies, and what it is, without the value."""
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'it'}: {fault['msg']}"
