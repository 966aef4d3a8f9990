"""Child endpoints that fail or do not answer: a fallback, a clear partial result or a clear error, in time."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.orchestrated import SPEAKERS, WORDS, Caller, Orchestrated, orchestrated
from tests.simulated import simulated_variant, spoken

from fanscribe.contracts.errors import ErrorCode, TaskError
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.orchestration import OrchestratorOutput
from fanscribe.contracts.transcript import Transcript
from fanscribe.local.faults import ERROR, FaultRule
from fanscribe_handlers.simulated.recording import CodedRecording

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

MODEL = "simulated-transcribe"
OFF = {"FANSCRIBE_RESULTS": "off"}


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> tuple[CodedRecording, Path]:
    """Four minutes of coded words."""
    return spoken(240.0, tmp_path_factory.mktemp("coded"))


@pytest.fixture
async def failing() -> AsyncIterator[Orchestrated]:
    """The words' own workers fail at every job; others of the same kind stand by."""
    words = simulated_variant(failure_share=1.0)
    async with orchestrated(
        words=words, fallback=simulated_variant("simulated-transcribe"), env=OFF
    ) as scene:
        yield scene


def transcript_of(state: JobState) -> Transcript:
    assert state.status is JobStatus.COMPLETED, state.error
    return OrchestratorOutput.model_validate(state.output).transcript()


async def idle(*callers: Caller) -> None:
    """Wait until no job is under way or waits."""
    async with asyncio.timeout(15):
        for caller in callers:
            while (jobs := await caller.jobs())["inProgress"] or jobs["inQueue"]:
                await asyncio.sleep(0.05)


async def asked(scene: Orchestrated, file: Path, **fields: Any) -> JobState:
    caller = scene.orchestrator
    return await caller.done(await caller.run(audio=await caller.put(file), model=MODEL, **fields))


async def test_another_endpoint_takes_over(failing: Orchestrated, audio: tuple[CodedRecording, Path]) -> None:
    recording, file = audio
    transcript = transcript_of(await asked(failing, file, language="en"))
    assert [each.text for each in transcript.words] == [each.text for each in recording.spoken()]
    assert any("the endpoint fallback did" in each for each in transcript.warnings)
    assert not transcript.partial


async def test_speakers_are_missing_where_the_diarizer_is_down(audio: tuple[CodedRecording, Path]) -> None:
    recording, file = audio
    speakers = simulated_variant("simulated-diarize", failure_share=1.0)
    async with orchestrated(speakers=speakers, env=OFF) as scene:
        state = await asked(scene, file, diarize=True, language="en")
    transcript = transcript_of(state)
    assert state.output["partial"] is True
    assert len(transcript.words) == len(list(recording.spoken()))
    assert transcript.speakers == []
    assert any("speakers are missing: diarization failed" in each for each in transcript.warnings)


async def test_what_is_not_done_by_the_deadline_is_a_gap(audio: tuple[CodedRecording, Path]) -> None:
    recording, file = audio
    # One worker, three seconds for a minute of audio, no job longer than that: some of four are done by then.
    words = simulated_variant(rtf=0.05, overhead_s=0.0)
    short = words.capabilities.model_copy(update={"max_audio_s": 60.0})
    words = words.model_copy(update={"capabilities": short})
    async with orchestrated(words=words, workers=(1, 1), env=OFF) as scene:
        begun = time.monotonic()
        state = await asked(scene, file, language="en", deadline_s=8.0)
        took_s = time.monotonic() - begun
        await idle(scene.child(), scene.orchestrator)
        jobs = await scene.child().jobs()
    transcript = transcript_of(state)
    assert took_s < 20.0
    assert state.output["partial"] is True
    assert transcript.gaps, "the worker was faster than this test allows for"
    assert all("not done within its deadline" in gap.reason for gap in transcript.gaps)
    missing = [(gap.start, gap.end) for gap in transcript.gaps]
    there = {
        each.text
        for each in recording.spoken()
        if not any(start - 0.5 < each.end and each.start < end + 0.5 for start, end in missing)
    }
    assert there
    assert there <= {each.text for each in transcript.words}
    assert jobs["completed"] >= 1


async def test_nobody_works_on_it(audio: tuple[CodedRecording, Path]) -> None:
    _, file = audio
    async with orchestrated(served=False, env=OFF) as scene:
        begun = time.monotonic()
        state = await asked(scene, file, language="en", deadline_s=4.0)
        took_s = time.monotonic() - begun
        await idle(scene.child())
    error = TaskError.parse(state.error)
    assert (state.status, error.code, error.retryable) == (JobStatus.FAILED, ErrorCode.TIMEOUT, True)
    assert "not done within its deadline" in error.message
    assert took_s < 15.0


async def test_its_own_deadline_lies_before_the_platforms(audio: tuple[CodedRecording, Path]) -> None:
    _, file = audio
    async with orchestrated(served=False, env=OFF, spec={"execution_timeout_s": 12.0}) as scene:
        state = await asked(scene, file, language="en")
        await idle(scene.child())
    assert TaskError.parse(state.error).code is ErrorCode.TIMEOUT
    assert state.status is JobStatus.FAILED  # by us: the platform itself would have said TIMED_OUT


async def test_an_endpoint_that_refuses_every_call(audio: tuple[CodedRecording, Path]) -> None:
    _, file = audio
    async with orchestrated(env=OFF) as scene:
        await scene.fault(FaultRule(ERROR, WORDS, status=404, operation="run"))
        state = await asked(scene, file, language="en")
        alive = await scene.orchestrator.jobs()
    error = TaskError.parse(state.error)
    assert (error.code, error.retryable) == (ErrorCode.MODEL_ERROR, False)
    assert "endpoint words" in error.message
    assert alive["failed"] == 1


async def test_cancelling_ends_the_children(audio: tuple[CodedRecording, Path]) -> None:
    _, file = audio
    slow = simulated_variant(rtf=0.5)
    async with orchestrated(
        words=slow, speakers=simulated_variant("simulated-diarize", rtf=0.5), env=OFF
    ) as scene:
        caller = scene.orchestrator
        job = await caller.run(audio=await caller.put(file), model=MODEL, diarize=True, language="en")
        children = (scene.child(WORDS), scene.child(SPEAKERS))
        async with asyncio.timeout(30):
            for child in children:
                while not (await child.jobs())["inProgress"]:
                    await asyncio.sleep(0.05)
        await caller.cancel(job)
        await idle(*children)
        assert (await caller.status(job)).status is JobStatus.CANCELLED
        assert [(await child.jobs())["completed"] for child in children] == [0, 0]
        # The worker that held it goes on with other work.
        state = await caller.done(await caller.run(audio="data:audio/wav;base64,AAAA"))
        assert TaskError.parse(state.error).code is ErrorCode.AUDIO_UNREADABLE
