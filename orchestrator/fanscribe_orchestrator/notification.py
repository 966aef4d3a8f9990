"""A notification as its receiver gets it: the event, its JSON, its signature. Pure."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from fanscribe.contracts.orchestration import NotifyEvent

SIGNATURE_HEADER = "Fanscribe-Signature"
"""`t=<seconds since 1970>,v0=<HMAC-SHA256 in hex>` over `<t>.<body>`."""


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The signature header of a body that is sent at `timestamp`, seconds since 1970."""
    digest = hmac.new(secret, b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v0={digest}"


def event_id(job_id: str, event: NotifyEvent) -> str:
    """The same for each attempt, and for an orchestrator that was restarted and tells of the same job again."""
    return "evt_" + hashlib.sha256(f"{job_id}/{event}".encode()).hexdigest()[:32]


def body_of(
    event: NotifyEvent, job_id: str, told_at: int, more: Mapping[str, Any], largest_output_bytes: int
) -> bytes:
    """The JSON of a notification. `told_at`: seconds since 1970; `more`: `output` or `error`.

    An output of more bytes than `largest_output_bytes` is null, with its size in `output_bytes`.
    """
    head = {"id": event_id(job_id, event), "event": event.value, "job_id": job_id, "told_at": told_at}
    fields = dict(more)
    if fields.get("output") is not None:
        size = len(_json(fields["output"]))
        if size > largest_output_bytes:
            fields |= {"output": None, "output_bytes": size}
    return _json(head | fields)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
