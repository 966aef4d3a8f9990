"""Where a run happens: the platform's data plane, and what is remembered between runs."""

from dataclasses import dataclass

import httpx2

from fanscribe.endpoint import Endpoint
from fanscribe.objects import ObjectStore
from fanscribe.pipeline.sharing import Sharing
from fanscribe.results import LearnedFactors, ResultStore


@dataclass(frozen=True, slots=True)
class Platform:
    """Where the endpoints are called. `base_url` is the data plane's, up to and without the endpoint's id.

    `name` tells platforms apart in what is learned of their endpoints. Without `objects`, audio has to fit into
    requests; without `results` and `learned`, nothing is kept for the next run. `sharing` bounds what the requests of
    one process do at once; without it each goes by itself.
    """

    http: httpx2.AsyncClient
    base_url: str
    api_key: str
    name: str = "runpod"
    objects: ObjectStore | None = None
    results: ResultStore | None = None
    learned: LearnedFactors | None = None
    sharing: Sharing | None = None

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """The calls to one endpoint."""
        return Endpoint(self.http, self.base_url, endpoint_id, self.api_key)
