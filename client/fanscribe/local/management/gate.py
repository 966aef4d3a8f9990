"""What every management call passes: key, count, faults on purpose."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanscribe.local.access import check_caller
from fanscribe.local.faults import ERROR, LOST_REPLY, MANAGEMENT
from fanscribe.local.platform import Platform
from fanscribe.local.wire import encode, refusal

Refusal = Callable[[int, str], Response]


class Calls:
    """Management calls so far, those that were refused among them: somebody made them."""

    def __init__(self) -> None:
        self.reads = self.writes = 0
        self.operations: Counter[str] = Counter()

    def count(self, operation: str, *, write: bool) -> None:
        """Count one call."""
        self.operations[operation] += 1
        if write:
            self.writes += 1
        else:
            self.reads += 1

    def to_json(self) -> dict[str, Any]:
        """The counters as status shows them."""
        return {"reads": self.reads, "writes": self.writes, "operations": dict(self.operations)}


def problem(status: int, detail: str, errors: tuple[str, ...] = ()) -> Response:
    """An error as REST v2 answers it."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    return Response(encode(body), status, media_type="application/problem+json")


def admit(
    request: Request, platform: Platform, refuse: Refusal, *, query_key: bool = False
) -> Response | None:
    """The answer to a caller who may not call, or not now; None for one who may."""
    try:
        check_caller(request, platform, query_key=query_key)
        if platform.away:
            raise refusal(502, "the platform is restarting")
        if platform.closing.is_set():
            raise refusal(503, "the platform stops")
    except HTTPException as error:
        return refuse(error.status_code, error.detail)
    return None


async def through(
    platform: Platform,
    operation: str,
    target: str,
    carry_out: Callable[[], Awaitable[tuple[Response, bool]]],
    refuse: Refusal,
) -> Response:
    """Carry a call out unless a fault rule strikes before it; one may also strike its answer.

    `carry_out` gives the answer, and whether what was asked for is done.
    """
    rule = platform.faults.strike(ERROR, target, MANAGEMENT, operation)
    if rule is not None:
        if rule.status == HTTPStatus.TOO_MANY_REQUESTS:
            response = refuse(rule.status, "rate limit exceeded for the minute window, a fault on purpose")
            wait_s = max(1, round(rule.seconds))
            response.headers["Retry-After"] = str(wait_s)
            response.headers["RateLimit"] = f'"minute";r=0;t={wait_s}'
            return response
        await asyncio.sleep(rule.seconds)
        return refuse(rule.status, "a fault on purpose")
    response, done = await carry_out()
    if done:
        rule = platform.faults.strike(LOST_REPLY, target, operation=operation)
        if rule is not None:
            await asyncio.sleep(rule.seconds)
            return refuse(rule.status, "a fault on purpose; what was asked for is done")
    return response
