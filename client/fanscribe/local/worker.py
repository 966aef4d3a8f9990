"""One worker as the platform sees it: when it was heard of, which jobs it holds, whether it is on its way out."""

from dataclasses import dataclass, field

FIRST_REPEAT_S = 0.25


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process of ours, or one that somebody else started. Times are seconds of the platform's clock."""

    id: str
    endpoint: str
    external: bool
    started_at: float
    ram_bytes: int = 0
    vram_bytes: int = 0
    release: int = 1
    """Of the spec that it was started with."""
    pid: int | None = None
    ready_at: float | None = None
    """When it first asked for a job or sent a ping."""
    last_seen: float = 0.0
    idle_since: float = 0.0
    pings: bool = False
    open_polls: int = 0
    jobs: dict[str, float] = field(default_factory=dict)
    """Jobs it holds, each with the time of the hand-out."""
    stopping: dict[str, float] = field(default_factory=dict)
    """Jobs it was told to stop and has not been seen to let go, each with the time of the order."""
    stop_due: dict[str, float] = field(default_factory=dict)
    """When each of these orders is given again: the SDK forgets one for a job that it has not begun yet."""
    stop_orders: list[str] = field(default_factory=list)
    """Ids for its next stop poll."""
    ending: str | None = None
    """Why it gets no more jobs; None while it serves."""
    ended_at: float | None = None
    """When its process was told to end."""
    took_jobs: int = 0
    note: str | None = None
    """What it said about its own health, or why it could not be started."""
    memory_bytes: int | None = None
    """RAM its processes took when last measured."""
    gpu_bytes: int | None = None
    """GPU memory likewise; None where it is not measured."""
    overruns: int = 0
    """Measurements in a row at which it took far more than its spec says."""
    missing: dict[str, int] = field(default_factory=dict)
    """Jobs it holds that its pings did not name, each with how many pings in a row."""

    @property
    def state(self) -> str:
        """initializing, idle, running or draining: the words of the health route and of status."""
        if self.ending is not None:
            return "draining"
        if self.ready_at is None:
            return "initializing"
        return "running" if self.jobs or self.stopping else "idle"

    @property
    def load(self) -> int:
        """Jobs it holds and jobs it has yet to let go."""
        return len(self.jobs) + len(self.stopping)

    @property
    def serving(self) -> bool:
        """Whether it may be given jobs, now or once it is up."""
        return self.ending is None

    def seen(self, now: float) -> None:
        """Note a sign of life; the first one makes it ready."""
        self.last_seen = now
        if self.ready_at is None:
            self.ready_at = self.idle_since = now

    def hold(self, job_id: str, now: float) -> None:
        """Note a job handed to it."""
        self.jobs[job_id] = now
        self.took_jobs += 1

    def let_go(self, job_id: str, now: float) -> None:
        """Note that it no longer works on a job."""
        self.jobs.pop(job_id, None)
        self.stopping.pop(job_id, None)
        self.stop_due.pop(job_id, None)
        self.missing.pop(job_id, None)
        if not self.jobs:
            self.idle_since = now

    def repeat_stops(self, now: float) -> bool:
        """Give again the orders that are due, each time twice as late; True when there are some."""
        due = [job_id for job_id, at in self.stop_due.items() if at <= now]
        for job_id in due:
            self.stop_due[job_id] = now + max(FIRST_REPEAT_S, now - self.stopping[job_id])
            if job_id not in self.stop_orders:
                self.stop_orders.append(job_id)
        return bool(due)

    def let_go_of_stopped(self) -> None:
        """Note that it works on none of the jobs it was told to stop."""
        self.stopping.clear()
        self.stop_due.clear()

    def order_stop(self, job_id: str, now: float) -> None:
        """Note that it shall stop a job it holds."""
        if self.jobs.pop(job_id, None) is not None:
            self.missing.pop(job_id, None)
            self.stopping[job_id] = now
            self.stop_due[job_id] = now + FIRST_REPEAT_S
            self.stop_orders.append(job_id)
            if not self.jobs:
                self.idle_since = now
