"""One tiny real job for each endpoint: it starts, answers, and is the variant that it should be."""

import asyncio
import base64
import io
import math
import struct
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.contracts.errors import AnswerError, DeadlineError, FanscribeError, UsageError
from fanscribe.contracts.job import JobState, error_of
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
        began = clock()
        try:
            output = await _answer(management, endpoint, deadline_s)
            result = Smoke(
                endpoint.name, clock() - began, bool((output.get("timing") or {}).get("cold_start"))
            )
        except FanscribeError as error:
            result = Smoke(endpoint.name, clock() - began, False, error)
        done(result)
        return result

    return list(await asyncio.gather(*(one(each) for each in endpoints)))


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


def task_for(endpoint: DeployedEndpoint) -> dict[str, Any]:
    """The job's input. Raises UsageError for a variant of which no stage can be tried with a tone."""
    audio = f"data:audio/wav;base64,{base64.b64encode(tone()).decode()}"
    stages = endpoint.variant.stages
    if Stage.TRANSCRIBE in stages or Stage.DIARIZE in stages:
        return {"audio": audio}
    if Stage.ALIGN in stages:
        segments = [{"start": 0.0, "end": TONE_S, "text": "hello"}]
        return {"audio": audio, "language": "en", "segments": segments}
    raise UsageError(f"smoke: endpoint {endpoint.name} has no stage that a tone could try")


async def _answer(management: Management, deployed: DeployedEndpoint, deadline_s: float) -> dict[str, Any]:
    endpoint = Endpoint(management.http, management.data_url, deployed.id, management.key)
    state = await endpoint.submit(task_for(deployed))
    try:
        async with asyncio.timeout(deadline_s):
            while not state.status.final:
                await asyncio.sleep(_POLL_S)
                state = await endpoint.status(state.id)
    except TimeoutError as error:
        await endpoint.cancel(state.id)
        raise DeadlineError(
            f"endpoint {deployed.name}: no answer after {deadline_s:g} s; the job is {state.status}, and was cancelled"
        ) from error
    except asyncio.CancelledError:
        await asyncio.shield(endpoint.cancel(state.id))
        raise
    return _checked(deployed, state)


def _checked(deployed: DeployedEndpoint, state: JobState) -> dict[str, Any]:
    if error := error_of(state, deployed.name):
        raise error
    if not isinstance(state.output, dict) or state.output.get("variant") != deployed.variant.id:
        told = state.output.get("variant") if isinstance(state.output, dict) else None
        wanted = deployed.variant.id
        raise AnswerError(
            f"endpoint {deployed.name} answered as {told or 'no variant of ours'}, not as {wanted}"
        )
    return state.output
