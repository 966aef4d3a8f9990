"""What a plan depends on besides the request and the deployment: the audio, and what each endpoint can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.pipeline.cost import Capacity, capacity_of


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan depends on besides the request and the deployment.

    `duration_s` is None where the header does not tell it, and `exact` says whether it can be relied on.
    `inline_limit_bytes` bounds a chunk's FLAC; None where larger ones can be stored for the workers. `address`
    is where workers can read the recording themselves. `capacities` goes by endpoint name.
    """

    channels: int = 1
    duration_s: float | None = None
    exact: bool = True
    inline_limit_bytes: int | None = None
    address: str | None = None
    capacities: Mapping[str, Capacity] = field(default_factory=dict)

    def capacity(self, endpoint: DeployedEndpoint) -> Capacity:
        """The capacity of an endpoint; by its variant's slowest figure where nothing more is known."""
        known = self.capacities.get(endpoint.name)
        return capacity_of(endpoint, "") if known is None else known
