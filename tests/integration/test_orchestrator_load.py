"""Two hundred requests at once on one orchestrator worker: all right, in a fair order, in flat memory."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.orchestrated import SPEAKERS, WORDS, Orchestrated, orchestrated
from tests.simulated import simulated_variant, spoken

from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe_handlers.simulated.recording import CodedRecording

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

REQUESTS, LONG = 200, 8
SHORT_S, LONG_S = 6.0, 240.0

PER_REQUEST_BYTES = 4_000_000
"""What a request may take in the worker's memory while it is under way; its audio lies on the disk."""


@dataclass(slots=True)
class Served:
    """One request: what it was about, when it came back (seconds from the start), and what it gave."""

    number: int
    recording: CodedRecording
    ended_s: float
    state: JobState


class Worker:
    """The memory of the orchestrator's one worker, and the most it has had."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak = self.resident

    @property
    def resident(self) -> int:
        """Bytes in memory."""
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * 4096

    async def watched(self) -> None:
        """Look again and again."""
        while True:
            self.peak = max(self.peak, self.resident)
            await asyncio.sleep(0.1)


async def worker_of(scene: Orchestrated) -> Worker:
    status = await scene.orchestrator.http.get(
        f"{scene.running.url}/local/status", headers={"Authorization": scene.running.key}
    )
    endpoints = {each["name"]: each for each in status.json()["endpoints"]}
    (worker,) = endpoints["orchestrator"]["workers"]
    return Worker(worker["pid"])


async def at_once(scene: Orchestrated, audio: Sequence[tuple[CodedRecording, str]]) -> list[Served]:
    """Every request is submitted before any is waited for; in the order in which they come back."""
    caller, begun = scene.orchestrator, time.monotonic()
    asked = {"model": "simulated-transcribe", "diarize": True, "language": "en"}
    jobs, sent_s = [], []
    for _, address in audio:
        sent_s.append(time.monotonic() - begun)
        jobs.append(await caller.run(audio=address, **asked))

    async def one(number: int) -> Served:
        # Not more often: the platform allows 200 questions a second.
        state = await caller.done(jobs[number], look_s=2.0)
        assert state.delay_ms is not None
        assert state.execution_ms is not None
        ended_s = sent_s[number] + (state.delay_ms + state.execution_ms) / 1000
        return Served(number, audio[number][0], ended_s, state)

    served = await asyncio.gather(*(one(number) for number in range(len(jobs))))
    return sorted(served, key=lambda each: each.ended_s)


def check(served: Served) -> None:
    assert served.state.status is JobStatus.COMPLETED, served.state.error
    output = OrchestratorOutput.model_validate(served.state.output)
    meant = list(served.recording.spoken())
    assert [each.text for each in output.transcript().words] == [each.text for each in meant]
    assert not output.partial
    assert all(word.speaker for word in output.transcript().words)


async def test_two_hundred_at_once(tmp_path: Path) -> None:
    words = simulated_variant(rtf=0.002, overhead_s=0.02)
    speakers = simulated_variant("simulated-diarize", rtf=0.0005, overhead_s=0.02)
    env = {"FANSCRIBE_RESULTS": "off", "FANSCRIBE_CONCURRENCY": str(REQUESTS)}
    long, short = spoken(LONG_S, tmp_path), spoken(SHORT_S, tmp_path)
    async with orchestrated(words=words, speakers=speakers, workers=(6, 3), env=env) as scene:
        addresses = {recording: await scene.orchestrator.put(file) for recording, file in (long, short)}
        kinds = [long[0]] * LONG + [short[0]] * (REQUESTS - LONG)
        audio = [(each, addresses[each]) for each in kinds]
        (first,) = await at_once(scene, audio[-1:])
        check(first)
        worker = await worker_of(scene)
        idle = worker.resident
        watching = asyncio.create_task(worker.watched())
        served = await at_once(scene, audio)
        first_peak, worker.peak = worker.peak, worker.resident
        again = await at_once(scene, audio)
        watching.cancel()
        jobs = {name: await scene.child(name).jobs() for name in (WORDS, SPEAKERS)}
        assert (await worker_of(scene)).resident > 0  # it is still the one worker

    for each in (*served, *again):
        check(each)
    assert all(counts["inProgress"] == counts["inQueue"] == 0 for counts in jobs.values())

    # Memory: bounded by the requests that are under way, and hardly more for the second two hundred.
    assert first_peak - idle < REQUESTS * PER_REQUEST_BYTES
    assert worker.peak < 1.15 * first_peak

    # Order: the short ones, which came behind the long ones, do not wait until those are done; and among themselves
    # nobody is overtaken by half of the others.
    shorts = [each for each in served if each.number >= LONG]
    last_long = max(each.ended_s for each in served if each.number < LONG)
    assert sum(each.ended_s < last_long for each in shorts) > len(shorts) / 4
    overtaken = [
        sum(other.number > each.number for other in shorts[:place]) for place, each in enumerate(shorts)
    ]
    assert max(overtaken) < len(shorts) / 2
