"""The three ways to a transcript with speakers, side by side on one local platform with the embedded engines.

Client-side fan-out, an orchestrator that fans out behind one call, and one endpoint that holds both engines. Run as a
part of tests.bench.run (`--only ways`) or alone, without the baselines' libraries:

    python -m tests.bench.three_ways --work build/bench

Beside the rows it writes the table of docs/three-ways.md to <work>/three-ways.md.
"""

import argparse
import asyncio
import base64
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from tests.bench.recordings import POOL, recording
from tests.bench.timing import Row

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe.contracts.task import TranscribeOutput
from fanscribe.contracts.transcript import Segment
from fanscribe.deploy.local import local_catalogue, local_specs
from fanscribe.endpoint import open_http
from fanscribe.local.process import RunningPlatform, start
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.events import ignore
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, transcribe

CLIENT, ORCHESTRATOR, SINGLE = "client-side", "orchestrator", "single endpoint"
WAYS = (CLIENT, ORCHESTRATOR, SINGLE)

ENDPOINTS = """
schema_version = 1

[project]
name = "three-ways"

[defaults]
workers = { min = 0, max = 1 }
idle_timeout_s = 600

[endpoints.words]
variant = "whisper-base"

[endpoints.speakers]
variant = "diarize-onnx"

[endpoints.single]
variant = "whisper-base-diarized"

[orchestrator]
"""

Said = list[tuple[str | None, str]]
"""Each word behind its speaker."""


@dataclass(slots=True)
class Call:
    """One call. `wall_s` as the caller sees it; the other seconds are those of the workers that it kept busy.

    `engines_s` and `orchestrator_s` count, for a cold call, from a worker's start to the answer, and for a warm one
    the time it had a job. `workers` is how many there are, each of which stays, paid, for its idle time-out. `timed`:
    its seconds count.
    """

    said: Said
    wall_s: float
    engines_s: float = 0.0
    orchestrator_s: float = 0.0
    workers: int = 0
    timed: bool = True


@dataclass(slots=True)
class Calls:
    """The calls of one way."""

    cold: list[Call] = field(default_factory=list)
    warm: list[Call] = field(default_factory=list)


class Caller:
    """Calls a platform in any of the three ways. Nothing is kept between calls."""

    def __init__(self, running: RunningPlatform, catalogue: Catalogue) -> None:
        self._running = running
        self._catalogue = catalogue
        self._http = httpx2.Client(
            base_url=f"{running.url}/v2",
            headers={"Authorization": f"Bearer {running.key}"},
            timeout=600.0,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def call(self, way: str, file: Path, *, cold: bool = False) -> Call:
        """One call. `cold`: no worker was up before it."""
        work: dict[str, Callable[[Path], Said]] = {
            CLIENT: self._from_the_client,
            ORCHESTRATOR: self._by_the_orchestrator,
            SINGLE: self._by_one_endpoint,
        }
        before = self._endpoints()
        begun = time.perf_counter()
        said = work[way](file)
        call = Call(said, time.perf_counter() - begun)
        for name, each in self._endpoints().items():
            spent = (
                sum(worker["uptime_s"] for worker in each["workers"])
                if cold
                else each["execution_s"] - before[name]["execution_s"]
            )
            if name == "orchestrator":
                call.orchestrator_s += spent
            else:
                call.engines_s += spent
            call.workers += len(each["workers"]) if cold else 0
        return call

    def _endpoints(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self._running.status()["endpoints"]}

    def _from_the_client(self, file: Path) -> Said:
        request = make_request(model="whisper-base", diarize=True, language="en", cache=False)

        async def run() -> Said:
            url, key = self._running.url, self._running.key
            async with open_http(proxied=False) as http:
                platform = Platform(http, f"{url}/v2", key, "local", ObjectStore(http, url, key))
                transcript = await transcribe(
                    Recording(file, file.name), request, self._catalogue, platform, ignore
                )
                return words(transcript.segments)

        return asyncio.run(run())

    def _by_the_orchestrator(self, file: Path) -> Said:
        body = {"model": "whisper-base", "diarize": True, "language": "en", "cache": False}
        return words(OrchestratorOutput.model_validate(self._output("orchestrator", file, body)).segments)

    def _by_one_endpoint(self, file: Path) -> Said:
        output = self._output("single", file, {"diarize": True, "language": "en"})
        return words(TranscribeOutput.model_validate(output).segments)

    def _output(self, endpoint: str, file: Path, body: dict[str, Any]) -> Any:
        """What one POST gives; where it takes longer than the platform holds it, it is asked for again."""
        audio = "data:audio/flac;base64," + base64.b64encode(file.read_bytes()).decode()
        answer = self._http.post(
            f"/{endpoint}/runsync?wait=300000", json={"input": {"audio": audio, **body}}
        ).raise_for_status()
        state = answer.json()
        while state["status"] in ("IN_QUEUE", "IN_PROGRESS"):
            time.sleep(0.2)
            state = self._http.get(f"/{endpoint}/status/{state['id']}").raise_for_status().json()
        assert state["status"] == "COMPLETED", state
        return state["output"]


def words(segments: Sequence[Segment]) -> Said:
    """Who says each word."""
    return [(word.speaker, word.text) for segment in segments for word in segment.words]


@contextmanager
def platform(folder: Path) -> Iterator[Caller]:
    """A local platform with all endpoints and no worker up."""
    file = folder / "endpoints.toml"
    file.write_text(ENDPOINTS, encoding="utf-8")
    with start(local_specs(file, orchestrator=True)) as running:
        caller = Caller(running, local_catalogue(file))
        try:
            yield caller
        finally:
            caller.close()


def measure(files: Sequence[Path], cold_runs: int, warm_runs: int) -> dict[str, Calls]:
    """Cold calls, each on a platform of its own, and warm ones in turn on one platform, of the first file.

    The other files are heard once in each way.
    """
    calls = {way: Calls() for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="fanscribe-") as folder:
        for _ in range(cold_runs):
            for way in WAYS:
                with platform(Path(folder)) as caller:
                    calls[way].cold.append(caller.call(way, files[0], cold=True))
        with platform(Path(folder)) as caller:
            for file in [*files[1:], files[0]]:
                for way in WAYS:
                    first = caller.call(way, file)
                    calls[way].warm.append(replace(first, timed=False))
            for run in range(warm_runs):
                for way in WAYS[run % len(WAYS) :] + WAYS[: run % len(WAYS)]:
                    calls[way].warm.append(caller.call(way, files[0]))
    return calls


def differing(calls: dict[str, Calls]) -> int:
    """Words that one way has, or gives to a speaker, unlike the client-side way, over all calls."""
    count = 0
    for way in WAYS:
        own = [call.said for call in (*calls[way].cold, *calls[way].warm)]
        client = [call.said for call in (*calls[CLIENT].cold, *calls[CLIENT].warm)]
        for mine, theirs in zip(own, client, strict=True):
            count += abs(len(mine) - len(theirs))
            count += sum(ours != other for ours, other in zip(mine, theirs, strict=False))
    return count


def median(calls: Sequence[Call], figure: str) -> float:
    """The median of one figure over the calls that were timed."""
    return statistics.median(float(getattr(each, figure)) for each in calls if each.timed)


def page_table(calls: dict[str, Calls], length_s: float) -> str:
    """The table of docs/three-ways.md."""
    lines = [
        f"{length_s:.0f} s of conversation; seconds.",
        "",
        "| | cold | warm | paid cold: engines | orchestrator | paid warm: engines | orchestrator | workers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        cold, warm = calls[way].cold, calls[way].warm
        figures = [
            median(cold, "wall_s"),
            median(warm, "wall_s"),
            median(cold, "engines_s"),
            median(cold, "orchestrator_s"),
            median(warm, "engines_s"),
            median(warm, "orchestrator_s"),
        ]
        shown = " | ".join(f"{figure:.1f}" if figure else "" for figure in figures)
        lines.append(f"| {way} | {shown} | {cold[-1].workers} |")
    return "\n".join(lines) + "\n"


def three_ways(work: Path, *, cold_runs: int = 3, warm_runs: int = 6) -> list[Row]:
    """The rows with targets; writes the table of the page beside them."""
    heard = [recording(each, work / "recordings") for each in POOL[1:3]]
    calls = measure([each.path for each in heard], cold_runs, warm_runs)
    table = page_table(calls, len(heard[0].samples()) / 16_000)
    (work / "three-ways.md").write_text(table, encoding="utf-8")
    print(table, file=sys.stderr)
    client_s, orchestrator_s = (median(calls[way].warm, "wall_s") for way in (CLIENT, ORCHESTRATOR))
    paid = {way: median(calls[way].cold, "engines_s") for way in WAYS}
    total = sum(len(call.said) for call in (*calls[CLIENT].cold, *calls[CLIENT].warm))
    return [
        Row(
            "three ways: words or speakers that differ",
            float(differing(calls)),
            0.0,
            f"of {total} words, in {len(heard)} recordings, cold and warm",
        ),
        Row(
            "orchestrator, warm: beyond the client-side call and 5 % of it",
            orchestrator_s - 1.05 * client_s,
            0.5,
            f"{orchestrator_s:.2f} s against {client_s:.2f} s",
            unit="s",
        ),
        Row(
            "single endpoint, cold: engine seconds / those of the client-side call",
            paid[SINGLE] / paid[CLIENT],
            1.0,
            f"{paid[SINGLE]:.1f} s against {paid[CLIENT]:.1f} s until the answer, idle time-outs not counted",
        ),
    ]


def main() -> None:
    """Measure and print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for recordings and the table")
    parser.add_argument("--cold-runs", type=int, default=3, help="cold calls of each way")
    parser.add_argument("--warm-runs", type=int, default=6, help="warm calls of each way")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = three_ways(options.work, cold_runs=options.cold_runs, warm_runs=options.warm_runs)
    print(json.dumps([{"name": row.name, "value": round(row.value, 3), "met": row.met} for row in rows]))
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
