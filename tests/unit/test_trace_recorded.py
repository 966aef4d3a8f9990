"""What a run notes of its tasks and jobs: retries, hedges, cancelled ones, those of an earlier run."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.scripted import Scene, ScriptedJob, Timeline, done, failed, forever, span_of, task_of

from fanscribe import endpoint as endpoint_module
from fanscribe import logs
from fanscribe.contracts.errors import ErrorCode, FanscribeError
from fanscribe.pipeline.attempts import Answer, Tally, attached, perform
from fanscribe.pipeline.route import Route
from fanscribe.pipeline.spans import Cargo
from fanscribe.results.folder import FolderResults
from fanscribe.trace.facts import Role, Status
from fanscribe.trace.phases import phases


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_backoff", lambda state: 0.0)


def in_turn(*timelines: Timeline) -> Callable[[ScriptedJob], Timeline]:
    return lambda job: timelines[min(int(job.id[1:]), len(timelines)) - 1]


async def performed(scene: Scene, tally: Tally, route: Route | None = None) -> Answer:
    route, span = route or scene.route(), span_of()
    async with route.slot():
        return await perform(task_of(span), Cargo(span, None), [route], tally, scene.means)


async def test_an_answered_job_is_noted_with_its_times() -> None:
    scene, tally = Scene(in_turn(done(10.0))), Tally()
    began = scene.time.now
    await scene.time.run(performed(scene, tally))
    (made,) = tally.made
    assert (made.role, made.status, made.job_id, made.endpoint) == (Role.FIRST, Status.OK, "j1", "words")
    assert made.began == made.submitted == began
    assert made.ended == scene.time.now
    assert made.execution_s == 9.0
    assert made.timing is not None
    assert sum(each.ended - each.began for each in phases(made)) == pytest.approx(made.ended - made.began)


async def test_each_attempt_is_a_job_of_its_own() -> None:
    scene, tally = Scene(in_turn(failed(ErrorCode.MODEL_ERROR, retryable=True), done())), Tally()
    await scene.time.run(performed(scene, tally))
    first, second = tally.made
    assert (first.role, first.status, first.error) == (
        Role.FIRST,
        Status.ERROR,
        "TaskFailedError MODEL_ERROR",
    )
    assert (second.role, second.status, second.job_id) == (Role.RETRY, Status.OK, "j2")
    assert second.began >= first.ended


async def test_a_hedge_and_the_job_that_lost_are_noted() -> None:
    scene, tally = Scene(in_turn(forever(), done(10.0))), Tally()
    await scene.time.run(performed(scene, tally))
    made = {each.role: each for each in tally.made}
    assert (made[Role.FIRST].status, made[Role.HEDGE].status) == (Status.CANCELLED, Status.OK)
    assert made[Role.FIRST].began < made[Role.HEDGE].began < made[Role.FIRST].ended
    assert len(tally.made) == len(scene.platform.jobs)


async def test_jobs_of_a_cancelled_run_are_noted() -> None:
    scene, tally = Scene(in_turn(forever())), Tally()

    async def leave() -> None:
        running = asyncio.ensure_future(performed(scene, tally))
        await scene.time.sleep(5.0)
        running.cancel()
        await asyncio.wait([running])

    await scene.time.run(leave())
    assert [(each.job_id, each.status, each.error) for each in tally.made] == [("j1", Status.CANCELLED, "")]
    assert scene.platform.left == []


async def test_a_job_of_an_earlier_run_is_noted_as_such(tmp_path: Path) -> None:
    scene, tally = Scene(in_turn(done(100.0)), store=FolderResults(tmp_path)), Tally()
    route, span = scene.route(), span_of()
    task = task_of(span)

    async def both() -> Answer | None:
        await scene.means.kept.intend(task.identity(route))
        state = await route.api.submit({"audio": "data:,"})
        await scene.means.kept.submitted(task.identity(route), state.id)
        await scene.time.sleep(50.0)
        async with route.slot():
            return await attached(task, Cargo(span, None), [route], tally, scene.new_means())

    assert await scene.time.run(both()) is not None
    (made,) = tally.made
    assert (made.role, made.job_id, made.status) == (Role.ATTACHED, "j1", Status.OK)
    assert made.ended - made.began < 60.0


async def test_log_lines_of_a_job_name_it(caplog: pytest.LogCaptureFixture) -> None:
    named: list[dict[str, str]] = []

    def note(record: logging.LogRecord) -> bool:
        logs._with_ids(record)
        named.append(logs._ids_of(record))
        return True

    log = logging.getLogger("fanscribe.pipeline.attempts")
    log.addFilter(note)
    try:
        scene = Scene(in_turn(failed(ErrorCode.MODEL_ERROR, retryable=False)))
        with pytest.raises(FanscribeError), logs.about(job="the-request"):
            await scene.time.run(performed(scene, Tally()))
        scene = Scene(in_turn(failed(ErrorCode.MODEL_ERROR, retryable=True), done()))
        with logs.about(job="the-request"):
            await scene.time.run(performed(scene, Tally()))
    finally:
        log.removeFilter(note)
    assert named == [{"job": "the-request"}]
