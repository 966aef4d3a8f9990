"""What a watcher is told of a fan-out, and what is given up at a deadline."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.scripted import Scene, ScriptedJob, Timeline, deployed, done, failed, forever, span_of

from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import DeadlineError, ErrorCode
from fanscribe.pipeline.coverage import holes
from fanscribe.pipeline.cuts import Chunk
from fanscribe.pipeline.fanout import FanOut
from fanscribe.pipeline.join import join
from fanscribe.pipeline.language import LanguageVote
from fanscribe.pipeline.outcome import Outcome
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.sharing import Sharing
from fanscribe.pipeline.situation import Situation
from fanscribe.pipeline.supply import Supplied

CHUNKS, HEARD_S = 4, 100.0


class Watcher:
    """Notes what it is told, with the time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.told: list[tuple[float, str]] = []

    def planned(self, plan: Plan) -> None:
        """Not called by the fan-out itself."""

    def decoded(self, duration_s: float) -> None:
        """Not called by the fan-out itself."""

    def settled(self, outcome: Outcome) -> None:
        """An outcome that stays."""
        self.told.append((self._scene.time.now - 1000.0, outcome.id))

    @property
    def names(self) -> list[str]:
        """The tasks, in the order in which they were settled."""
        return [name for _, name in self.told]


class Run:
    """One fan-out of a single stage, all of whose spans are there at once."""

    def __init__(
        self,
        script: dict[int, Timeline] | None = None,
        *,
        language: str | None = None,
        sharing: Sharing | None = None,
        scene: Scene | None = None,
    ) -> None:
        self.scene = scene or Scene(lambda job: (script or {}).get(index_of(job), done(10.0 + index_of(job))))
        endpoint = deployed(workers=8)
        catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
        request = make_request(model=endpoint.variant.id, language=language)
        self.plan = make_plan(request, catalogue, Situation(duration_s=CHUNKS * HEARD_S))
        self.watcher = Watcher(self.scene)
        platform = Platform(self.scene.http, "http://p/v2", "k", "local", sharing=sharing)
        votes: dict[int | None, LanguageVote] = {None: LanguageVote(language)}
        self.fan_out = FanOut(
            self.plan, platform, self.scene.means, votes, "talk", Path(), _nothing, self.watcher
        )

    async def supplying(self, indices: Sequence[int] = range(CHUNKS)) -> Supplied:
        for index in indices:
            self.fan_out.given([self.plan.stages[0]], span_of(index, HEARD_S))
        return Supplied(CHUNKS * HEARD_S, ("quiet",))

    async def to_end(self) -> None:
        await self.scene.time.run(self.fan_out.run(self.supplying()))


async def _nothing(*_: object) -> None:
    """No later run is to know."""


def index_of(job: ScriptedJob) -> int:
    return round(float(job.input["clip"]["start"]) / HEARD_S)


async def test_answers_in_a_language_that_was_named_stay_at_once() -> None:
    run = Run({0: done(30.0)}, language="en")
    await run.to_end()
    assert run.watcher.names == [f"transcribe-{index}" for index in (1, 2, 3, 0)]
    assert run.watcher.told[0][0] < 15 < 30 <= run.watcher.told[-1][0]


async def test_answers_in_doubt_stay_once_the_language_is_decided() -> None:
    script = {index: done(10.0 + 5 * index, language="de", speech_s=12.0) for index in range(CHUNKS)}
    run = Run(script)
    await run.to_end()
    assert run.watcher.names == [f"transcribe-{index}" for index in range(CHUNKS)]
    first, second, third, fourth = (at for at, _ in run.watcher.told)
    # Twenty seconds of speech decide: the first answer waits for the second, the others for nobody.
    assert 15 <= first == second < third < fourth


async def test_an_answer_in_another_language_stays_only_when_it_was_done_again() -> None:
    def script(job: ScriptedJob) -> Timeline:
        language = job.input.get("language") or ("fr" if index_of(job) == 0 else "de")
        return done(10.0, language=language, speech_s=12.0)

    run = Run(scene=Scene(script))
    await run.to_end()
    assert sorted(run.watcher.names) == [f"transcribe-{index}" for index in range(CHUNKS)]
    assert run.watcher.names[-1] == "transcribe-0"


async def test_a_failure_stays_too() -> None:
    run = Run({2: failed(ErrorCode.AUDIO_UNREADABLE, retryable=False)}, language="en")
    await run.to_end()
    assert sorted(run.watcher.names) == [f"transcribe-{index}" for index in range(CHUNKS)]


async def test_what_was_not_done_becomes_gaps() -> None:
    run = Run({1: forever(), 2: forever("IN_QUEUE")}, language="en")
    work = asyncio.ensure_future(run.fan_out.run(run.supplying()))

    async def until_late() -> None:
        await run.scene.time.sleep(60.0)
        work.cancel()
        await asyncio.wait({work})

    await run.scene.time.run(until_late())
    assert run.scene.platform.left == []
    supplied = run.fan_out.abandon(DeadlineError("too late"))
    assert supplied == Supplied(CHUNKS * HEARD_S, ("quiet",))
    transcript = join(run.plan, supplied, run.fan_out.outcomes)
    assert [(gap.start, gap.end, gap.reason) for gap in transcript.gaps] == [(100.0, 300.0, "too late")]
    assert len(transcript.words) == 2
    assert transcript.partial


async def test_what_was_not_even_decoded_becomes_a_gap() -> None:
    run = Run(language="en")

    async def slowly() -> Supplied:
        await run.supplying([0])
        await run.scene.time.sleep(1000.0)
        return Supplied(0.0, ())

    work = asyncio.ensure_future(run.fan_out.run(slowly()))

    async def until_late() -> None:
        await run.scene.time.sleep(60.0)
        work.cancel()
        await asyncio.wait({work})

    await run.scene.time.run(until_late())
    supplied = run.fan_out.abandon(DeadlineError("too late"))
    transcript = join(run.plan, supplied, run.fan_out.outcomes)
    assert [(gap.start, gap.end) for gap in transcript.gaps] == [(100.0, 400.0)]


async def test_requests_of_one_process_share_an_endpoints_places() -> None:
    scene = Scene(lambda job: done(10.0))
    sharing = Sharing(decodes=1)
    pool = sharing.pool("words", 1)
    runs = [Run(scene=scene, language="en", sharing=sharing) for _ in range(3)]
    pool.limit = 2  # in place of the nine that the endpoint's workers would allow
    most = 0

    def counted(job: ScriptedJob) -> Timeline:
        nonlocal most
        most = max(most, pool.out)
        return done(10.0)

    scene.platform.script = counted

    async def all_of_them() -> None:
        await asyncio.gather(*(run.fan_out.run(run.supplying()) for run in runs))

    await scene.time.run(all_of_them())
    assert all(len(run.fan_out.outcomes) == CHUNKS for run in runs)
    assert most == 2
    assert (pool.out, pool.waiting) == (0, 0)
    # They take turns: in the six rounds nobody waits long for a first answer, and nobody is done long before the rest.
    ends = [[at for at, _ in run.watcher.told] for run in runs]
    assert max(each[0] for each in ends) < 3.5 * 10.5
    assert min(each[-1] for each in ends) > 3.5 * 10.0


def test_holes() -> None:
    chunks = [
        Chunk(number, start, end, start, end)
        for number, start, end in ((0, 10, 20), (1, 20, 30), (2, 50, 60))
    ]
    assert holes(chunks, 70.0) == [(0.0, 10), (30, 50), (60, 70.0)]
    assert holes([], 5.0) == [(0.0, 5.0)]
    assert holes([Chunk(0, 0.0, 5.0, 0.0, 5.0)], 5.0) == []
