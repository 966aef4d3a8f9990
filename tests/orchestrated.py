"""A local platform with an orchestrator worker in front of simulated ones: for tests of the orchestrator."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
from tests.simulated import simulated_variant

from fanscribe.contracts.job import JobState
from fanscribe.contracts.variant import Variant
from fanscribe.local.faults import FaultRule
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe_handlers.simulated.fleet import Fleet, Serving, simulated_workers

ORCHESTRATOR, WORDS, SPEAKERS, FALLBACK = "orchestrator", "words", "speakers", "fallback"


def deployment(endpoints: Iterable[tuple[str, Variant, int]]) -> str:
    """What FANSCRIBE_DEPLOYMENT says of endpoints: name (which is the id), variant, and most workers."""
    return json.dumps(
        [
            {
                "name": name,
                "id": name,
                "variant": variant.id,
                "variant_json": variant.model_dump_json(exclude_defaults=True),
                "workers": {"min": 0, "max": workers},
                "gpus": [],
                "idle_timeout_s": 60,
                "execution_timeout_s": 600,
                "prefetch": False,
            }
            for name, variant, workers in endpoints
        ]
    )


def orchestrator_spec(
    endpoints: Iterable[tuple[str, Variant, int]], env: Mapping[str, str] | None = None, **options: Any
) -> EndpointSpec:
    """An endpoint whose workers are real orchestrators, under the SDK, for these endpoints of the same platform."""
    timeout_s = options.setdefault("execution_timeout_s", 600.0)
    environment = {
        "RUNPOD_ENDPOINT_BASE_URL": "{url}/v2",
        "RUNPOD_API_KEY": "{key}",
        "FANSCRIBE_ALLOWED_ORIGINS": "{url}",
        "FANSCRIBE_DEPLOYMENT": deployment(endpoints),
        "FANSCRIBE_EXECUTION_TIMEOUT_S": f"{timeout_s:g}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    return EndpointSpec(
        ORCHESTRATOR,
        options.pop("command", (sys.executable, "-m", "fanscribe_orchestrator")),
        environment | dict(env or {}),
        scaler_value=0.1,
        idle_timeout_s=120.0,
        orchestrator=True,
        **options,
    )


@dataclass(slots=True)
class Caller:
    """Calls one endpoint of a local platform, as plain HTTP clients do."""

    http: httpx2.AsyncClient
    running: RunningPlatform
    endpoint: str = ORCHESTRATOR

    async def run(self, **body: Any) -> str:
        """Submit a job; its id."""
        return str((await self.post("run", {"input": body}))["id"])

    async def runsync(self, wait_ms: int = 90_000, **body: Any) -> JobState:
        """Submit a job and wait for it."""
        return JobState.model_validate(await self.post(f"runsync?wait={wait_ms}", {"input": body}))

    async def status(self, job_id: str) -> JobState:
        """The job's state."""
        return JobState.model_validate(await self.get(f"status/{job_id}"))

    async def done(self, job_id: str, look_s: float = 0.05) -> JobState:
        """Wait for the job's end."""
        while not (state := await self.status(job_id)).status.final:
            await asyncio.sleep(look_s)
        return state

    async def cancel(self, job_id: str) -> None:
        """Cancel the job."""
        await self.post(f"cancel/{job_id}", {})

    async def get(self, path: str) -> Any:
        """The body of an answer."""
        response = await self.http.get(self._url(path), headers=self._headers)
        return response.raise_for_status().json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The body of an answer."""
        response = await self.http.post(self._url(path), json=body, headers=self._headers)
        return response.raise_for_status().json()

    async def put(self, file: Path) -> str:
        """Store a file with the platform; the address under which its workers read it."""
        response = await self.http.put(
            f"{self.running.url}/objects", content=file.read_bytes(), headers=self._headers
        )
        return str(response.raise_for_status().json()["url"])

    async def jobs(self) -> dict[str, int]:
        """How many jobs the endpoint has had and has, by state."""
        return dict((await self.get("health"))["jobs"])

    def _url(self, path: str) -> str:
        return f"{self.running.url}/v2/{self.endpoint}/{path}"

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.running.key}"}


@dataclass(slots=True)
class Orchestrated:
    """A running platform: `orchestrator` and `words` call these endpoints, `fleet` are the simulated workers."""

    running: RunningPlatform
    http: httpx2.AsyncClient
    fleet: Fleet

    @property
    def orchestrator(self) -> Caller:
        """Calls to the orchestrator."""
        return Caller(self.http, self.running)

    def child(self, name: str = WORDS) -> Caller:
        """Calls to a child endpoint."""
        return Caller(self.http, self.running, name)

    async def fault(self, *rules: FaultRule) -> None:
        """Put these fault rules in place of those in force."""
        content = [
            {name: value for name, value in each.to_json().items() if name not in ("hits", "passed")}
            for each in rules
        ]
        response = await self.http.put(
            f"{self.running.url}/local/faults", json=content, headers={"Authorization": self.running.key}
        )
        response.raise_for_status()


@asynccontextmanager
async def orchestrated(
    *,
    words: Variant | None = None,
    speakers: Variant | None = None,
    fallback: Variant | None = None,
    workers: tuple[int, int] = (4, 1),
    env: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
    served: bool = True,
    copies: int = 1,
    **start_options: Any,
) -> AsyncIterator[Orchestrated]:
    """A platform with an orchestrator and simulated endpoints for words and speakers (and one more for words).

    With `served` false nobody works on the words. `env` and `spec` are for the orchestrator; further `copies` of it
    are called orchestrator-1 and so on.
    """
    children = [
        (WORDS, words or simulated_variant(), workers[0]),
        (SPEAKERS, speakers or simulated_variant("simulated-diarize", rtf=0.002), workers[1]),
    ]
    if fallback is not None:
        children.append((FALLBACK, fallback, workers[0]))
    orchestrator = orchestrator_spec(children, env, **dict(spec or {}))
    specs = [
        orchestrator,
        *(replace(orchestrator, name=f"{ORCHESTRATOR}-{number}") for number in range(1, copies)),
        *(EndpointSpec(name, max_workers=count, execution_timeout_s=3600.0) for name, _, count in children),
    ]
    servings = [
        Serving(name, variant, count, False) for name, variant, count in children if served or name != WORDS
    ]
    with start(specs, key="test", **start_options) as running:
        async with (
            httpx2.AsyncClient(timeout=120.0, trust_env=False) as http,
            simulated_workers(running.url, running.key, servings) as fleet,
        ):
            yield Orchestrated(running, http, fleet)
