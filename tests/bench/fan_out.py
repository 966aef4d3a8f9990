"""The fan-out on simulated workers: how near it comes to what the workers allow, and what it costs the caller.

Simulated workers are many in one process, each speaking the worker protocol. Their facts are those of the
variant files simulated-transcribe (RTF 0.4) and simulated-diarize (RTF 0.1): 0.2 s a job, 8 s to start.
"""

import asyncio
import base64
import json
import logging
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from tests.bench.timing import Row
from tests.simulated import simulated_variant

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers
from fanscribe.contracts.task import TranscribeInput, to_wire
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.variant import Variant
from fanscribe.endpoint import open_http
from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec
from fanscribe.media import SAMPLE_RATE
from fanscribe.media.flac import FlacWriter
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.events import ignore
from fanscribe.pipeline.plan import StagePlan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, plan_for, transcribe
from fanscribe.pipeline.spans import Span
from fanscribe.pipeline.supply import lanes_of, supply
from fanscribe_handlers.simulated.recording import CodedRecording

WORDS, SPEAKERS = "words", "speakers"
VARIANTS = {WORDS: "simulated-transcribe", SPEAKERS: "simulated-diarize"}
WORKERS = {WORDS: 16, SPEAKERS: 4}
HOUR_S = 3600.0
RTF = {WORDS: 0.4, SPEAKERS: 0.1}
OVERHEAD_S, START_S = 0.2, 8.0
KEY = "bench"

TROUBLE: dict[str, Any] = {"straggler_share": 0.1, "straggler_factor": 10.0, "failure_share": 0.05, "seed": 3}
"""One job in ten takes ten times as long, one in twenty fails half-way; which, is drawn from a fixed seed."""


@dataclass(slots=True)
class Bench:
    """A local platform whose endpoints are served by simulated workers in a process of their own."""

    running: RunningPlatform
    catalogue: Catalogue

    async def run(self, file: Path, address: str | None = None, **options: Any) -> tuple[Transcript, float]:
        """The transcript, and the seconds that the whole call took."""
        request = make_request(model=VARIANTS[WORDS], **options)
        async with open_http(proxied=False) as http:
            begun = time.perf_counter()
            transcript = await transcribe(
                Recording(file, file.name, address), request, self.catalogue, self.platform(http), ignore
            )
            return transcript, time.perf_counter() - begun

    def platform(self, http: httpx2.AsyncClient) -> Platform:
        """The platform as a client sees it; nothing is kept between runs."""
        url, key = self.running.url, self.running.key
        return Platform(http, f"{url}/v2", key, "local", ObjectStore(http, url, key))


@contextmanager
def bench(
    *,
    workers: dict[str, int] | None = None,
    cold: bool = False,
    quicker: float = 1.0,
    longest_s: float = 43_200.0,
    **options: Any,
) -> Iterator[tuple[Bench, list[dict[str, Any]]]]:
    """A platform and its fleet; the list is filled, at the end, with what every job cost.

    `quicker` divides the real-time factors, for the planner and the workers alike; `longest_s` is the most audio
    that the engines take; `options` are those of the simulated family.
    """
    counts = workers or WORKERS
    variants = {name: _variant(name, quicker, longest_s) for name in VARIANTS}
    specs = [EndpointSpec(name, max_workers=counts[name], execution_timeout_s=7200.0) for name in variants]
    endpoints = tuple(
        DeployedEndpoint(name, name, variant, Workers(max=counts[name])) for name, variant in variants.items()
    )
    paid: list[dict[str, Any]] = []
    with start(specs, key=KEY, rate_limits=True) as running:
        fleet = _fleet(running, counts, cold=cold, **options, pace=1 / quicker)
        try:
            assert fleet.stdout is not None
            fleet.stdout.readline()  # all workers have joined
            yield Bench(running, Catalogue({each.id: each for each in variants.values()}, endpoints)), paid
        finally:
            fleet.send_signal(signal.SIGTERM)
            said, _ = fleet.communicate(timeout=30)
            paid += json.loads(said.splitlines()[-1])["paid"]


def _variant(name: str, quicker: float, longest_s: float) -> Variant:
    """The variant of an endpoint, with the facts of the benchmark."""
    variant = simulated_variant(
        VARIANTS[name], load_s=START_S, rtf=RTF[name] / quicker, overhead_s=OVERHEAD_S / quicker
    )
    able = variant.capabilities.model_copy(update={"max_audio_s": longest_s})
    return variant.model_copy(update={"capabilities": able})


def _fleet(
    running: RunningPlatform, counts: dict[str, int], *, cold: bool, **options: Any
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "fanscribe_handlers.simulated.fleet", "--url", running.url]
    for name, count in counts.items():
        command += ["--serve", f"{name}={VARIANTS[name]}*{count}"]
    for name, value in options.items():
        command += ["--option", f"{name}={json.dumps(value)}"]
    if cold:
        command.append("--cold")
    environment = {**os.environ, "FANSCRIBE_LOCAL_KEY": running.key}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def coded(duration_s: float, folder: Path) -> tuple[CodedRecording, Path]:
    """A recording of coded words of this length; made on first use."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = CodedRecording.lasting(duration_s)
    file = folder / f"coded-{duration_s:.0f}s.flac"
    if not file.exists():
        part = file.with_suffix(".part")
        with part.open("wb") as target:
            recording.write_flac(target)
        part.rename(file)
    return recording, file


def whole(recording: CodedRecording, transcript: Transcript) -> bool:
    """Whether every word is there, once and in its place, and nothing is a gap."""
    said = [word.text for word in recording.spoken()]
    return said == [word.text for word in transcript.words] and not transcript.gaps


def bound_s(duration_s: float, *, cold: bool) -> float:
    """Total work over twenty workers, and one start where they are cold."""
    return sum(RTF.values()) * duration_s / sum(WORKERS.values()) + (START_S if cold else 0.0)


def fan_out(folder: Path) -> list[Row]:
    """One hour on twenty workers, warm, cold and in trouble; beside the stages one after another, and the SDK."""
    recording, file = coded(HOUR_S, folder)
    rows: list[Row] = []
    with bench() as (warm, clean_paid):
        first, _ = asyncio.run(warm.run(coded(60.0, folder)[1], diarize=True))  # imports
        transcript, first_s = asyncio.run(warm.run(file, diarize=True))
        sdk_s = statistics.fmean(asyncio.run(_by_sdk(warm, file, folder)) for _ in range(2))
        repeated, second_s = asyncio.run(warm.run(file, diarize=True))
        for each in (transcript, repeated):
            assert whole(recording, each), "words were lost, doubled or moved"
        clean_s = statistics.fmean((first_s, second_s))
        ratio = clean_s / bound_s(HOUR_S, cold=False)
        counts = ", ".join(f"{count} {stage}" for stage, count in _counts(transcript).items())
        rows.append(
            Row(
                "fan-out, 1 h, warm: makespan / (work / 20)",
                ratio,
                1.15,
                f"{clean_s:.1f} s ({first_s:.1f} and {second_s:.1f}); {counts}",
            )
        )
        alone_s = sum(RTF.values()) * HOUR_S + 2 * OVERHEAD_S
        rows.append(
            Row(
                "fan-out, 1 h, warm / stages one after another on one worker",
                clean_s / alone_s,
                1 / 15,
                f"{alone_s:.0f} s by the workers' own facts: {alone_s / clean_s:.1f} times as long",
            )
        )
        rows.append(
            Row(
                "fan-out / the official SDK's run + output",
                clean_s / sdk_s,
                1.0,
                f"{sdk_s:.1f} s with it, by turns",
            )
        )
    clean = clean_paid[len(first.tasks) :][: len(transcript.tasks)]
    clean_paid_s = sum(each["seconds"] for each in clean)
    with bench(cold=True) as (cold, _):
        transcript, cold_s = asyncio.run(cold.run(file, diarize=True))
        assert whole(recording, transcript), "words were lost, doubled or moved"
        ratio = cold_s / bound_s(HOUR_S, cold=True)
        rows.append(
            Row(
                "fan-out, 1 h, cold: makespan / (work / 20 + start)", ratio, 1.15, f"{cold_s:.1f} s; {counts}"
            )
        )
    with bench(**TROUBLE) as (trouble, paid):
        transcript, troubled_s = asyncio.run(trouble.run(file, diarize=True))
        assert whole(recording, transcript), "words were lost, doubled or moved"
        tasks = [each for each in transcript.tasks if each.stage == "transcribe"]
        chunk_s = RTF[WORDS] * HOUR_S / len(tasks) + OVERHEAD_S
    extra = sum(each["seconds"] for each in paid) / clean_paid_s - 1
    hedges, attempts = (
        sum(getattr(each, name) for each in transcript.tasks) for name in ("hedges", "attempts")
    )
    drawn = f"{attempts + hedges} jobs for {len(transcript.tasks)} tasks, {hedges} of them hedges"
    rows.append(
        Row(
            "stragglers and failures: chunk times beyond the clean run",
            (troubled_s - clean_s) / chunk_s,
            3.0,
            f"{troubled_s:.1f} s against {clean_s:.1f} s; {drawn}",
        )
    )
    rows.append(Row("stragglers and failures: extra paid seconds", extra, 0.35, drawn))
    return rows


def _counts(transcript: Transcript) -> dict[str, int]:
    stages = [each.stage for each in transcript.tasks]
    return {str(stage): stages.count(stage) for stage in dict.fromkeys(stages)}


async def _by_sdk(on: Bench, file: Path, folder: Path) -> float:
    """The same chunks, cut in the same way, sent with `run` and waited for with `output`, a thread a job."""
    import runpod

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the SDK's import lets everything be logged
    runpod.endpoint_url_base, runpod.api_key = f"{on.running.url}/v2", on.running.key
    async with open_http(proxied=False) as http:
        request = make_request(model=VARIANTS[WORDS], diarize=True)
        plan = await plan_for(Recording(file, file.name), request, on.catalogue, on.platform(http))
    begun = time.perf_counter()
    with ThreadPoolExecutor(64) as threads, tempfile.TemporaryDirectory(dir=folder) as scratch:
        outputs = []

        def given(stages: Sequence[StagePlan], span: Span) -> None:
            for stage in stages:
                outputs.append(threads.submit(_call, runpod.Endpoint(stage.endpoint.id), span, on))

        await supply(file, file.name, lanes_of(plan.stages, {}), Path(scratch), given, ignore)
        for each in outputs:
            await asyncio.wrap_future(each)
    return time.perf_counter() - begun


def _call(endpoint: Any, span: Span, on: Bench) -> Any:
    assert span.file is not None
    if span.size_bytes > 7_000_000:
        headers = {"Authorization": f"Bearer {on.running.key}"}
        with httpx2.Client(trust_env=False, timeout=60.0) as http:
            response = http.put(f"{on.running.url}/objects", content=span.file.read_bytes(), headers=headers)
        audio = response.json()["url"]
    else:
        audio = "data:audio/flac;base64," + base64.b64encode(span.file.read_bytes()).decode()
    output = endpoint.run(to_wire(TranscribeInput(audio=audio))).output(timeout=3600)
    assert output, "the SDK's caller got no output"
    return output


def client_cost(folder: Path) -> list[Row]:
    """What fanning out costs the caller's machine: memory for ten hours, processor time for a thousand tasks."""
    memory_mb = float(_measured("memory", folder))
    cpu_ms = statistics.median(float(_measured("processor", folder)) for _ in range(3))
    return [
        Row(
            "10 h of audio: the client's memory", memory_mb, 300.0, "peak resident size of its process", "MB"
        ),
        Row(
            "1,000 tasks by reference: the client's processor time",
            cpu_ms,
            5.0,
            "user and system, a task; the median of three runs",
            "ms",
        ),
    ]


def _measured(what: str, folder: Path) -> str:
    """A figure from a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.fan_out", what, str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]


def _memory_mb(folder: Path) -> float:
    """The peak of this process while it fans ten hours out, diarization included."""
    recording, file = coded(10 * HOUR_S, folder)
    with bench(quicker=200.0) as (quick, _):
        transcript, _ = asyncio.run(quick.run(file, diarize=True))
    # Not getrusage: a process begins with the peak of the one that started it there.
    peak_kb = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak_kb is not None
    assert whole(recording, transcript), "words were lost, doubled or moved"
    return int(peak_kb[1]) / 1000


def _processor_ms(folder: Path) -> float:
    """Processor time of this process for each of a thousand tasks that name an address."""
    folder.mkdir(parents=True, exist_ok=True)
    short, long = folder / "silence-300s.flac", folder / "silence-30000s.flac"
    for file, duration_s in ((short, 300), (long, 30_000)):
        if not file.exists():
            _write_silence(file, duration_s)
    address = "https://example.org/recording.flac"
    with bench(workers={WORDS: 50, SPEAKERS: 1}, quicker=4.0, longest_s=33.0, deaf=True) as (deaf, _):
        asyncio.run(deaf.run(short, address, send="reference"))  # imports
        before = time.process_time()
        transcript, _ = asyncio.run(deaf.run(long, address, send="reference"))
        spent_s = time.process_time() - before
    count = len(transcript.tasks)
    assert count >= 900, f"only {count} tasks"
    return 1000 * spent_s / count


def _write_silence(file: Path, duration_s: int) -> None:
    """A recording without a sound: its workers are deaf anyway."""
    with file.open("wb") as target:
        writer = FlacWriter(target)
        for _ in range(duration_s // 10):
            writer.write(np.zeros(10 * SAMPLE_RATE, np.float32))
        writer.close()


def main() -> None:
    """Print one figure."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    print({"memory": _memory_mb, "processor": _processor_ms}[what](folder))


if __name__ == "__main__":
    main()
