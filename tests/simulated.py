"""A local platform with simulated workers, and a client's run on it: for tests and benchmarks of the fan-out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.variant import Variant
from fanscribe.endpoint import open_http
from fanscribe.local.faults import FaultRule
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.events import Listener, ignore
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, transcribe
from fanscribe.results import LearnedFactors, ResultStore
from fanscribe_handlers.settings import read_variant
from fanscribe_handlers.simulated.fleet import Fleet, Serving, simulated_workers
from fanscribe_handlers.simulated.recording import CodedRecording

WORDS, SPEAKERS, FALLBACK = "words", "speakers", "fallback"


def simulated_variant(
    name: str = "simulated-transcribe",
    *,
    load_s: float = 0.2,
    rtf: float = 0.005,
    overhead_s: float = 0.05,
    **options: Any,
) -> Variant:
    """A simulated variant with these figures; `options` are those of the simulated family."""
    data = read_variant({"FANSCRIBE_VARIANT": name}, "simulated").model_dump(mode="json")
    data["performance"]["load_s"]["value"] = load_s
    data["performance"]["overhead_s"]["value"] = overhead_s
    data["performance"]["rtf"]["cpu_2"]["value"] = rtf
    data["options"] |= options
    return Variant.model_validate(data)


@dataclass(slots=True)
class Stage:
    """A running local platform, what is deployed on it, and its simulated workers."""

    running: RunningPlatform
    platform: Platform
    catalogue: Catalogue
    fleet: Fleet

    async def transcribe(
        self, file: Path, listener: Listener = ignore, address: str | None = None, **options: Any
    ) -> Transcript:
        """The transcript that a client's run gives."""
        request = make_request(model=self.catalogue.endpoints[0].variant.id, **options)
        recording = Recording(file, file.name, address)
        return await transcribe(recording, request, self.catalogue, self.platform, listener)

    async def fault(self, *rules: FaultRule) -> None:
        """Put these fault rules in place of those in force."""
        content = [
            {name: value for name, value in each.to_json().items() if name not in ("hits", "passed")}
            for each in rules
        ]
        response = await self.platform.http.put(
            f"{self.running.url}/local/faults", json=content, headers={"Authorization": self.platform.api_key}
        )
        response.raise_for_status()

    @property
    def paid_s(self) -> float:
        """Seconds that workers spent on jobs."""
        return sum(each.seconds for each in self.fleet.paid)


@asynccontextmanager
async def simulated_stage(
    *,
    words: Variant | None = None,
    served: Variant | None = None,
    fallback: int = 0,
    speakers: Variant | None = None,
    workers: tuple[int, int] = (4, 1),
    cold: bool = False,
    faults: Sequence[FaultRule] = (),
    results: ResultStore | None = None,
    learned: LearnedFactors | None = None,
    objects: bool = True,
    **start_options: Any,
) -> AsyncIterator[Stage]:
    """A platform with two endpoints, one for each stage, and so many simulated workers on each.

    `served` is what the workers of the first really are, where they are not what the catalogue says. `fallback`
    adds an endpoint of its variant with so many workers.
    """
    variants = {WORDS: words or simulated_variant(), SPEAKERS: speakers or _diarizer()}
    counts = dict(zip((WORDS, SPEAKERS), workers, strict=True))
    if fallback:
        variants[FALLBACK], counts[FALLBACK] = variants[WORDS], fallback
    specs = [EndpointSpec(name, max_workers=counts[name], execution_timeout_s=3600.0) for name in variants]
    serve = variants | ({WORDS: served} if served else {})
    servings = [Serving(name, variant, counts[name], cold) for name, variant in serve.items()]
    endpoints = tuple(
        DeployedEndpoint(name, name, variant, Workers(max=counts[name])) for name, variant in variants.items()
    )
    with start(specs, key="test", **start_options) as running:
        async with (
            open_http(proxied=False) as http,
            simulated_workers(running.url, running.key, servings) as fleet,
        ):
            store = ObjectStore(http, running.url, running.key) if objects else None
            platform = Platform(http, f"{running.url}/v2", running.key, "local", store, results, learned)
            catalogue = Catalogue({each.id: each for each in variants.values()}, endpoints)
            stage = Stage(running, platform, catalogue, fleet)
            await stage.fault(*faults)
            yield stage


def _diarizer() -> Variant:
    return simulated_variant("simulated-diarize", rtf=0.002)


def spoken(duration_s: float, folder: Path, pause_s: float = 0.1) -> tuple[CodedRecording, Path]:
    """A recording of coded words and its FLAC file."""
    recording = CodedRecording.lasting(duration_s, pause_s)
    file = folder / f"coded-{duration_s:g}-{pause_s:g}.flac"
    with file.open("wb") as target:
        recording.write_flac(target)
    return recording, file
