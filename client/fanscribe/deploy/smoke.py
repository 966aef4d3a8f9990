"""One tiny real job for each endpoint: it starts, answers, and is the variant that it should be."""

import asyncio
import base64
import io
import math
import struct
import time
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.contracts.errors import AnswerError, DeadlineError, FanscribeError, UsageError
from fanscribe.contracts.job import error_of
from fanscribe.contracts.orchestration import OrchestratorAbout
from fanscribe.contracts.task import Stage
from fanscribe.deploy.management import Management
from fanscribe.endpoint import Endpoint

TONE_S = 2.0
"""How long the tone is that the jobs are about, in seconds."""

_RATE_HZ = 16_000
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Smoke:
    """How one endpoint did; `seconds` from sending to the answer, `cold`: a worker had to be started."""

    endpoint: str
    seconds: float
    cold: bool
    error: FanscribeError | None = None


async def smoke(
    management: Management,
    endpoints: tuple[DeployedEndpoint, ...],
    *,
    deadline_s: float,
    done: Callable[[Smoke], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Smoke]:
    """Send each endpoint its job, all at once, and wait at most `deadline_s` seconds; `done` hears of each."""

    async def one(endpoint: DeployedEndpoint) -> Smoke:
        return await _tried(endpoint.name, lambda: _of_variant(management, endpoint, deadline_s), clock, done)

    return list(await asyncio.gather(*(one(each) for each in endpoints)))


async def smoke_orchestrator(
    management: Management,
    identity: str,
    name: str,
    *,
    diarize: bool,
    deadline_s: float,
    done: Callable[[Smoke], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Smoke:
    """Send the orchestrator a request that goes through the whole pipeline; it needs an endpoint that transcribes,
    and one that diarizes for `diarize`."""
    return await _tried(
        name, lambda: _of_pipeline(management, identity, name, diarize, deadline_s), clock, done
    )


def tone() -> bytes:
    """A quiet tone as WAV, 16 kHz mono: audio that every engine takes and none finds speech in."""
    samples = (
        round(2000 * math.sin(2 * math.pi * 220 * i / _RATE_HZ)) for i in range(int(TONE_S * _RATE_HZ))
    )
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(b"".join(struct.pack("<h", each) for each in samples))
    return target.getvalue()


def _tone_inline() -> str:
    return f"data:audio/wav;base64,{base64.b64encode(tone()).decode()}"


def task_for(endpoint: DeployedEndpoint) -> dict[str, Any]:
    """The job's input. Raises UsageError for a variant of which no stage can be tried with a tone."""
    audio = _tone_inline()
    stages = endpoint.variant.stages
    if Stage.TRANSCRIBE in stages or Stage.DIARIZE in stages:
        return {"audio": audio}
    if Stage.ALIGN in stages:
        segments = [{"start": 0.0, "end": TONE_S, "text": "hello"}]
        return {"audio": audio, "language": "en", "segments": segments}
    raise UsageError(f"smoke: endpoint {endpoint.name} has no stage that a tone could try")


async def _tried(
    name: str,
    ask: Callable[[], Awaitable[dict[str, Any]]],
    clock: Callable[[], float],
    done: Callable[[Smoke], None],
) -> Smoke:
    began = clock()
    try:
        output = await ask()
        result = Smoke(name, clock() - began, bool((output.get("timing") or {}).get("cold_start")))
    except FanscribeError as error:
        result = Smoke(name, clock() - began, False, error)
    done(result)
    return result


async def _of_variant(
    management: Management, deployed: DeployedEndpoint, deadline_s: float
) -> dict[str, Any]:
    """The endpoint's answer to its tiny job, which must be by the right variant."""
    output = await _answer(management, deployed.id, deployed.name, task_for(deployed), deadline_s)
    if output.get("variant") != deployed.variant.id:
        told = output.get("variant") or "no variant of ours"
        raise AnswerError(f"endpoint {deployed.name} answered as {told}, not as {deployed.variant.id}")
    return output


async def _of_pipeline(
    management: Management, identity: str, name: str, diarize: bool, deadline_s: float
) -> dict[str, Any]:
    """The orchestrator's answer to a tone: a transcript without gaps."""
    task = {"audio": _tone_inline(), "diarize": diarize, "cache": False}
    output = await _answer(management, identity, name, task, deadline_s)
    try:
        about = OrchestratorAbout.model_validate(output)
    except ValidationError as error:
        raise AnswerError(f"endpoint {name} answered with something that is no transcript of ours") from error
    if not {"durable", "segments"} <= output.keys():
        raise AnswerError(f"endpoint {name} answered with something that is no transcript of ours")
    if about.partial:
        raise AnswerError(
            f"endpoint {name} answered with a transcript that has gaps; `fanscribe logs {name}` says why"
        )
    return output


async def _answer(
    management: Management, identity: str, name: str, task: dict[str, Any], deadline_s: float
) -> dict[str, Any]:
    endpoint = Endpoint(management.http, management.data_url, identity, management.key)
    state = await endpoint.submit(task)
    try:
        async with asyncio.timeout(deadline_s):
            while not state.status.final:
                await asyncio.sleep(_POLL_S)
                state = await endpoint.status(state.id)
    except TimeoutError as error:
        await endpoint.cancel(state.id)
        raise DeadlineError(
            f"endpoint {name}: no answer after {deadline_s:g} s; the job is {state.status}, and was cancelled"
        ) from error
    except asyncio.CancelledError:
        await asyncio.shield(endpoint.cancel(state.id))
        raise
    if (failed := error_of(state, name)) is not None:
        raise failed
    if not isinstance(state.output, dict):
        raise AnswerError(f"endpoint {name} answered with something that is no JSON object")
    return state.output
