"""What became of one request, for the receiver that its caller named."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fanscribe.contracts.errors import TaskError
from fanscribe.contracts.orchestration import Notify, NotifyEvent
from fanscribe_orchestrator.notify import Notifier

_LEAST_S = 1.0
"""A request that ends at its last moment still tries its receiver so long."""


class Fate:
    """Tells of one job. `left_s` gives the seconds that its answer may still take, `said` what stands for an error."""

    def __init__(
        self,
        notifier: Notifier,
        notify: Notify | None,
        job_id: str,
        left_s: Callable[[], float],
        said: Callable[[Exception], TaskError],
    ) -> None:
        self._notifier = notifier
        self._notify = notify
        self._job_id = job_id
        self._left_s = left_s
        self._said = said

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Within it the request is worked on: its start, failure and cancellation are told; see `completed`.

        Raises UsageError, before any work, for a receiver that may not be told or notifications that nobody can sign.
        """
        await self._notifier.check(self._notify)
        self._notifier.tell_in_background(self._notify, NotifyEvent.STARTED, self._job_id)
        try:
            yield
        except asyncio.CancelledError:
            # The platform waits for the end of a cancelled job, not for the news of it.
            self._notifier.tell_in_background(self._notify, NotifyEvent.CANCELLED, self._job_id)
            raise
        except Exception as error:
            await self._tell(NotifyEvent.FAILED, {"error": self._said(error).model_dump(mode="json")})
            raise

    async def completed(self, output: dict[str, Any]) -> None:
        """Tell of the answer; where that fails, the answer says so in its `warnings`."""
        warning = await self._tell(NotifyEvent.COMPLETED, {"output": output})
        if warning is not None:
            output["warnings"] = [*output.get("warnings", []), warning]

    async def _tell(self, event: NotifyEvent, more: dict[str, Any]) -> str | None:
        within_s = max(self._left_s(), _LEAST_S)
        return await self._notifier.tell(self._notify, event, self._job_id, more, within_s)
