"""Results that did not fit into the platform's answer, read from where they lie."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from fanscribe.contracts.errors import AnswerError, AudioError, TransportError
from fanscribe.contracts.large_result import LargeResult, checked, unpacked
from fanscribe.fetch import FetchPolicy, fetch


def read_result(
    output: Mapping[str, Any],
    policy: FetchPolicy | None = None,
    *,
    stopped: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """The whole output of an orchestrator's job. One that fitted comes back as it is.

    A result elsewhere is fetched by its URL while that holds, else from its bucket with this machine's own
    credentials (boto3). Blocking. Raises AnswerError for a result that is not what was promised, TransportError for
    one that cannot be fetched, StoppedError where `stopped`, asked between pieces, says so.
    """
    if not isinstance(output.get("result"), Mapping):
        return dict(output)
    try:
        result = LargeResult.model_validate(output["result"])
    except ValidationError as error:
        raise AnswerError("the result was too large, and the answer does not say where it lies") from error
    inside = result.data is not None
    try:
        body = unpacked(result) if inside else _fetched(result, policy or FetchPolicy(), stopped)
        return checked(body, result)
    except ValueError as error:
        where = "inside the answer" if inside else f"at {result.uri or 'its URL'}"
        raise AnswerError(f"the large result {where} {error}") from error


def _fetched(result: LargeResult, policy: FetchPolicy, stopped: Callable[[], bool] | None) -> bytes:
    bounded = replace(policy, max_bytes=result.size_bytes)
    failure: AudioError | None = None
    for reference in (result.url, result.uri):
        if reference is None:
            continue
        target = io.BytesIO()
        try:
            fetch(reference, target, bounded, stopped=stopped)
        except AudioError as error:
            failure = failure or error
        else:
            return target.getvalue()
    raise TransportError(f"the large result could not be fetched: {failure}") from failure
