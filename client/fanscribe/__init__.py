"""fanscribe: transcripts that say who said what.

The public names are loaded when they are first used, so that `import fanscribe` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanscribe.client import AsyncClient, AsyncHandle, Client, Handle
    from fanscribe.contracts.errors import (
        AnswerError,
        AudioError,
        AuthenticationError,
        CatalogueError,
        DeadlineError,
        FanscribeError,
        JobCancelledError,
        JobError,
        JobLostError,
        JobTimedOutError,
        NotFoundError,
        PayloadTooLargeError,
        PlanError,
        PlatformError,
        RateLimitedError,
        TaskFailedError,
        TransportError,
        UsageError,
    )
    from fanscribe.contracts.task import ResponseFormat
    from fanscribe.contracts.transcript import Gap, Segment, TaskRecord, Transcript, Turn, Word
    from fanscribe.pipeline.events import Event

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "client",
    "AsyncHandle": "client",
    "Client": "client",
    "Handle": "client",
    "AnswerError": "contracts.errors",
    "AudioError": "contracts.errors",
    "AuthenticationError": "contracts.errors",
    "CatalogueError": "contracts.errors",
    "DeadlineError": "contracts.errors",
    "FanscribeError": "contracts.errors",
    "JobCancelledError": "contracts.errors",
    "JobError": "contracts.errors",
    "JobLostError": "contracts.errors",
    "JobTimedOutError": "contracts.errors",
    "NotFoundError": "contracts.errors",
    "PayloadTooLargeError": "contracts.errors",
    "PlanError": "contracts.errors",
    "PlatformError": "contracts.errors",
    "RateLimitedError": "contracts.errors",
    "TaskFailedError": "contracts.errors",
    "TransportError": "contracts.errors",
    "UsageError": "contracts.errors",
    "ResponseFormat": "contracts.task",
    "Gap": "contracts.transcript",
    "Segment": "contracts.transcript",
    "TaskRecord": "contracts.transcript",
    "Transcript": "contracts.transcript",
    "Turn": "contracts.transcript",
    "Word": "contracts.transcript",
    "Event": "pipeline.events",
}

__all__ = [
    "AnswerError",
    "AsyncClient",
    "AsyncHandle",
    "AudioError",
    "AuthenticationError",
    "CatalogueError",
    "Client",
    "DeadlineError",
    "Event",
    "FanscribeError",
    "Gap",
    "Handle",
    "JobCancelledError",
    "JobError",
    "JobLostError",
    "JobTimedOutError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PlanError",
    "PlatformError",
    "RateLimitedError",
    "ResponseFormat",
    "Segment",
    "TaskFailedError",
    "TaskRecord",
    "Transcript",
    "TransportError",
    "Turn",
    "UsageError",
    "Word",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fanscribe' has no attribute {name!r}")
    return getattr(import_module(f"fanscribe.{home}"), name)
