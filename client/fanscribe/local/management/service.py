"""The account of a running platform: changes reach the platform, and the folder where they are kept."""

import json
import logging
import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fanscribe.local.endpoint import Endpoint as Running
from fanscribe.local.images import ImageRule
from fanscribe.local.management.account import Account, Holdings
from fanscribe.local.management.deployment import spec_of
from fanscribe.local.management.gate import Calls
from fanscribe.local.management.records import Endpoint
from fanscribe.local.platform import Platform
from fanscribe.local.secret import Secrets
from fanscribe.local.spec import SpecError

log = logging.getLogger("fanscribe.local")

_ID_LETTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 14


@dataclass(frozen=True, slots=True)
class ManagementSettings:
    """What the account's owner has beside the platform: what images run, secrets, how many workers at most."""

    images: Sequence[ImageRule] = ()
    secrets: Secrets = field(default_factory=Secrets)
    worker_limit: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ManagementSettings":
        """Read `images`, `secrets` and `worker_limit`; raises SpecError for what cannot be meant."""
        images, secrets = value.get("images", []), value.get("secrets", {})
        limit = value.get("worker_limit")
        if not isinstance(images, list):
            raise SpecError("images must be a JSON list of image rules")
        if not isinstance(secrets, dict) or not all(isinstance(each, str) for each in secrets.values()):
            raise SpecError("secrets must be a JSON object of names and texts")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise SpecError(f"worker_limit must be a whole number of 0 or more, not {limit!r}")
        return cls([ImageRule.from_json(each) for each in images], Secrets(secrets), limit)


class Management:
    """The account and the platform that serves it. `folder` None: nothing is kept.

    Raises AccountError when what the folder holds cannot be read.
    """

    def __init__(
        self,
        platform: Platform,
        settings: ManagementSettings,
        folder: Path | None,
        *,
        new_id: Callable[[], str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.platform = platform
        self.settings = settings
        self.calls = Calls()
        self._folder = folder
        # Ids are names, not secrets.
        dice = random.SystemRandom()
        self.account = Account(
            new_id=new_id or (lambda: "".join(dice.choices(_ID_LETTERS, k=_ID_LENGTH))),
            now=now,
            deployed=self._deployed,
            deleted=self._deleted,
            changed=self._keep,
            worker_limit=settings.worker_limit,
            holdings=self._kept(),
        )
        for endpoint in self.account.holdings.endpoints.values():
            self._deployed(endpoint)

    @property
    def url(self) -> str:
        """The platform's."""
        return self.platform.url

    def running(self, endpoint_id: str) -> tuple[Endpoint, Running]:
        """An endpoint as it was asked for and as it runs. Raises Refused."""
        endpoint = self.account.endpoint(endpoint_id)
        return endpoint, self.platform.fleet.endpoints[endpoint_id]

    def _deployed(self, endpoint: Endpoint) -> None:
        self.platform.deploy(spec_of(endpoint, self.settings.images, self.settings.secrets))

    def _deleted(self, endpoint_id: str) -> None:
        self.platform.delete(endpoint_id)
        # Another may have been waiting for nothing but this one's share of the memory.
        for other in self.account.holdings.endpoints.values():
            if self.platform.fleet.endpoints[other.id].spec.blocked:
                self._deployed(other)

    def _kept(self) -> Holdings:
        if self._folder is None:
            return Holdings()
        from fanscribe.local.management import store

        return store.read(self._folder)

    def _keep(self) -> None:
        if self._folder is not None:
            from fanscribe.local.management import store

            store.write(self.account.holdings, self._folder)


def settings_from_files(
    images: Path | None, secrets: Path | None, worker_limit: int | None
) -> ManagementSettings:
    """The settings that two JSON files hold. Raises SpecError, which never shows a secret."""
    return ManagementSettings.from_json(
        {
            "images": [] if images is None else _json_of(images),
            "secrets": {} if secrets is None else _json_of(secrets),
            "worker_limit": worker_limit,
        }
    )


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise SpecError(f"{path}: not valid JSON: {error}") from None
