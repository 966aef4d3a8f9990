"""What happened to one request, and when: a trace of spans, written as JSON lines and sent to OpenTelemetry.

`facts` and `recorder` take down what happens; `phases` and `spans` make the trace of it, `summary` its figures and
`rows` its drawing (pure); `file` and `otel` are where it goes, `page` shows it in a browser.
"""

from fanscribe.trace.file import traces_file
from fanscribe.trace.recorder import Recorder
from fanscribe.trace.summary import Summary
from fanscribe.trace.tracing import tracing

__all__ = ["Recorder", "Summary", "traces_file", "tracing"]
