"""From a job's input to a request and to a local file: everything that is refused before any child job is made."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fanscribe import media
from fanscribe.background import in_thread
from fanscribe.contracts.errors import DeadlineError, ErrorCode
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.fetch import Fetched, FetchPolicy, fetch
from fanscribe.job_input import Refused, checked
from fanscribe.pipeline.request import Request
from fanscribe.pipeline.run import Recording
from fanscribe.pipeline.sharing import Sharing
from fanscribe.presigned import reading_address
from fanscribe.scratch import no_room, scratch
from fanscribe.source import name_of
from fanscribe_orchestrator.settings import Settings

NOWHERE = "data:,"
"""In place of audio that came inside of a request, once it is on the disk: the request lives as long as its job."""


def traceparent_of(body: object) -> str | None:
    """The caller's span that an input names, before it is checked: refusals belong to the caller's trace, too."""
    named = body.get("traceparent") if isinstance(body, Mapping) else None
    return named if isinstance(named, str) else None


def read_input(body: object) -> OrchestratorInput:
    """The checked input of a job. Raises Refused; its message repeats no address and no text that was sent."""
    asked = checked(OrchestratorInput, body, "orchestrator")
    for name, text in (("audio", asked.audio), ("keyterms", " ".join(asked.keyterms))):
        if not _utf8(text):
            raise Refused(
                ErrorCode.INVALID_INPUT,
                f"field {name}: holds half a surrogate pair (\\ud800 to \\udfff): send whole characters",
            )
    return asked


def taken_from(job: dict[str, Any]) -> OrchestratorInput:
    """The checked input, taken out of the job: the SDK holds on to it, with all the audio that came inside.

    Raises Refused.
    """
    body = job.pop("input", None)
    asked = read_input(body)
    if isinstance(body, dict):
        body.clear()
    return asked


def request_of(asked: OrchestratorInput, left_s: float) -> Request:
    """What the pipeline is asked for. `left_s` seconds are left for it."""
    same = set(Request.model_fields) & set(OrchestratorInput.model_fields) - {"deadline_s"}
    fields: dict[str, Any] = {name: getattr(asked, name) for name in same}
    return Request.model_validate(fields | {"deadline_s": left_s})


@asynccontextmanager
async def recording_of(
    asked: OrchestratorInput,
    policy: FetchPolicy,
    settings: Settings,
    until: float,
    sharing: Sharing | None,
    report: Callable[[float], None],
) -> AsyncIterator[Recording]:
    """The audio, streamed to a scratch file that is removed afterwards; a clip or a single channel cut out of it.

    `report` gets the share of the download that is done, in the event loop. `until` is a time of the loop's clock.
    Audio that came inside of the request is let go of.
    Raises AudioError, DeadlineError, FanscribeError.
    """
    name = name_of(asked.audio)
    loop = asyncio.get_running_loop()

    def told(share: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have closed while the thread came to its end
            loop.call_soon_threadsafe(report, share)

    with scratch(name) as folder:
        file = folder / "audio"
        try:
            async with asyncio.timeout_at(until) as limit:
                fetched = await _left_behind(
                    lambda stopped: _download(asked.audio, file, policy, told, stopped)
                )
                if asked.audio.startswith("data:"):
                    asked.audio = NOWHERE
                whole = asked.clip is None and asked.channel is None
                async with contextlib.nullcontext() if sharing is None else sharing.decoding:
                    await in_thread(
                        lambda stopped: media.check_length(file, name, settings.max_audio_s, stopped)
                    )
                    if not whole:
                        file = await in_thread(
                            lambda stopped: _part(asked, file, name, settings.max_audio_s, stopped)
                        )
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineError(f"{name}: not fetched within the deadline; no job was made") from error
        except OSError as error:
            raise no_room(name, folder, error) from error
        address = await asyncio.to_thread(reading_address, asked.audio) if whole else None
        yield Recording(file, name, address, settings.max_audio_s, digest_of(asked, fetched))


def digest_of(asked: OrchestratorInput, fetched: Fetched) -> str:
    """What stands for the sound that was asked for: the bytes it comes from, and which part of them.

    Not the part's own bytes, which the next version of an encoder may write in another way.
    """
    if asked.clip is None and asked.channel is None:
        return fetched.sha256
    clip = (asked.clip.start, asked.clip.end) if asked.clip else None
    return hashlib.sha256(f"{fetched.sha256} {clip!r} {asked.channel!r}".encode()).hexdigest()


async def _left_behind(work: Callable[[Callable[[], bool]], Fetched]) -> Fetched:
    """Run `work` in a thread. When this is cancelled it is told to stop, and not waited for.

    A download looks up only when its server says something, and the platform ends a worker that takes long to
    cancel a job, with all the other jobs that it holds.
    """
    stopped = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stopped.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise


def _download(
    audio: str, file: Path, policy: FetchPolicy, report: Callable[[float], None], stopped: Callable[[], bool]
) -> Fetched:
    with file.open("wb") as target:
        return fetch(audio, target, policy, on_progress=report, stopped=stopped)


def _part(
    asked: OrchestratorInput,
    source: Path,
    name: str,
    max_audio_s: float,
    stopped: Callable[[], bool],
) -> Path:
    clip = (asked.clip.start, asked.clip.end) if asked.clip else None
    part = source.with_name("part.flac")
    with part.open("wb") as target:
        media.transcode(
            source, name, {asked.channel: target}, clip=clip, max_duration_s=max_audio_s, stopped=stopped
        )
    source.unlink()
    return part


def _utf8(text: str) -> bool:
    """Whether it can be written in UTF-8: JSON's escapes can spell what cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
