"""One job: sent, watched by prediction, told of, and stopped on the platform when we leave."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from tests.scripted import Scene, Timeline, done, forever, output

from fanscribe import endpoint as endpoint_module
from fanscribe.contracts.errors import (
    AnswerError,
    JobCancelledError,
    JobLostError,
    JobTimedOutError,
    RateLimitedError,
    TaskFailedError,
    TransportError,
    UnconfirmedError,
)
from fanscribe.contracts.job import JobState, JobStatus
from fanscribe.contracts.task import Stage, TranscribeOutput
from fanscribe.pipeline.job import OUTAGE_S, Rhythm, Watched, read_answer, submit, watch

pytestmark = pytest.mark.usefixtures("no_backoff")


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats of one HTTP call follow at once."""
    monkeypatch.setattr(endpoint_module, "_backoff", lambda state: 0.0)


def scene_of(timeline: Timeline, **about: Any) -> Scene:
    return Scene(lambda job: timeline, **about)


async def sent(scene: Scene) -> Watched:
    watched = Watched(scene.time.now)
    await submit(scene.route().api, {"audio": "data:,"}, {}, watched, scene.calls)
    return watched


async def followed(scene: Scene, rhythm: Rhythm) -> JobState:
    return await watch(scene.route().api, await sent(scene), rhythm, scene.calls)


async def test_the_answer_comes_soon_after_it_is_there() -> None:
    scene = scene_of(done(after_s=60.0))
    begun = scene.time.now
    state = await scene.time.run(followed(scene, Rhythm(expected_s=60.0, attentive=False)))
    assert state.status is JobStatus.COMPLETED
    assert scene.time.now - begun < 60.0 + 2.0
    assert isinstance(read_answer(Stage.TRANSCRIBE, "words", state), TranscribeOutput)


async def test_what_is_known_of_it_is_told() -> None:
    shares = [{"phase": "loading", "share": 0.5}, {"phase": "running", "share": 0.25}, "not ours"]
    scene = scene_of(
        (
            (0.0, {"status": "IN_QUEUE"}),
            (3.0, {"status": "IN_PROGRESS"}),
            *((4.0 + n, {"status": "IN_PROGRESS", "output": each}) for n, each in enumerate(shares)),
            (9.0, {"status": "COMPLETED", "output": output()}),
        )
    )
    watched, told = Watched(scene.time.now), []

    async def work() -> None:
        await submit(scene.route().api, {"audio": "data:,"}, {}, watched, scene.calls)
        await watch(
            *(scene.route().api, watched, Rhythm(5.0), scene.calls),
            lambda: told.append((watched.starting, watched.progress and watched.progress.share)),
        )

    begun = scene.time.now
    await scene.time.run(work())
    assert list(dict.fromkeys(told)) == [(True, None), (True, 0.5), (True, 0.25)]
    assert watched.taken_at is not None
    assert watched.taken_at - begun == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ({"status": "FAILED", "error": "worker died"}, TaskFailedError),
        ({"status": "CANCELLED"}, JobCancelledError),
        ({"status": "TIMED_OUT"}, JobTimedOutError),
        (404, JobLostError),
    ],
)
async def test_a_bad_end_is_an_error(end: Mapping[str, Any] | int, kind: type[Exception]) -> None:
    scene = scene_of(((0.0, {"status": "IN_QUEUE"}), (2.0, end)))
    with pytest.raises(kind):
        await scene.time.run(followed(scene, Rhythm()))


async def test_an_outage_is_waited_for_but_not_for_ever() -> None:
    short = scene_of(((0.0, 503), (OUTAGE_S - 10.0, {"status": "COMPLETED", "output": output()})))
    assert (await short.time.run(followed(short, Rhythm()))).status is JobStatus.COMPLETED
    long = scene_of(((0.0, 503),))
    begun = long.time.now
    with pytest.raises(TransportError):
        await long.time.run(followed(long, Rhythm()))
    assert OUTAGE_S <= long.time.now - begun < OUTAGE_S + 10


async def test_a_platform_that_asks_to_slow_down_is_asked_again() -> None:
    def busy(number: int) -> httpx2.Response | None:
        return httpx2.Response(429) if number <= 12 else None

    scene = scene_of(done(), on_run=busy)
    await scene.time.run(sent(scene))
    assert len(scene.platform.jobs) == 1
    scene = scene_of(done(), on_run=lambda number: httpx2.Response(429))
    with pytest.raises(RateLimitedError):
        await scene.time.run(sent(scene))


@pytest.mark.parametrize(
    "reply", [httpx2.Response(500), httpx2.ReadError("cut off"), httpx2.Response(200, text="?")]
)
async def test_a_submission_of_unknown_fate_is_not_repeated(reply: httpx2.Response | Exception) -> None:
    scene = scene_of(done(), on_run=lambda number: reply)
    with pytest.raises(UnconfirmedError, match="whether the job was taken is not known"):
        await scene.time.run(sent(scene))
    assert scene.platform.submissions == 1


async def test_what_never_arrived_is_sent_again() -> None:
    refused = [httpx2.ConnectError("refused"), httpx2.PoolTimeout("no connection is free")]
    scene = scene_of(done(), on_run=lambda number: refused[number - 1] if number <= 2 else None)
    await scene.time.run(sent(scene))
    assert scene.platform.submissions == 3


@pytest.mark.parametrize("times", [1, 2])
async def test_leaving_while_submitting_waits_for_the_id_and_cancels(times: int) -> None:
    scene = scene_of(forever(), takes_s=1.0)

    async def leave() -> None:
        submitting = asyncio.ensure_future(sent(scene))
        await scene.time.sleep(0.5)
        for _ in range(times):
            submitting.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([submitting])
        assert submitting.cancelled()

    await scene.time.run(leave())
    await scene.time.rest()
    assert [each.cancelled for each in scene.platform.jobs] == [True]


def test_another_major_contract_is_refused() -> None:
    state = JobState(id="j", status=JobStatus.COMPLETED, output={**output(), "contract_version": "2.0"})
    with pytest.raises(AnswerError, match="speaks contract 2"):
        read_answer(Stage.TRANSCRIBE, "words", state)
    with pytest.raises(AnswerError, match=r"job j on words gave an answer .* \(segments\)"):
        read_answer(
            Stage.TRANSCRIBE, "words", state.model_copy(update={"output": {**output(), "segments": 1}})
        )


def test_somebody_who_watches_is_shown_something_every_second() -> None:
    waits = [Rhythm(100.0).wait_s(elapsed_s) for elapsed_s in (0, 1, 10, 30, 3600)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.05, 1.0)


def test_nobody_looks_before_there_is_something_to_see() -> None:
    rhythm, at_s, looks = Rhythm(100.0, attentive=False), 0.0, []
    while at_s < 110.0:
        at_s += rhythm.wait_s(at_s)
        looks.append(at_s)
    assert [round(each, 1) for each in looks[:4]] == [0.5, 30.0, 60.0, 100.5]
    assert max(later - sooner for sooner, later in itertools.pairwise(looks[3:])) <= 2.5
