"""How many workers an endpoint should have: the platform's two rules as one pure function."""

import math
from dataclasses import dataclass

from fanscribe.local.spec import REQUEST_COUNT, EndpointSpec


@dataclass(frozen=True, slots=True)
class Demand:
    """What the scaler looks at. Low priority jobs are in none of the counts."""

    queued: int
    overdue: int
    """Queued jobs that have waited longer than the scaler's value (QUEUE_DELAY only)."""
    running: int
    workers: int
    """Workers that serve or are starting."""
    ready: int
    """Of these, the ones that are up."""


def wanted_workers(spec: EndpointSpec, demand: Demand) -> int:
    """The number of workers to have now, never fewer than there are: idle ones end by their own timeout.

    From zero the first waiting job starts one worker at once. After that QUEUE_DELAY wants one more worker
    than are up for each job that has waited too long (workers on their way count towards it), and
    REQUEST_COUNT wants the requests, waiting and running, divided by its value.
    """
    wanted = max(spec.min_workers, demand.workers)
    if demand.queued > 0:
        wanted = max(wanted, 1)
        if spec.scaler == REQUEST_COUNT:
            wanted = max(wanted, math.ceil((demand.queued + demand.running) / spec.scaler_value))
        else:
            wanted = max(wanted, demand.ready + demand.overdue)
    return min(wanted, max(spec.max_workers, demand.workers))


def restart_delay_s(crashes: int) -> float:
    """Seconds to wait before the next start after `crashes` workers in a row ended without finishing a job."""
    return 0.0 if crashes <= 0 else float(min(30.0, 0.5 * 2.0 ** min(crashes - 1, 10)))
