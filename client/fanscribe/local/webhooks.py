"""Webhooks: one POST per finished job, repeated when the receiver does not answer 200."""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanscribe.local.job import Job
from fanscribe.local.wire import job_body

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger("fanscribe.local")


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """The platform's: three attempts in all, ten seconds apart; its limit per attempt is not documented."""

    attempts: int = 3
    pause_s: float = 10.0
    timeout_s: float = 10.0


class Webhooks:
    """Sends them in the background, a few at a time."""

    def __init__(self, policy: WebhookPolicy | None = None, at_once: int = 16) -> None:
        self._policy = policy or WebhookPolicy()
        self._limit = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx2.AsyncClient | None = None
        self.delivered = 0
        self.given_up = 0

    def send(self, job: Job) -> None:
        """Tell the job's webhook how it ended; returns at once."""
        assert job.webhook is not None
        task = asyncio.create_task(self._send(job.webhook, job.id, job_body(job, full=True)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up on what is still under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, url: str, job_id: str, body: bytes) -> None:
        # Imported for the first webhook only: most platforms never send one.
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=self._policy.timeout_s, trust_env=False)
        answer = "no answer"
        for attempt in range(self._policy.attempts):
            if attempt:
                await asyncio.sleep(self._policy.pause_s)
            try:
                async with self._limit:
                    response = await self._client.post(
                        url, content=body, headers={"Content-Type": "application/json"}
                    )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                answer = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                self.delivered += 1
                return
            answer = f"HTTP {response.status_code}"
        self.given_up += 1
        log.warning("webhook of job %s was not delivered: %s", job_id, answer)
