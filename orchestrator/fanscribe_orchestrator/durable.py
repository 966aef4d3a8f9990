"""Requests that come again: by their idempotency key or their content they get the result that is kept.

What makes a restarted job cheap lies deeper: `fanscribe.pipeline` keeps cuts, child jobs and answers under the
digest of the audio, and finds them again. Here whole requests are kept, so that one that is sent twice makes no
child job, and two at once on one worker are one piece of work.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fanscribe import __version__
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.contracts.transcript import Transcript
from fanscribe.contracts.version import CONTRACT_VERSION
from fanscribe.results import LearnedFactors, request_key
from fanscribe.results.learned import Factor
from fanscribe_orchestrator.places import Place

_log = logging.getLogger(__name__)

_OF_THE_CALL = {
    "audio",
    "cache",
    "contract_version",
    "deadline_s",
    "diarize",
    "idempotency_key",
    "notify",
    "stream",
    "traceparent",
}
"""Fields that say where the audio lies and how the answer is delivered (`diarize` is said by `speaker_detection`)."""

_OF_THE_ANSWER = {"response_format"}
"""Fields that change only how the transcript is written."""

KEEP_S = 5.0
"""How long a finished result may take to be kept: its caller waits for it."""

NOT_KEPT = (
    "idempotency_key: this orchestrator keeps no results, so the same request costs as much again later; set "
    "FANSCRIBE_RESULTS on its endpoint"
)

NOT_WANTED = (
    "idempotency_key: with cache: false nothing is kept, so the same request costs as much again later"
)


class SteadyFactors(LearnedFactors):
    """Learned factors as they were when a request was first begun: a plan that is made again prefers the same
    endpoints, whatever was learned or lost meanwhile. What is learned goes to `latest`.
    """

    def __init__(self, latest: LearnedFactors, factors: Mapping[tuple[str, str], Factor]) -> None:
        self._latest = latest
        self._factors = dict(factors)

    def factors(self) -> dict[tuple[str, str], Factor]:
        """Those of the first beginning."""
        return dict(self._factors)

    def learn(self, observations: Any) -> None:
        """See LearnedFactors."""
        self._latest.learn(observations)


@dataclass(slots=True)
class _Flight:
    """A piece of work under way on this worker: one holder works, the others wait for what comes of it."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0
    transcript: Transcript | None = None
    record: dict[str, Any] | None = None


class Ledger:
    """The requests of one worker, and those kept in `place` by any."""

    def __init__(self, place: Place, catalogue: Catalogue) -> None:
        self._place = place
        self._engines = _engines(catalogue)
        self._flights: dict[str, _Flight] = {}

    @asynccontextmanager
    async def entry(self, asked: OrchestratorInput) -> AsyncIterator["Entry"]:
        """The entry of one request, to be left when it is answered.

        Another one with the same idempotency key waits here. It neither holds nor needs anything else meanwhile.
        """
        entry = Entry(self, self._place, asked)
        if asked.idempotency_key is None or not asked.cache:
            yield entry
            return
        async with self.flight(f"key {asked.idempotency_key}") as flight:
            entry.join(flight)
            yield entry

    @asynccontextmanager
    async def flight(self, name: str) -> AsyncIterator[_Flight]:
        """One at a time of all that have this name."""
        flight = self._flights.setdefault(name, _Flight())
        flight.holders += 1
        try:
            async with flight.turn:
                yield flight
        finally:
            flight.holders -= 1
            if not flight.holders:
                del self._flights[name]

    def content(self, asked: OrchestratorInput, source_digest: str) -> str:
        """The key of what this request makes of this audio, here and now."""
        about = asked.model_dump(mode="json", exclude=_OF_THE_CALL | _OF_THE_ANSWER, exclude_defaults=True)
        return request_key(
            {
                "source": source_digest,
                "request": about,
                "engines": self._engines,
                "contract": CONTRACT_VERSION,
                "version": __version__,
            }
        )


class Entry:
    """One request in the ledger.

    `replayed`: its answer is that of an earlier request. `durable`: its work lies where a restarted orchestrator
    finds it; known for certain once it is kept, or replayed. With `cache: false` nothing is looked up or kept.
    """

    def __init__(self, ledger: Ledger, place: Place, asked: OrchestratorInput) -> None:
        self.replayed = False
        self._ledger = ledger
        # What is asked in a data: URI is large, and may be let go of once it has been fetched.
        self._reference = hashlib.sha256(asked.audio.encode()).hexdigest() if asked.idempotency_key else ""
        self._store = place.store if asked.cache else None
        self._place = place
        self._asked = asked
        self._held = False
        self._flights: list[_Flight] = []
        self._joined: _Flight | None = None
        self._content: str | None = None
        self._begun: dict[str, Any] = {}
        self._factors: LearnedFactors | None = None

    @property
    def durable(self) -> bool:
        """Whether the work lies in a durable place. Keeping never fails loudly, so it is read back."""
        return self._place.durable and self._held

    @property
    def warnings(self) -> list[str]:
        """What the caller should know of how the request is kept."""
        if self._asked.idempotency_key is None or self._store is not None:
            return []
        return [NOT_KEPT if self._asked.cache else NOT_WANTED]

    @property
    def learned(self) -> LearnedFactors | None:
        """What the plan may know of the endpoints' times; steady over the restarts of a request."""
        return self._factors

    def join(self, flight: _Flight) -> None:
        """Take the place of those who came before with the same idempotency key."""
        self._joined = flight
        self._flights.append(flight)

    async def known(self) -> Transcript | None:
        """The transcript of an earlier request with the same idempotency key, before any audio is fetched.

        Raises UsageError where that one asked for something else.
        """
        if self._joined is None:
            return None
        found = await self._recorded()
        if found is None:
            await self._record()
            return None
        if found.get("asked") != self._asked_digest():
            raise UsageError(
                "field idempotency_key: it came before with a different request: send that one unchanged, or take a "
                "new key"
            )
        if found.get("reference") != self._reference:
            return None  # a presigned URL is another one each time: its content will tell
        return await self._earlier(self._joined, found.get("content"))

    @asynccontextmanager
    async def source(self, digest: str) -> AsyncIterator[Transcript | None]:
        """The transcript of an earlier request for the same of the same audio; None where there is work to do.

        `digest` is that of the audio's bytes. An equal request on this worker waits until this one has left.
        Raises UsageError where the idempotency key came before with other audio.
        """
        if not self._asked.cache:
            yield None
            return
        content = self._content = self._ledger.content(self._asked, digest)
        transcript = None
        if self._joined is not None:
            found = await self._recorded() or {}
            if found.get("source") not in (None, digest):
                raise UsageError(
                    "field idempotency_key: it came before with other audio: send that again, or take a new key"
                )
            # What was deployed meanwhile makes another content: the key still stands for the first result.
            transcript = await self._earlier(self._joined, found.get("content"))
            if transcript is None:
                await self._record(digest, content)
        if transcript is not None:
            yield transcript
            return
        async with self._ledger.flight(content) as flight:
            self._flights.append(flight)
            transcript = await self._earlier(flight, content)
            if transcript is None:
                await self._begin(content)
            yield transcript

    async def keep(self, transcript: Transcript, within_s: float = KEEP_S) -> None:
        """Keep the transcript for the next request like this, in `within_s` seconds or not at all. One that lacks
        something is not kept: the next one shall do what is missing, by the plan of its first beginning.
        """
        if self._content is None:
            return
        if not transcript.partial:
            self._hand_on(transcript)
        try:
            async with asyncio.timeout(within_s):
                if not transcript.partial:
                    said = {"transcript": await asyncio.to_thread(transcript.to_dict)}
                    await self._put(self._content, {"ended": True, **said})
                # An equal request on another worker may have come to a whole one meanwhile: that stays.
                elif "transcript" not in (await self._get(self._content) or {}):
                    await self._put(self._content, {"ended": True, **self._begun})
                self._held = bool((await self._get(self._content) or {}).get("ended"))
        except TimeoutError:
            _log.warning(
                "the result was not kept within %g s: an equal request is not answered from it", within_s
            )

    async def _begin(self, content: str) -> None:
        """Note that the work begins, or find from when on it was under way."""
        latest = self._place.learned
        if self._store is None or latest is None:
            return
        kept = await self._get(content) or {}
        if "transcript" in kept:  # by another worker, just now: its tasks are kept, and its result stays
            return
        found = _factors(kept.get("factors"))
        if found is None:
            found = await asyncio.to_thread(latest.factors)
        listed = [[*about, each.value, each.count] for about, each in sorted(found.items())]
        self._begun = {"factors": listed}
        if kept != self._begun:  # else another worker is at it, whose result may be there before we write
            await self._put(content, self._begun)
        self._factors = SteadyFactors(latest, found)

    async def _earlier(self, flight: _Flight, content: str | None) -> Transcript | None:
        """What somebody before us on this worker has just made, else what is kept."""
        transcript = flight.transcript
        if transcript is None and content is not None:
            found = await self._get(content) or {}
            try:
                transcript = await asyncio.to_thread(Transcript.from_dict, found["transcript"])
            except (KeyError, ValidationError):
                return None
        if transcript is not None:
            self.replayed, self._held = True, self._store is not None
            self._hand_on(transcript)
        return transcript

    def _hand_on(self, transcript: Transcript) -> None:
        for flight in self._flights:
            flight.transcript = transcript

    async def _recorded(self) -> dict[str, Any] | None:
        assert self._joined is not None
        key = self._asked.idempotency_key
        return await self._get(request_key({"idempotency_key": key})) or self._joined.record

    async def _record(self, source: str | None = None, content: str | None = None) -> None:
        """Note what this idempotency key stands for."""
        assert self._joined is not None
        self._joined.record = {
            "asked": self._asked_digest(),
            "reference": self._reference,
            "source": source,
            "content": content,
        }
        await self._put(request_key({"idempotency_key": self._asked.idempotency_key}), self._joined.record)

    def _asked_digest(self) -> str:
        about = self._asked.model_dump(mode="json", exclude=_OF_THE_CALL, exclude_defaults=True)
        return request_key({"asked": about})

    async def _get(self, key: str) -> dict[str, Any] | None:
        return None if self._store is None else await asyncio.to_thread(self._store.get, key)

    async def _put(self, key: str, value: dict[str, Any]) -> None:
        if self._store is not None:
            await asyncio.to_thread(self._store.put, key, value)


def _engines(catalogue: Catalogue) -> list[Any]:
    """What is deployed, as far as it decides on the words: which models, in which order of preference."""
    return [
        [
            each.name,
            each.variant.model_dump(mode="json", include={"id", "family", "model", "options", "parts"}),
        ]
        for each in catalogue.endpoints
    ]


def _factors(listed: Any) -> dict[tuple[str, str], Factor] | None:
    try:
        return {(endpoint, what): Factor(float(value), int(count)) for endpoint, what, value, count in listed}
    except (TypeError, ValueError):
        return None
