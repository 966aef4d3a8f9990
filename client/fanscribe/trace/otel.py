"""Traces to OpenTelemetry, where its libraries are there and configured; nothing of them is imported otherwise.

Configured means: the program that uses fanscribe has set a tracer provider, or the environment names a collector
(OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT). In the second case a provider of our own sends
there, as the other OTEL_ variables say; it is not made the program's.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from fanscribe.trace.facts import Status
from fanscribe.trace.spans import Kind, Span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import TracerProvider

COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_QUEUE = 65_536  # spans of one request come all at once; the library's own 2048 would drop those of a long recording

_log = logging.getLogger(__name__)

_given = threading.local()
"""The ids of the span that this thread sends just now."""


def provider(environment: Mapping[str, str] = os.environ) -> "TracerProvider | None":
    """The tracer provider to send to; None where OpenTelemetry is not in use."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

        found = get_tracer_provider()
        if not isinstance(found, ProxyTracerProvider | NoOpTracerProvider):
            return found
    if any(environment.get(each) for each in COLLECTOR_VARIABLES):
        return _own_provider()
    return None


def current_traceparent() -> str | None:
    """The span that the program which uses fanscribe is in just now, as W3C Trace Context writes it."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def export(spans: Sequence[Span], provider: "TracerProvider", *, sampled: bool = True) -> None:
    """Send the spans of a trace, parents first, with the times that they had.

    A provider of our own gives them our ids. One of the program gives them its own, though where the trace goes on
    with a caller's, they have the caller's trace id; the attribute `fanscribe.trace` holds ours. `sampled` is the
    caller's wish.
    """
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    tracer = provider.get_tracer("fanscribe", version("fanscribe"))
    contexts: dict[str, Context] = {}
    for each in spans:
        outer = contexts.get(each.parent or "") or _outer(each, sampled)
        attributes = {f"fanscribe.{name}": value for name, value in each.attributes.items()}
        attributes["fanscribe.kind"] = each.kind.value
        if each.kind is Kind.REQUEST:
            attributes["fanscribe.trace"] = each.trace
        if each.error:
            attributes["error.type"] = each.error
        if each.status is Status.CANCELLED:
            attributes["fanscribe.cancelled"] = True
        _given.trace, _given.span = int(each.trace, 16), int(each.id, 16)
        sent = tracer.start_span(
            f"fanscribe {each.name}" if each.kind is Kind.REQUEST else _name(each),
            context=outer,
            kind=SpanKind.CLIENT if each.kind is Kind.JOB else SpanKind.INTERNAL,
            attributes=attributes,
            start_time=int(each.at * 1e9),
        )
        if each.status is Status.ERROR:
            sent.set_status(StatusCode.ERROR, each.error)
        sent.end(end_time=int((each.at + each.duration_s) * 1e9))
        contexts[each.id] = set_span_in_context(sent, outer)


def _name(span: Span) -> str:
    """What spans of one kind share; ids belong into attributes, or nothing could be added up by name."""
    match span.kind:
        case Kind.JOB:
            return "job"
        case Kind.TASK:
            return f"task {span.attributes.get('stage', '')}".strip()
        case _:
            return f"{span.kind.value} {span.name}"


def _outer(root: Span, sampled: bool) -> "Context":
    """The context of the request's own span: the caller's span, or nothing at all."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if root.parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    caller = SpanContext(int(root.trace, 16), int(root.parent, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(caller), Context())


def _our_ids() -> "IdGenerator":
    """Gives each span the id that it has with us, so that whoever was called within it can name it as its parent."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class OurIds(IdGenerator):
        def generate_span_id(self) -> int:
            return int(_given.span)

        def generate_trace_id(self) -> int:
            return int(_given.trace)

    return OurIds()


@cache
def _own_provider() -> "TracerProvider | None":
    """Once a process: it sends from a thread of its own, and what is left when the process ends."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _log.warning(
            "%s is set, but a library of OpenTelemetry is missing (%s): pip install 'fanscribe[otel]'",
            " or ".join(COLLECTOR_VARIABLES),
            error,
        )
        return None
    resource = Resource({SERVICE_NAME: "fanscribe"}).merge(Resource.create())
    if "OTEL_SERVICE_NAME" not in os.environ:
        resource = resource.merge(Resource({SERVICE_NAME: "fanscribe"}))
    made = TracerProvider(resource=resource, id_generator=_our_ids())
    queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue))
    return made
