"""A task brought to its answer: retries by cause, hedges, fallback, and jobs of an earlier run."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.scripted import Reply, Scene, ScriptedJob, Timeline, done, failed, forever, span_of, task_of

from fanscribe import endpoint as endpoint_module
from fanscribe.contracts.errors import (
    AnswerError,
    AuthenticationError,
    ErrorCode,
    FanscribeError,
    JobCancelledError,
    JobLostError,
    PayloadTooLargeError,
    TaskError,
    TaskFailedError,
    TransportError,
)
from fanscribe.contracts.task import TranscribeOutput
from fanscribe.pipeline.attempts import ATTEMPTS, HEDGES, Answer, Tally, attached, perform, too_much
from fanscribe.pipeline.breaker import FAILURES
from fanscribe.pipeline.route import Route
from fanscribe.pipeline.spans import Cargo
from fanscribe.results.folder import FolderResults

pytestmark = pytest.mark.usefixtures("no_backoff")

TIMED_OUT: Timeline = ((0.0, {"status": "IN_QUEUE"}), (2.0, {"status": "TIMED_OUT"}))
GONE: Timeline = ((0.0, {"status": "IN_QUEUE"}), (2.0, 404))
CORRUPT: Timeline = ((0.0, {"status": "IN_QUEUE"}), (2.0, {"status": "COMPLETED", "output": {"txt": 1}}))
DIED: Timeline = ((0.0, {"status": "IN_QUEUE"}), (2.0, {"status": "FAILED", "error": "worker died"}))


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats of one HTTP call follow at once."""
    monkeypatch.setattr(endpoint_module, "_backoff", lambda state: 0.0)


def in_turn(*timelines: Timeline) -> Callable[[ScriptedJob], Timeline]:
    """The first job goes the first way, and so on; all further ones go the last way."""
    return lambda job: timelines[min(int(job.id[1:]), len(timelines)) - 1]


async def performed(
    scene: Scene, routes: list[Route] | None = None, tally: Tally | None = None, index: int = 0
) -> Answer:
    routes = routes or [scene.route()]
    span = span_of(index)
    async with routes[0].slot():
        return await perform(task_of(span), Cargo(span, None), routes, tally or Tally(), scene.means)


@pytest.mark.parametrize(
    "failure", [TIMED_OUT, GONE, CORRUPT, DIED, failed(ErrorCode.MODEL_ERROR, retryable=True)]
)
async def test_what_may_pass_is_tried_again(failure: Timeline) -> None:
    scene, tally = Scene(in_turn(failure, done())), Tally()
    answer = await scene.time.run(performed(scene, tally=tally))
    assert isinstance(answer.output, TranscribeOutput)
    assert (answer.output.text, tally.attempts, len(scene.platform.jobs)) == ("hi", 2, 2)
    assert any(event.message.startswith("trying again") for event in scene.events)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (failed(ErrorCode.INVALID_INPUT, retryable=False), TaskFailedError),
        (((0.0, {"status": "CANCELLED"}),), FanscribeError),
    ],
)
async def test_what_cannot_pass_is_not(failure: Timeline, kind: type[FanscribeError]) -> None:
    scene = Scene(in_turn(failure))
    route = scene.route()
    with pytest.raises(kind):
        await scene.time.run(performed(scene, [route]))
    assert len(scene.platform.jobs) == 1
    assert route.breaker.closed


async def test_trying_has_an_end() -> None:
    scene, tally = Scene(in_turn(GONE)), Tally()
    with pytest.raises(JobLostError):
        await scene.time.run(performed(scene, tally=tally))
    assert len(scene.platform.jobs) == tally.attempts == ATTEMPTS


async def test_a_refused_key_is_said_at_once() -> None:
    scene = Scene(in_turn(done()), on_run=lambda number: httpx2.Response(401))
    with pytest.raises(AuthenticationError):
        await scene.time.run(performed(scene))
    assert scene.platform.submissions == 1


async def test_a_straggler_gets_a_second_job_and_the_first_answer_wins() -> None:
    scene, tally = Scene(in_turn(done(10.1), done(10.1), done(10.1), forever(), done(10.1))), Tally()
    route = scene.route()

    async def all_of_them() -> Answer:
        peers = [performed(scene, [route], index=number) for number in range(3)]
        await asyncio.gather(*peers)
        return await performed(scene, [route], tally, index=3)

    begun = scene.time.now
    answer = await scene.time.run(all_of_them())
    assert answer.state is not None
    assert answer.state.id == "j5"
    assert (tally.attempts, tally.hedges) == (1, 1)
    assert scene.platform.jobs[3].cancelled, "the one that lost goes on costing nothing"
    assert not scene.platform.jobs[4].cancelled
    assert scene.time.now - begun < 10.1 + 10.1 * 2.6 + 1
    assert (len(route._out), scene.platform.left) == (0, [])


async def test_hedges_have_a_limit() -> None:
    scene, tally = Scene(in_turn(forever(), forever("IN_QUEUE"), forever(), done(400.0))), Tally()

    async def leave() -> None:
        running = asyncio.ensure_future(performed(scene, tally=tally))
        await scene.time.sleep(1000.0)
        running.cancel()
        await asyncio.wait([running])

    await scene.time.run(leave())
    assert (tally.hedges, len(scene.platform.jobs)) == (HEDGES, 1 + HEDGES)
    assert scene.platform.left == []


async def test_a_hedge_that_fails_leaves_the_first_job_alone() -> None:
    scene, tally = Scene(in_turn(done(200.0), DIED)), Tally()
    answer = await scene.time.run(performed(scene, tally=tally))
    assert answer.state is not None
    assert (answer.state.id, tally.attempts) == ("j1", 1)
    assert tally.hedges == HEDGES


async def test_a_submission_of_unknown_fate_is_counted() -> None:
    def cut_off(number: int) -> Reply:
        return httpx2.ReadError("cut off") if number == 1 else None

    scene, tally = Scene(in_turn(done()), on_run=cut_off), Tally()
    await scene.time.run(performed(scene, tally=tally))
    assert (tally.attempts, tally.unconfirmed) == (2, 1)


async def test_an_outage_of_the_platform_is_outlived() -> None:
    """Also by a single task, whose submissions are all answered with 502 for a while."""
    scene, tally = Scene(in_turn(done()), on_run=lambda number: None), Tally()
    begun = scene.time.now
    scene.platform.on_run = lambda number: httpx2.Response(502) if scene.time.now < begun + 20 else None
    await scene.time.run(performed(scene, tally=tally))
    assert (tally.attempts, tally.unconfirmed) == (4, 3)


async def test_a_broken_endpoint_gives_way_to_the_next() -> None:
    def script(job: ScriptedJob) -> Timeline:
        return done() if job.endpoint == "id-spare" else DIED

    scene = Scene(script)
    routes = [scene.route(), scene.route("spare")]

    async def all_of_them() -> list[Answer]:
        return await asyncio.gather(*(performed(scene, routes, index=number) for number in range(12)))

    answers = await scene.time.run(all_of_them())
    assert {answer.route.endpoint.name for answer in answers} == {"spare"}
    assert not routes[0].breaker.closed
    tried = sum(job.endpoint == "id-words" for job in scene.platform.jobs)
    assert FAILURES <= tried <= FAILURES + routes[0].limit
    assert not any(route._out for route in routes)


async def test_a_single_task_finds_its_way_to_the_next_endpoint_too() -> None:
    scene, tally = Scene(lambda job: done() if job.endpoint == "id-spare" else DIED), Tally()
    answer = await scene.time.run(performed(scene, [scene.route(), scene.route("spare")], tally))
    assert (answer.route.endpoint.name, tally.attempts) == ("spare", 3)


async def test_a_broken_endpoint_is_given_up_after_its_rests() -> None:
    scene = Scene(in_turn(DIED))
    route = scene.route()

    async def all_of_them() -> list[Answer | BaseException]:
        tasks = (performed(scene, [route], index=number) for number in range(30))
        return await asyncio.gather(*tasks, return_exceptions=True)

    begun = scene.time.now
    ends = await scene.time.run(all_of_them())
    assert all(isinstance(end, FanscribeError) for end in ends)
    assert any("nothing more is sent there" in str(end) for end in ends)
    assert scene.time.now - begun < 90
    assert len(scene.platform.jobs) < 15


async def test_it_recovers_when_the_endpoint_does() -> None:
    scene = Scene(lambda job: DIED if scene.time.now < 1006 else done())

    async def all_of_them() -> list[Answer]:
        route = scene.route()
        return await asyncio.gather(*(performed(scene, [route], index=number) for number in range(8)))

    assert len(await scene.time.run(all_of_them())) == 8


@pytest.mark.parametrize("after_s", [0.05, 0.5, 1.5, 7.0, 9.99])
async def test_leaving_cancels_the_job_at_any_moment(after_s: float) -> None:
    scene = Scene(in_turn(done()), takes_s=1.0)
    route = scene.route()

    async def leave() -> None:
        running = asyncio.ensure_future(performed(scene, [route]))
        await scene.time.sleep(after_s)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    await scene.time.run(leave())
    assert scene.platform.left == []
    assert route._out == {}
    async with asyncio.timeout(1), route.slot():
        pass


async def test_leaving_at_every_turn_of_the_loop_leaves_no_job(tmp_path: Path) -> None:
    """Wherever a cancellation strikes between an id and the code that would cancel it."""
    for turn in range(80):
        scene = Scene(in_turn(forever()), store=FolderResults(tmp_path / str(turn)))

        async def leave(scene: Scene = scene, turn: int = turn) -> None:
            running = asyncio.ensure_future(performed(scene))
            for _ in range(turn):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])

        await scene.time.run(leave())
        assert scene.platform.left == [], f"after {turn} turns"


class TestEarlierRuns:
    """Jobs that a run which died left behind."""

    async def _left(self, scene: Scene) -> None:
        """Send a job and die: nothing is cancelled."""
        running = asyncio.ensure_future(performed(scene))
        await scene.time.sleep(3.0)
        for each in scene.platform.jobs:
            each.cancelled = False
        running.cancel()
        await asyncio.wait([running])
        for each in scene.platform.jobs:
            each.cancelled = False

    async def _resumed(self, scene: Scene) -> tuple[Answer | None, Tally]:
        route, span, tally = scene.route(), span_of(), Tally()
        means = scene.new_means()
        async with route.slot():
            answer = await attached(task_of(span), Cargo(span, None), [route], tally, means)
        return answer, tally

    async def test_its_job_is_waited_for(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(done(30.0)), store=FolderResults(tmp_path))
        await scene.time.run(self._left(scene))
        answer, tally = await scene.time.run(self._resumed(scene))
        assert answer is not None
        assert (tally.attempts, tally.unconfirmed, len(scene.platform.jobs)) == (1, 0, 1)

    @pytest.mark.parametrize("end", [DIED, GONE, CORRUPT, ((0.0, {"status": "CANCELLED"}),)])
    async def test_a_job_without_an_answer_is_nothing(self, tmp_path: Path, end: Timeline) -> None:
        scene = Scene(in_turn(forever()), store=FolderResults(tmp_path))
        await scene.time.run(self._left(scene))
        scene.platform.jobs[0].timeline = end
        answer, tally = await scene.time.run(self._resumed(scene))
        assert (answer, tally.unconfirmed) == (None, 0)

    async def test_an_outage_is_no_reason_to_pay_again(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(((0.0, {"status": "IN_QUEUE"}),)), store=FolderResults(tmp_path))
        await scene.time.run(self._left(scene))
        up = done(60.0)
        scene.platform.jobs[0].timeline = ((0.0, 503), *up[2:])
        answer, _ = await scene.time.run(self._resumed(scene))
        assert answer is not None
        assert len(scene.platform.jobs) == 1

    async def test_an_earlier_job_that_is_stuck_gets_another_beside_it(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(forever("IN_QUEUE"), done()), store=FolderResults(tmp_path))
        await scene.time.run(self._left(scene))
        answer, tally = await scene.time.run(self._resumed(scene))
        assert answer is not None
        assert tally.hedges == 1
        assert scene.platform.left == []

    async def _left_with_a_hedge(self, scene: Scene) -> None:
        """Die while a job runs beside a straggler."""
        running = asyncio.ensure_future(performed(scene))
        while len(scene.platform.jobs) < 2:
            await scene.time.sleep(1.0)
        await scene.time.sleep(3.0)
        running.cancel()
        await asyncio.wait([running])
        for each in scene.platform.jobs:
            each.cancelled = False

    async def test_the_job_beside_a_straggler_is_stopped_when_the_other_one_answers(
        self, tmp_path: Path
    ) -> None:
        scene = Scene(in_turn(forever(), done(12.0)), store=FolderResults(tmp_path))
        await scene.time.run(self._left_with_a_hedge(scene))
        answer, _ = await scene.time.run(self._resumed(scene))
        assert answer is not None
        assert answer.state is not None
        assert (answer.state.id, len(scene.platform.jobs)) == ("j2", 2)
        assert scene.platform.left == []

    async def test_the_one_that_has_its_answer_is_asked_first(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(forever(), forever()), store=FolderResults(tmp_path))
        await scene.time.run(self._left_with_a_hedge(scene))
        scene.platform.jobs[0].timeline = done(1.0)
        answer, _ = await scene.time.run(self._resumed(scene))
        assert answer is not None
        assert answer.state is not None
        assert answer.state.id == "j1"
        assert scene.platform.left == []

    async def test_leaving_stops_every_job_that_was_left(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(forever()), store=FolderResults(tmp_path))
        await scene.time.run(self._left_with_a_hedge(scene))

        async def leave() -> None:
            running = asyncio.ensure_future(self._resumed(scene))
            await scene.time.sleep(2.0)
            running.cancel()
            await asyncio.wait([running])

        await scene.time.run(leave())
        assert scene.platform.left == []

    async def test_a_job_that_another_run_cancelled_is_done_again(self, tmp_path: Path) -> None:
        """Two runs wait for one job, and one of them leaves."""
        scene = Scene(in_turn(done(30.0)), store=FolderResults(tmp_path))

        async def both() -> Answer:
            first = asyncio.ensure_future(performed(scene))
            await scene.time.sleep(5.0)
            second = asyncio.ensure_future(self._resumed(scene))
            await scene.time.sleep(5.0)
            second.cancel()
            await asyncio.wait([second])
            return await first

        answer = await scene.time.run(both())
        assert answer.state is not None
        assert answer.state.id == "j2"
        assert [each.cancelled for each in scene.platform.jobs] == [True, False]

    async def test_a_job_that_another_run_had_no_more_need_of_is_not_done_again(self, tmp_path: Path) -> None:
        """The other run got the answer from a job of its own, and stopped this one."""
        scene = Scene(in_turn(forever()), store=FolderResults(tmp_path))
        answered = TranscribeOutput(text="hi", duration=30.0, engine="scripted 1")

        async def both() -> Answer:
            first = asyncio.ensure_future(performed(scene))
            await scene.time.sleep(5.0)
            await scene.new_means().kept.keep(task_of(span_of()).identity(scene.route()), answered)
            scene.platform.jobs[0].cancelled = True
            return await first

        answer = await scene.time.run(both())
        assert isinstance(answer.output, TranscribeOutput)
        assert answer.output.text == "hi"
        assert len(scene.platform.jobs) == 1

    async def test_somebody_who_cancels_twice_means_it(self, tmp_path: Path) -> None:
        scene = Scene(in_turn(((0.0, {"status": "CANCELLED"}),)), store=FolderResults(tmp_path))
        with pytest.raises(JobCancelledError):
            await scene.time.run(performed(scene))
        assert len(scene.platform.jobs) == 2

    async def test_an_intention_without_an_id_is_counted_by_every_later_run(self, tmp_path: Path) -> None:
        store = FolderResults(tmp_path)
        scene = Scene(in_turn(forever()), store=store)
        route = scene.route()
        work = task_of(span_of()).identity(route)

        async def intend() -> None:
            await scene.means.kept.intend(work)

        await scene.time.run(intend())
        await scene.time.run(self._again(scene))
        scene.platform.jobs[0].timeline = DIED
        found = await scene.time.run(self._resumed(scene))
        assert found[1].unconfirmed == 1

    async def _again(self, scene: Scene) -> None:
        """A second run, which finds the intention, sends its own job and dies as well."""
        scene.means = scene.new_means()
        answer, tally = await self._resumed(scene)
        assert (answer, tally.unconfirmed) == (None, 1)
        await scene.means.kept.jobs(task_of(span_of()).identity(scene.route()))
        await self._left(scene)

    async def test_what_was_left_in_order_is_not_counted(self, tmp_path: Path) -> None:
        """Interrupted by its user while its submission was under way: the job was stopped, and that is known."""
        scene = Scene(in_turn(forever()), store=FolderResults(tmp_path), takes_s=1.0)

        async def leave() -> None:
            running = asyncio.ensure_future(performed(scene))
            await scene.time.sleep(0.5)
            running.cancel()
            await asyncio.wait([running])

        await scene.time.run(leave())
        answer, tally = await scene.time.run(self._resumed(scene))
        assert (answer, tally.unconfirmed) == (None, 0)

    async def test_what_was_certainly_not_taken_is_not_counted(self, tmp_path: Path) -> None:
        scene = Scene(
            in_turn(done()), store=FolderResults(tmp_path), on_run=lambda number: httpx2.Response(413)
        )
        with pytest.raises(PayloadTooLargeError):
            await scene.time.run(performed(scene))
        answer, tally = await scene.time.run(self._resumed(scene))
        assert (answer, tally.unconfirmed) == (None, 0)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (TaskFailedError(TaskError(code=ErrorCode.OUT_OF_MEMORY, message="m")), True),
        (TaskFailedError(TaskError(code=ErrorCode.RESULT_TOO_LARGE, message="m")), True),
        (TaskFailedError(TaskError(code=ErrorCode.INVALID_INPUT, message="m")), False),
        (PayloadTooLargeError("m"), True),
        (TransportError("m"), False),
        (AnswerError("m"), False),
    ],
)
def test_what_is_too_much(error: FanscribeError, verdict: Any) -> None:
    assert too_much(error) is verdict
