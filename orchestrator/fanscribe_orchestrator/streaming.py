"""Segments to whoever reads /stream, in order, each once, as soon as they are final."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from fanscribe.contracts.orchestration import StreamedSegments
from fanscribe.contracts.transcript import Segment, Transcript
from fanscribe.pipeline.final import FinalSegments
from fanscribe_orchestrator.clipping import moved

CHUNK_BYTES = 500_000
"""The platform takes chunks of 1 MB; a larger one it would split anywhere."""

_AT_MOST = 0.2
"""The part of the time that may go into finding out what is final: it grows with the transcript."""

_log = logging.getLogger(__name__)


class Stream:
    """The segments of one request. `send` posts a chunk. `offset_s` is where the audio begins in its file."""

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        offset_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._offset_s = offset_s
        self._clock = clock
        self._sent: list[Segment] = []
        self._until_s = 0.0

    async def advance(self, final: FinalSegments) -> float:
        """Send what became final since; gives the seconds to wait before it is worth another look."""
        began = self._clock()
        segments = await asyncio.to_thread(final.segments)
        took_s = self._clock() - began
        await self._pass_on(moved(segments[len(self._sent) :], self._offset_s))
        return took_s / _AT_MOST

    async def finish(self, transcript: Transcript) -> None:
        """Send the rest of the finished transcript."""
        if self._sent != transcript.segments[: len(self._sent)]:
            _log.error("segments were streamed that differ from the finished transcript's")
        await self._pass_on(transcript.segments[len(self._sent) :])
        end_s = self._offset_s + transcript.duration
        if self._until_s < end_s:
            await self._send(StreamedSegments(until_s=end_s).model_dump(mode="json"))

    async def _pass_on(self, segments: Sequence[Segment]) -> None:
        for batch in batches(segments):
            # Noted before it is sent: one that is cut off half-way is not sent twice.
            self._sent += batch
            self._until_s = max(self._until_s, *(each.end for each in batch))
            await self._send(StreamedSegments(segments=batch, until_s=self._until_s).model_dump(mode="json"))


def batches(segments: Sequence[Segment], limit_bytes: int = CHUNK_BYTES) -> Iterator[list[Segment]]:
    """The segments in order, as many together as fit into a chunk; one that is larger goes alone."""
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        own = len(json.dumps(StreamedSegments(segments=[segment]).model_dump(mode="json")))
        if batch and size + own > limit_bytes:
            yield batch
            batch, size = [], 0
        batch.append(segment)
        size += own
    if batch:
        yield batch
