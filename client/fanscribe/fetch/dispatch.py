"""A reference goes to the reader of its scheme."""

import time
from collections.abc import Callable
from typing import BinaryIO

import httpx2

from fanscribe.contracts.errors import AudioRefusedError
from fanscribe.fetch.address import Resolver, resolve
from fanscribe.fetch.data import fetch_data
from fanscribe.fetch.policy import Fetched, FetchPolicy
from fanscribe.fetch.s3 import fetch_s3
from fanscribe.fetch.sink import Sink, Watch
from fanscribe.fetch.web import Web, label_of


def fetch(
    reference: str,
    target: BinaryIO,
    policy: FetchPolicy | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    resolver: Resolver = resolve,
    transport: httpx2.BaseTransport | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Write what `reference` (https URL, s3://bucket/key, data: URI) names to `target`, from its position on.

    `on_progress` is told the share done, 0 to 1, where the size is known. Messages and logs never hold the
    query or the user of a URL, which may be secrets. Blocking; `stopped` is asked between pieces, so that the
    longest delay is the policy's `read_timeout_s`.

    Raises AudioRefusedError (scheme, address, redirect or size not allowed), AudioUnreachableError (network,
    HTTP 4xx or 5xx, time), StoppedError, and OSError when the target cannot be written.
    """
    policy = policy or FetchPolicy()
    scheme = reference.partition(":")[0].lower()
    if scheme == "data":
        watch = Watch(policy, "the data: URI", on_progress, stopped, clock, sleep)
        return fetch_data(reference, Sink(target, watch), watch)
    watch = Watch(policy, label_of(reference), on_progress, stopped, clock, sleep)
    if scheme == "s3":
        return fetch_s3(reference, Sink(target, watch), watch)
    if scheme in ("https", "http"):
        return Web(watch, resolver, transport).fetch(reference, Sink(target, watch))
    raise AudioRefusedError(f"{watch.label}: give an https URL, s3://bucket/key, or a data: URI")
