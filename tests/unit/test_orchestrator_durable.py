"""Requests that come again: one result for one key, or one content; and never that of another request."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulated import simulated_variant

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers
from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.contracts.transcript import Gap, Segment, Transcript, Word
from fanscribe.results import LearnedFactors
from fanscribe.results.folder import FolderResults
from fanscribe.results.learned import Observation
from fanscribe_orchestrator.durable import NOT_WANTED, Ledger
from fanscribe_orchestrator.places import Place

ONE, OTHER = "1" * 64, "2" * 64


def asked(audio: str = "https://example.org/talk.mp3", **fields: Any) -> OrchestratorInput:
    return OrchestratorInput(audio=audio, **fields)


def catalogue(*names: str) -> Catalogue:
    variants = {name: simulated_variant(name) for name in names or ("simulated-transcribe",)}
    endpoints = tuple(DeployedEndpoint(name, name, each, Workers()) for name, each in variants.items())
    return Catalogue(variants, endpoints)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(FolderResults(tmp_path / "results"), True, LearnedFactors(tmp_path / "learned.json"))


class Work:
    """What a request costs: how often the audio was fetched, how often it was transcribed."""

    def __init__(self, digest: str = ONE, transcript: Transcript | None = None) -> None:
        self.digest = digest
        self.transcript = transcript
        self.fetched = self.done = 0
        self.fault: OSError | None = None
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self) -> Transcript:
        self.done += 1
        await self.ready.wait()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        word = Word(f"take-{self.done}", 0.0, 1.0)
        made = Transcript(text=word.text, duration=1.0, segments=[Segment(0.0, 1.0, word.text, words=[word])])
        return self.transcript or made


async def answered(ledger: Ledger, request: OrchestratorInput, work: Work) -> tuple[str, bool, bool]:
    """The text of the answer, whether it was an earlier one's, whether it is durable: as the handler goes about it."""
    async with ledger.entry(request) as entry:
        transcript = await entry.known()
        if transcript is None:
            work.fetched += 1
            await asyncio.sleep(0)
            async with entry.source(work.digest) as transcript:
                if transcript is None:
                    transcript = await work()
                    await entry.keep(transcript)
        return transcript.text, entry.replayed, entry.durable


FIRST, AGAIN = ("take-1", False, True), ("take-1", True, True)


async def test_the_same_key_gives_the_same_result_without_fetching(place: Place) -> None:
    work, request = Work(), asked(idempotency_key="a")
    assert await answered(Ledger(place, catalogue()), request, work) == FIRST
    # Another worker, another day.
    assert await answered(Ledger(place, catalogue()), request, work) == AGAIN
    assert (work.fetched, work.done) == (1, 1)


async def test_the_same_content_gives_the_same_result(place: Place) -> None:
    work = Work()
    await answered(Ledger(place, catalogue()), asked(), work)
    elsewhere = asked("s3://bucket/copy.mp3", stream=True, deadline_s=100.0, response_format="srt")
    assert await answered(Ledger(place, catalogue()), elsewhere, work) == AGAIN
    assert (work.fetched, work.done) == (2, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"diarize": True},
        {"language": "de"},
        {"clip": {"start": 0, "end": 5}},
        {"channel": 1},
        {"keyterms": ["fan"]},
        {"timestamps": "segment"},
    ],
)
async def test_another_request_for_the_same_audio_is_other_work(place: Place, other: dict[str, Any]) -> None:
    work = Work()
    await answered(Ledger(place, catalogue()), asked(), work)
    assert await answered(Ledger(place, catalogue()), asked(**other), work) == ("take-2", False, True)


async def test_other_audio_is_other_work(place: Place) -> None:
    await answered(Ledger(place, catalogue()), asked(), Work(ONE))
    work = Work(OTHER)
    assert await answered(Ledger(place, catalogue()), asked(), work) == FIRST
    assert work.done == 1


async def test_what_is_deployed_anew_does_its_own_work_unless_a_key_says_otherwise(place: Place) -> None:
    work = Work()
    await answered(Ledger(place, catalogue()), asked(idempotency_key="a"), work)
    later = Ledger(place, catalogue("simulated-diarize"))
    assert await answered(later, asked(), work) == ("take-2", False, True)
    assert (
        await answered(later, asked("https://example.org/talk.mp3?signed=2", idempotency_key="a"), work)
        == AGAIN
    )


@pytest.mark.parametrize("other", [{"diarize": True}, {"response_format": "srt"}, {"language": "de"}])
async def test_a_key_that_came_with_another_request_is_refused(place: Place, other: dict[str, Any]) -> None:
    work = Work()
    await answered(Ledger(place, catalogue()), asked(idempotency_key="a"), work)
    with pytest.raises(UsageError, match="field idempotency_key: it came before with a different request"):
        await answered(Ledger(place, catalogue()), asked(idempotency_key="a", **other), work)
    assert (work.fetched, work.done) == (1, 1)


async def test_a_key_that_came_with_other_audio_is_refused(place: Place) -> None:
    await answered(Ledger(place, catalogue()), asked(idempotency_key="a"), Work(ONE))
    work = Work(OTHER)
    with pytest.raises(UsageError, match="field idempotency_key: it came before with other audio"):
        await answered(Ledger(place, catalogue()), asked("https://example.org/x", idempotency_key="a"), work)
    assert work.done == 0


async def test_a_url_that_is_signed_anew_is_the_same_audio(place: Place) -> None:
    work = Work()
    await answered(
        Ledger(place, catalogue()), asked("https://b.example/a?X-Sig=1", idempotency_key="a"), work
    )
    again = asked("https://b.example/a?X-Sig=2", idempotency_key="a")
    assert await answered(Ledger(place, catalogue()), again, work) == AGAIN
    assert (work.fetched, work.done) == (2, 1)


async def test_without_cache_it_is_done_anew_and_not_kept(place: Place) -> None:
    work = Work()
    await answered(Ledger(place, catalogue()), asked(idempotency_key="a"), work)
    for take in (2, 3):
        anew = await answered(Ledger(place, catalogue()), asked(cache=False, idempotency_key="a"), work)
        assert anew == (f"take-{take}", False, False)
    async with Ledger(place, catalogue()).entry(asked(cache=False, idempotency_key="a")) as entry:
        assert entry.warnings == [NOT_WANTED]
    assert await answered(Ledger(place, catalogue()), asked(), work) == AGAIN


async def test_without_a_store_nothing_is_durable_and_the_caller_is_told() -> None:
    work, request = Work(), asked(idempotency_key="a")
    ledger = Ledger(Place(), catalogue())
    assert await answered(ledger, request, work) == ("take-1", False, False)
    assert await answered(ledger, request, work) == ("take-2", False, False)
    async with ledger.entry(request) as entry:
        assert "keeps no results" in entry.warnings[0]
    async with ledger.entry(asked()) as entry:
        assert entry.warnings == []


@pytest.mark.parametrize("key", ["a", None])
@pytest.mark.parametrize("kept", [True, False])
async def test_two_at_once_are_one_piece_of_work(place: Place, key: str | None, kept: bool) -> None:
    work, ledger = Work(), Ledger(place if kept else Place(), catalogue())
    work.ready.clear()
    all_of_them = [
        asyncio.ensure_future(answered(ledger, asked(idempotency_key=key), work)) for _ in range(5)
    ]
    await asyncio.sleep(0.05)
    work.ready.set()
    first, *others = await asyncio.gather(*all_of_them)
    assert first == ("take-1", False, kept)
    assert others == [("take-1", True, kept)] * 4
    assert work.done == 1
    assert ledger._flights == {}


@pytest.mark.parametrize("kept", [True, False])
async def test_two_at_once_with_one_key_and_different_requests(place: Place, kept: bool) -> None:
    work, ledger = Work(), Ledger(place if kept else Place(), catalogue())
    work.ready.clear()
    first = asyncio.ensure_future(answered(ledger, asked(idempotency_key="a"), work))
    second = asyncio.ensure_future(answered(ledger, asked(idempotency_key="a", diarize=True), work))
    await asyncio.sleep(0.05)
    work.ready.set()
    assert await first == ("take-1", False, kept)
    with pytest.raises(UsageError, match="different request"):
        await second


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_whoever_waits_takes_over_when_the_first_one_ends_without_a_result(
    place: Place, end: str
) -> None:
    work, ledger = Work(), Ledger(place, catalogue())
    work.ready.clear()
    first = asyncio.ensure_future(answered(ledger, asked(idempotency_key="a"), work))
    second = asyncio.ensure_future(answered(ledger, asked(idempotency_key="a"), work))
    await asyncio.sleep(0.05)
    if end == "cancelled":
        first.cancel()
    else:
        work.fault = OSError("no room")
        work.ready.set()
    await asyncio.sleep(0.05)
    work.ready.set()
    assert await asyncio.wait_for(second, 5) == ("take-2", False, True)
    with pytest.raises((OSError, asyncio.CancelledError)):
        await first


async def test_a_transcript_that_lacks_something_is_not_replayed(place: Place) -> None:
    gap = Gap(0.0, 5.0, "transcribe", "lost")
    work = Work(transcript=Transcript(text="half", duration=10.0, gaps=[gap]))
    request = asked(idempotency_key="a")
    assert await answered(Ledger(place, catalogue()), request, work) == ("half", False, True)
    work.transcript = None
    assert await answered(Ledger(place, catalogue()), request, work) == ("take-2", False, True)
    assert await answered(Ledger(place, catalogue()), request, work) == ("take-2", True, True)


async def test_what_lacks_something_does_not_take_the_place_of_a_whole_result(place: Place) -> None:
    gap = Gap(0.0, 5.0, "transcribe", "lost")
    async with Ledger(place, catalogue()).entry(asked()) as entry, entry.source(ONE) as found:
        assert found is None
        # Meanwhile another worker does the same, and all of it.
        assert await answered(Ledger(place, catalogue()), asked(), Work()) == FIRST
        await entry.keep(Transcript(text="half", duration=10.0, gaps=[gap]))
        assert entry.durable
    assert await answered(Ledger(place, catalogue()), asked(), Work()) == AGAIN


class Ahead(FolderResults):
    """A place in which another worker's result lands just after the `look`th look at what is under way."""

    look = 0
    result: tuple[str, dict[str, Any]]

    def get(self, key: str) -> dict[str, Any] | None:
        """What is there; then comes the result."""
        found = super().get(key)
        if found is not None and "factors" in found:
            self.look -= 1
            if self.look == 0:
                super().put(*self.result)
        return found


@pytest.mark.parametrize("look", [1, 2])
async def test_beginning_does_not_take_the_place_of_a_result_that_came_meanwhile(
    place: Place, tmp_path: Path, look: int
) -> None:
    assert isinstance(place.store, FolderResults)
    ahead = Ahead(tmp_path / "results")
    async with Ledger(place, catalogue()).entry(asked()) as entry, entry.source(ONE):
        key = Ledger(place, catalogue()).content(asked(), ONE)
        transcript = Transcript(text="take-1", duration=1.0)
        ahead.look = look
        ahead.result = key, {"ended": True, "transcript": transcript.to_dict()}
        late = Ledger(Place(ahead, True, place.learned), catalogue())
        async with late.entry(asked()) as other, other.source(ONE):
            assert ahead.look <= 0
    assert await answered(Ledger(place, catalogue()), asked(), Work()) == AGAIN


async def test_a_place_that_is_slow_is_not_waited_for(place: Place) -> None:
    async with Ledger(place, catalogue()).entry(asked()) as entry, entry.source(ONE):
        await entry.keep(Transcript(text="whole", duration=1.0), within_s=0.0)
        assert not entry.durable


class Failing(FolderResults):
    """A place that takes nothing, and says so nowhere."""

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Lose it."""


async def test_a_store_that_does_not_keep_is_not_called_durable(tmp_path: Path) -> None:
    ledger = Ledger(Place(Failing(tmp_path), True), catalogue())
    assert await answered(ledger, asked(), Work()) == ("take-1", False, False)


@pytest.mark.parametrize(
    "damage", [lambda found: {}, lambda found: {"transcript": 5}, lambda found: {"transcript": {"text": 5}}]
)
async def test_a_kept_result_of_another_shape_is_nothing(
    place: Place, damage: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    work, ledger = Work(), Ledger(place, catalogue())
    await answered(ledger, asked(), work)
    assert place.store is not None
    key = ledger.content(asked(), ONE)
    found = place.store.get(key)
    assert found is not None
    place.store.put(key, damage(found))
    assert await answered(Ledger(place, catalogue()), asked(), work) == ("take-2", False, True)


async def test_the_plan_of_a_restarted_request_rests_on_what_was_known_at_first(place: Place) -> None:
    assert place.learned is not None
    place.learned.learn([Observation("words", "run", 1.0, 2.0)])
    first = place.learned.factors()

    async def begun() -> LearnedFactors:
        """A request that is begun and does not come to its end."""
        async with Ledger(place, catalogue()).entry(asked()) as entry, entry.source(ONE):
            assert entry.learned is not None
            return entry.learned

    assert (await begun()).factors() == first
    place.learned.learn([Observation("words", "run", 1.0, 9.0), Observation("other", "run", 1.0, 9.0)])
    latest = place.learned.factors()
    again = await begun()
    assert again.factors() == first != latest
    again.learn([Observation("words", "run", 1.0, 9.0)])
    assert again.factors() == first
    assert place.learned.factors()["words", "run"].count == 3
    # So does one that left something to do.
    gap = Gap(0.0, 5.0, "transcribe", "lost")
    await answered(Ledger(place, catalogue()), asked(), Work(transcript=Transcript(text="half", gaps=[gap])))
    assert (await begun()).factors() == first


async def test_nothing_of_the_request_or_the_audio_is_written_in_the_clear(
    place: Place, tmp_path: Path
) -> None:
    request = asked(
        "https://example.org/talk.mp3?token=hush", idempotency_key="order-4711", prompt="Ada Lovelace"
    )
    await answered(Ledger(place, catalogue()), request, Work())
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    names = " ".join(str(file) for file in tmp_path.rglob("*"))
    for secret in ("hush", "order-4711", "Lovelace"):
        assert secret.encode() not in written
        assert secret not in names
