"""The state as Prometheus text (exposition format 0.0.4)."""

from collections.abc import Iterable, Mapping
from typing import Any

_PREFIX = "fanscribe_local_"
Sample = tuple[Mapping[str, str], float]


def exposition(state: Mapping[str, Any]) -> str:
    """Metrics of a status snapshot."""
    endpoints = state["endpoints"]
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, values: Iterable[Sample]) -> None:
        lines.append(f"# HELP {_PREFIX}{name} {text}")
        lines.append(f"# TYPE {_PREFIX}{name} {kind}")
        samples(name, values)

    def samples(name: str, values: Iterable[Sample]) -> None:
        for labels, value in values:
            inner = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
            shown = f"{{{inner}}}" if inner else ""
            lines.append(f"{_PREFIX}{name}{shown} {_figure(value)}")

    def by_endpoint(key: str) -> list[Sample]:
        return [({"endpoint": each["name"]}, float(each[key])) for each in endpoints]

    metric("uptime_seconds", "gauge", "Time since the platform started.", [({}, state["uptime_s"])])
    metric("jobs_queued", "gauge", "Jobs that wait.", by_endpoint("queued"))
    metric("jobs_running", "gauge", "Jobs that workers hold.", by_endpoint("running"))
    metric(
        "jobs_total",
        "counter",
        "Jobs by what became of them.",
        [
            ({"endpoint": each["name"], "event": event.lower()}, float(count))
            for each in endpoints
            for event, count in each["totals"].items()
        ],
    )
    for name, text in (("delay", "from submission to hand-out"), ("execution", "from hand-out to the end")):
        full = f"job_{name}_seconds"
        metric(full, "summary", f"Time {text} of all jobs.", [])
        samples(f"{full}_sum", by_endpoint(f"{name}_s"))
        samples(f"{full}_count", by_endpoint("timed_jobs"))
    metric(
        "workers",
        "gauge",
        "Workers by state.",
        [
            ({"endpoint": each["name"], "state": name}, float(_count(each, name)))
            for each in endpoints
            for name in ("initializing", "idle", "running", "draining")
        ],
    )
    metric("endpoint_throttled", "gauge", "1 while a worker waits for memory.", by_endpoint("throttled"))
    metric(
        "worker_memory_bytes",
        "gauge",
        "Memory that a worker takes.",
        [
            ({"endpoint": each["name"], "worker": worker["id"]}, float(worker["rss"]))
            for each in endpoints
            for worker in each["workers"]
            if worker["rss"] is not None
        ],
    )
    for name, value in state["memory"].items():
        metric(f"memory_{name}_bytes", "gauge", f"Memory: {name.replace('_', ' ')}.", [({}, float(value))])
    metric(
        "fault_hits_total",
        "counter",
        "How often a fault rule struck.",
        [
            ({"rule": str(number), "kind": rule["kind"]}, float(rule["hits"]))
            for number, rule in enumerate(state["faults"])
        ],
    )
    calls = state.get("management", {})
    metric(
        "management_calls_total",
        "counter",
        "Calls of the management API.",
        [({"kind": kind}, float(calls.get(f"{kind}s", 0))) for kind in ("read", "write")],
    )
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return repr(int(value) if float(value).is_integer() else value)


def _count(endpoint: Mapping[str, Any], state: str) -> int:
    return sum(worker["state"] == state for worker in endpoint["workers"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
