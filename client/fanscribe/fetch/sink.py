"""Where fetched bytes go: counted, hashed, limited, and started afresh when a download cannot be resumed."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from fanscribe.contracts.errors import AudioRefusedError, AudioUnreachableError, StoppedError
from fanscribe.fetch.policy import Fetched, FetchPolicy


@dataclass(slots=True)
class Watch:
    """The caller's clock and wishes during one fetch; every step asks `check`."""

    policy: FetchPolicy
    label: str
    on_progress: Callable[[float], None] | None = None
    stopped: Callable[[], bool] | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    def check(self) -> None:
        """Raise StoppedError when the caller said stop, AudioUnreachableError when the time is up."""
        if self.stopped is not None and self.stopped():
            raise StoppedError(f"{self.label}: stopped while it was fetched")
        if self.left_s() <= 0:
            raise AudioUnreachableError(
                f"{self.label}: not fetched within {self.policy.total_timeout_s:g} s; try again, or use a "
                "faster place"
            )

    def left_s(self) -> float:
        """Seconds until the fetch as a whole must be done."""
        return self.policy.total_timeout_s - (self.clock() - self._began_s)

    def report(self, done: int, total: int | None) -> None:
        """Tell the caller the share done, where the total is known."""
        if self.on_progress is not None and total:
            self.on_progress(min(done / total, 1.0))


class Sink:
    """Takes the bytes of one fetch. OSError of the target (a full disk) passes as it is."""

    def __init__(self, target: BinaryIO, watch: Watch) -> None:
        self._target = target
        self._watch = watch
        self._base = target.tell() if target.seekable() else None
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def announce(self, total: int | None) -> None:
        """Refuse a size that is too large before anything of it is read."""
        if total is not None and total > self._watch.policy.max_bytes:
            raise self._too_large()

    def write(self, data: bytes, total: int | None) -> None:
        """Append; raises AudioRefusedError once there is more than the policy allows."""
        self._watch.check()
        if self.size_bytes + len(data) > self._watch.policy.max_bytes:
            raise self._too_large()
        self._target.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)
        self._watch.report(self.size_bytes, total)

    def restart(self) -> None:
        """Forget what was written, for a source that cannot go on where it stopped."""
        if self.size_bytes == 0:
            return
        if self._base is None:
            raise AudioUnreachableError(
                f"{self._watch.label}: the connection broke, and the server cannot resume; try again"
            )
        self._target.seek(self._base)
        self._target.truncate()
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def done(self, name: str) -> Fetched:
        """The account of a finished fetch."""
        return Fetched(self.size_bytes, name, self._digest.hexdigest())

    def _too_large(self) -> AudioRefusedError:
        return AudioRefusedError(
            f"{self._watch.label}: is larger than the {self._watch.policy.max_bytes:,} bytes that are allowed; "
            "send it in parts, or compressed"
        )
