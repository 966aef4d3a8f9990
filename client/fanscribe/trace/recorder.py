"""Takes down the facts of one request while it runs."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from fanscribe.trace.facts import RequestFacts, StepFacts, TaskFacts, error_name, status_of
from fanscribe.trace.spans import Scalar
from fanscribe.trace.traceparent import Ids

T = TypeVar("T")


class Recorder:
    """The facts of one request, from when it is made on.

    `clock` is the clock of the run (asyncio's loop uses the same one), `wall` the time of day in seconds since 1970.
    For one event loop; adding facts costs a few microseconds and waits for nothing.
    """

    def __init__(
        self,
        ids: Ids | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.ids = ids or Ids()
        self.about: dict[str, Scalar] = {}
        """What is told of the request as a whole; whoever learns a fact adds it here."""
        self._clock = clock
        self._wall_s = wall()
        self._began = clock()
        self._steps: list[StepFacts] = []
        self._tasks: list[TaskFacts] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note how long a step of this process takes, in whatever way it ends."""
        began = self._clock()

        def note(failure: BaseException | None) -> None:
            ended = self._clock()
            self._steps.append(StepFacts(name, began, ended, status_of(failure), error_name(failure)))

        try:
            yield
        except BaseException as error:
            note(error)
            raise
        note(None)

    @asynccontextmanager
    async def entered(self, name: str, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Use a context manager, and note as a step how long it takes to enter it."""
        async with AsyncExitStack() as stack:
            with self.step(name):
                value = await stack.enter_async_context(manager)
            yield value

    def task(self, facts: TaskFacts) -> None:
        """Add a task that has ended."""
        self._tasks.append(facts)

    def facts(self, failure: BaseException | None = None) -> RequestFacts:
        """Everything noted until now, as of a request that ends now, by `failure` or well."""
        return RequestFacts(
            self._wall_s,
            self._began,
            self._clock(),
            status_of(failure),
            error_name(failure),
            dict(self.about),
            tuple(self._steps),
            tuple(self._tasks),
        )
