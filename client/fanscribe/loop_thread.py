"""An event loop in a thread of its own, for callers without one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, started at its first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. An interrupt in the caller's thread cancels it and waits until it has stopped."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "called from on_progress, which runs in the client's own thread: use another one"
            )
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except FutureCancelledError as error:
            raise asyncio.CancelledError from error
        except BaseException:
            if not future.done():
                self._cancel_and_wait(future)
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine and stop the loop; in the loop's own thread without waiting for either."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_ending(last), loop)
        if threading.current_thread() is thread:
            ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            return
        try:
            ending.result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="fanscribe-client", daemon=True
                )
                self._thread.start()
            return self._loop

    def _cancel_and_wait(self, future: "Future[T]") -> None:
        # Cancelling the concurrent future resolves it at once, so the loop is asked when its tasks are gone.
        future.cancel()
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(_settle(), self._loop).result()


async def _settle() -> None:
    """Wait until the cancelled tasks of this loop have done their own cleaning up."""
    others = [
        task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task.cancelling()
    ]
    await asyncio.gather(*others, return_exceptions=True)


async def _ending(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last()
    await asyncio.get_running_loop().shutdown_default_executor()
