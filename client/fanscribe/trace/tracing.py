"""One request under observation: what it noted becomes a trace when it ends, in whatever way it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fanscribe.trace import otel
from fanscribe.trace.facts import RequestFacts
from fanscribe.trace.file import write
from fanscribe.trace.recorder import Recorder
from fanscribe.trace.spans import Scalar, spans_of
from fanscribe.trace.summary import Summary, summary_of
from fanscribe.trace.traceparent import Ids

_log = logging.getLogger(__name__)


@asynccontextmanager
async def tracing(
    file: Path | None,
    about: Mapping[str, Scalar] | None = None,
    traceparent: str | None = None,
    ended: Callable[[Summary], None] = lambda summary: None,
) -> AsyncIterator[Recorder]:
    """Record one request: its trace goes to `file`, and to OpenTelemetry where that is in use.

    `about` is told of the request as a whole; it must hold neither text nor secrets. The trace goes on with the
    caller's where `traceparent` names one, else with the OpenTelemetry span that we are in. `ended` gets the figures
    when all is over. That a trace could not be written is logged: no request fails for its trace.
    """
    recorder = Recorder(Ids.within(traceparent or otel.current_traceparent()))
    recorder.about.update(about or {})
    try:
        yield recorder
    except (Exception, asyncio.CancelledError) as error:
        await asyncio.to_thread(_end, recorder.facts(error), recorder.ids, file, ended)
        raise
    await asyncio.to_thread(_end, recorder.facts(), recorder.ids, file, ended)


def _end(facts: RequestFacts, ids: Ids, file: Path | None, ended: Callable[[Summary], None]) -> None:
    """Make the trace and send it; in a thread, since that of a long recording takes tenths of a second."""
    spans = spans_of(facts, ids)
    ended(summary_of(spans))
    if file is not None:
        try:
            write(file, spans)
        except OSError as error:
            _log.warning("%s cannot be written (%s): the trace is lost", file, error.strerror or error)
    provider = otel.provider()
    if provider is not None:
        otel.export(spans, provider, sampled=ids.sampled)
