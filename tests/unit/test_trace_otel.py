"""Traces sent to OpenTelemetry."""

import asyncio
import gzip
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from opentelemetry import trace as api
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.traced import WALL_S, cold_job, ids, job, request, task

from fanscribe.contracts.errors import UsageError
from fanscribe.trace import otel
from fanscribe.trace.facts import Role, Status
from fanscribe.trace.file import read
from fanscribe.trace.spans import spans_of
from fanscribe.trace.traceparent import Ids
from fanscribe.trace.tracing import tracing


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(memory: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(memory))
    yield made
    made.shutdown()


@pytest.fixture
def in_use(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """The program has set this provider."""
    monkeypatch.setattr(api, "get_tracer_provider", lambda: provider)
    return provider


def by_name(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {each.name: each for each in memory.get_finished_spans()}


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def test_spans_keep_their_times_parents_and_attributes(
    provider: TracerProvider, memory: InMemorySpanExporter
) -> None:
    spans = spans_of(request(task(cold_job())), ids("a" * 32))
    otel.export(spans, provider)
    sent = by_name(memory)
    assert len(memory.get_finished_spans()) == len(spans)
    root, done = sent["fanscribe request"], sent["job"]
    assert root.parent is None
    chain = [sent["phase load"], done, sent["task transcribe"], sent["stage transcribe"], root]
    for child, parent in itertools.pairwise(chain):
        assert child.parent is not None
        assert child.parent.span_id == id_of(parent)
        assert (child.start_time or 0) >= (parent.start_time or 0)
        assert (child.end_time or 0) <= (parent.end_time or 0)
    assert done.start_time == pytest.approx((WALL_S + 1.0) * 1e9, abs=1e3)
    assert (done.end_time or 0) - (done.start_time or 0) == pytest.approx(6.2e9, abs=1e3)
    assert done.kind is api.SpanKind.CLIENT
    assert done.attributes is not None
    assert done.attributes["fanscribe.worker_id"] == "w1"
    assert done.attributes["fanscribe.load_s"] == 2.5
    assert root.attributes is not None
    assert root.attributes["fanscribe.trace"] == "a" * 32


def test_how_things_ended_is_told(provider: TracerProvider, memory: InMemorySpanExporter) -> None:
    failed = job(status=Status.ERROR, error="JobLostError", timing=None)
    left = job(status=Status.CANCELLED, role=Role.HEDGE, timing=None, job_id="j2", began=failed.began + 0.5)
    otel.export(spans_of(request(task(failed, left)), ids()), provider)
    one, two = sorted(
        (each for each in memory.get_finished_spans() if each.name == "job"),
        key=lambda each: each.start_time or 0,
    )
    assert one.attributes is not None
    assert two.attributes is not None
    assert (one.status.status_code, one.attributes["error.type"]) == (api.StatusCode.ERROR, "JobLostError")
    assert (two.status.status_code, two.attributes["fanscribe.cancelled"]) == (api.StatusCode.UNSET, True)


async def test_a_request_goes_on_with_the_callers_trace(
    in_use: TracerProvider, memory: InMemorySpanExporter
) -> None:
    async with tracing(None, traceparent=f"00-{'a' * 32}-{'b' * 16}-01") as recorder:
        pass
    (sent,) = memory.get_finished_spans()
    assert sent.context is not None
    assert sent.parent is not None
    assert (sent.context.trace_id, sent.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert recorder.ids.trace == "a" * 32


async def test_a_caller_who_does_not_sample_gets_no_spans(
    in_use: TracerProvider, memory: InMemorySpanExporter
) -> None:
    async with tracing(None, traceparent=f"00-{'a' * 32}-{'b' * 16}-00"):
        pass
    assert memory.get_finished_spans() == ()


async def test_a_request_lies_within_the_programs_own_span(
    in_use: TracerProvider, memory: InMemorySpanExporter
) -> None:
    with in_use.get_tracer("test").start_as_current_span("theirs") as theirs, pytest.raises(UsageError):
        async with tracing(None) as recorder:
            raise UsageError("no")
    sent = by_name(memory)["fanscribe request"]
    assert sent.parent is not None
    assert sent.parent.span_id == theirs.get_span_context().span_id
    assert recorder.ids.trace == f"{theirs.get_span_context().trace_id:032x}"
    assert sent.status.status_code is api.StatusCode.ERROR


def test_a_disabled_sdk_gets_nothing(in_use: TracerProvider) -> None:
    assert otel.provider({}) is in_use
    assert otel.provider({"OTEL_SDK_DISABLED": "true"}) is None


def test_a_named_collector_gets_a_provider_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    otel._own_provider.cache_clear()
    try:
        made = otel.provider()
        assert isinstance(made, TracerProvider)
        assert made.resource.attributes["service.name"] == "fanscribe"
        assert made is otel.provider()
        assert api.get_tracer_provider() is not made
        made.shutdown()
    finally:
        otel._own_provider.cache_clear()


class _Collector(BaseHTTPRequestHandler):
    """Takes what is exported."""

    taken: ClassVar[list[ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


async def test_a_collector_gets_the_spans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _Collector.taken.clear()
    with HTTPServer(("127.0.0.1", 0), _Collector) as collector:
        serving = threading.Thread(target=collector.serve_forever, daemon=True)
        serving.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        otel._own_provider.cache_clear()
        try:
            async with tracing(tmp_path / "trace.jsonl", {"model": "auto"}) as recorder:
                recorder.task(task(cold_job()))
            made = otel.provider()
            assert isinstance(made, TracerProvider)
            assert await asyncio.to_thread(made.force_flush)
            await asyncio.to_thread(made.shutdown)
        finally:
            otel._own_provider.cache_clear()
            collector.shutdown()
            serving.join()
    scopes = [
        scope for taken in _Collector.taken for each in taken.resource_spans for scope in each.scope_spans
    ]
    assert {each.scope.name for each in scopes} == {"fanscribe"}
    sent = {span.span_id.hex(): span for scope in scopes for span in scope.spans}
    spans = read(tmp_path / "trace.jsonl").traces[0].spans
    # Who was called within a span can name it as its parent.
    assert {(each.id, each.parent or "", each.trace) for each in spans} == {
        (name, span.parent_span_id.hex(), span.trace_id.hex()) for name, span in sent.items()
    }
    names = [span.name for span in sent.values()]
    assert {"fanscribe request", "task transcribe", "job", "phase load"} <= set(names)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    otel._own_provider.cache_clear()
    try:
        assert otel.provider({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    finally:
        otel._own_provider.cache_clear()
    assert "fanscribe[otel]" in caplog.text


def test_nothing_of_it_is_imported_where_it_is_not_in_use() -> None:
    script = (
        "import asyncio, sys\n"
        "from fanscribe.trace import tracing\n"
        "async def main():\n"
        "    async with tracing(None): pass\n"
        "asyncio.run(main())\n"
        "print([each for each in sys.modules if each.startswith('opentelemetry')])\n"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_ids_of_spans_are_new_each_time() -> None:
    made = Ids()
    assert made.span() != made.span()
