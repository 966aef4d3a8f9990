"""An orchestrator worker: takes jobs from the platform through its SDK, several at a time."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from fanscribe import logs
from fanscribe.contracts.errors import UsageError
from fanscribe.endpoint import open_http
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.sharing import Sharing
from fanscribe.worker_environment import SettingsError
from fanscribe_orchestrator.handler import Orchestrator
from fanscribe_orchestrator.memory import keep_memory_flat
from fanscribe_orchestrator.notify import Notifier
from fanscribe_orchestrator.outlet import Job, Outlet
from fanscribe_orchestrator.oversize import Outbox
from fanscribe_orchestrator.places import Place, open_place
from fanscribe_orchestrator.settings import Settings, origin_of

_log = logging.getLogger(__name__)

_SENDING_S = 20.0
"""How long the platform may take for a progress report or a chunk of a stream, in seconds."""

_FURTHER_THREADS = 16
"""Threads beside those for one download of each request, and for the decoding: merging, hashing, keeping results."""


def serve() -> None:
    """Run an orchestrator worker until the platform stops it. A wrong environment ends the process with status 2."""
    keep_memory_flat()
    # At its default level the SDK logs what handlers return, which is what people said.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    try:
        logs.configure(os.environ)
        settings = Settings.from_env(os.environ)
        notifier = Notifier.from_env(os.environ)
        place, outbox = open_place(os.environ, settings.base_url), Outbox.from_env(os.environ)
    except (SettingsError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error

    import runpod

    orchestrator: Orchestrator | None = None

    async def handle(job: Job) -> dict[str, Any]:
        nonlocal orchestrator
        if orchestrator is None:  # what it opens belongs to the SDK's event loop
            asyncio.get_running_loop().set_default_executor(threads_for(settings))
            platform = platform_of(settings, place)
            orchestrator = Orchestrator(settings, platform, sdk_outlet(), place, outbox, notifier)
        return await orchestrator.handle(job)

    runpod.serverless.start({"handler": handle, "concurrency_modifier": lambda current: settings.jobs_held})


def threads_for(settings: Settings) -> ThreadPoolExecutor:
    """Threads enough that slow downloads, one for each request, hold up nothing else."""
    count = settings.jobs_held + settings.decodes + _FURTHER_THREADS
    return ThreadPoolExecutor(count, thread_name_prefix="orchestrator")


def platform_of(settings: Settings, place: Place) -> Platform:
    """The platform whose endpoints are called. Made in the event loop that will use it."""
    http = open_http(proxied=not settings.local)
    platform = Platform(
        http,
        settings.base_url,
        settings.api_key,
        results=place.store,
        learned=place.learned,
        sharing=Sharing(settings.decodes),
    )
    if settings.local:
        store = ObjectStore(http, origin_of(settings.base_url), settings.api_key)
        platform = replace(platform, name="local", objects=store)
    return platform


def sdk_outlet() -> Outlet:
    """Progress and chunks by the SDK's own calls, over one session for all jobs.

    Its `progress_update` would start a thread, an event loop and a connection for each report. Where the platform
    named no address (the SDK's local test) nothing is sent.
    """
    if not os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT"):
        return Outlet()
    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_http import send_result, stream_result

    session = AsyncClientSession()

    async def progress(job: Job, said: dict[str, Any]) -> None:
        await _bounded(send_result(session, {"status": "IN_PROGRESS", "output": said}, job))

    async def chunk(job: Job, said: dict[str, Any]) -> None:
        await _bounded(stream_result(session, {"output": said}, job))

    return Outlet(progress, chunk)


async def _bounded(sending: Coroutine[Any, Any, None]) -> None:
    """Send, or give up: the SDK logs what the platform refuses, and would wait ten minutes for one that is silent."""
    try:
        async with asyncio.timeout(_SENDING_S):
            await sending
    except TimeoutError:
        _log.warning("the platform did not take a report within %s s", _SENDING_S)
