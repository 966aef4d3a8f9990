"""Bodies in and out: bounded reading, JSON texts joined without parsing them again, errors as JSON."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fanscribe.local.job import Job, Status

MB = 1024 * 1024
RUN_LIMIT_BYTES = 10 * MB
RUNSYNC_LIMIT_BYTES = 20 * MB


class BodyLost(HTTPException):
    """The connection closed before the body was complete."""


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def reply(value: Any, status_code: int = 200) -> Response:
    """A JSON response."""
    return Response(encode(value), status_code, media_type="application/json")


def refusal(status_code: int, message: str) -> HTTPException:
    """An error to raise, answered as `{"error": message}`."""
    return HTTPException(status_code, message)


async def read_body(request: Request, limit_bytes: int, *, over_status: int = 413) -> bytes:
    """The body; answers `over_status` as soon as it is known to be longer than `limit_bytes`."""
    over = refusal(over_status, f"body is larger than {limit_bytes // MB} MB; send large inputs by reference")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise over
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit_bytes:
                raise over
            parts.append(part)
    except ClientDisconnect:
        raise BodyLost(400, "the connection closed before the body was complete") from None
    return b"".join(parts)


def whole_number(text: str) -> int | None:
    """A number of up to nine decimal digits; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def parse(body: bytes) -> Any:
    """JSON as the platform reads it, whatever the content type says; 400 for anything else."""
    try:
        return json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise refusal(400, f"body is not valid JSON: {error}") from None


def job_body(job: Job, *, full: bool = False) -> bytes:
    """The body of /status, /runsync and, with input and webhook (`full`), of the webhook."""
    head: dict[str, Any] = {"id": job.id, "status": job.status.value}
    for name, value in (
        ("delayTime", job.delay_ms()),
        ("executionTime", job.execution_ms()),
        ("workerId", job.worker_id),
        ("error", job.error if job.status is Status.FAILED or job.status is Status.TIMED_OUT else None),
        ("retries", job.retries or None),
        ("webhook", job.webhook if full else None),
    ):
        if value is not None:
            head[name] = value
    texts = {"output": job.output_json, "input": job.input_json if full else None}
    return join(head, texts)


def take_body(job: Job) -> bytes:
    """What a worker gets for one job."""
    head = {**job.passed_on, "id": job.id, "status": job.status.value, "delayTime": job.delay_ms()}
    head["retries"] = job.retries
    if job.webhook:
        head["webhook"] = job.webhook
    return join(head, {"input": job.input_json})


def join(head: dict[str, Any], texts: dict[str, bytes | None]) -> bytes:
    """One JSON object of plain values and of values that are JSON text already (None: left out)."""
    parts = [encode(head)[1:-1]] if head else []
    parts += [encode(name) + b":" + text for name, text in texts.items() if text is not None]
    return b"{" + b",".join(parts) + b"}"


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
