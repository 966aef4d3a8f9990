"""The orchestrator on the local platform: what it is started with, and what it is told of the other endpoints."""

import json
import sys
from collections.abc import Iterable

from fanscribe.catalogue import DeployedEndpoint
from fanscribe.deploy.state import DEPLOYMENT_ENTRY, TIMEOUT_ENTRY
from fanscribe.local.images import ImageRule
from fanscribe.local.spec import EndpointSpec
from fanscribe.settings import Effective


def orchestrator_spec(name: str, settings: Effective, endpoints: Iterable[DeployedEndpoint]) -> EndpointSpec:
    """How the local platform starts the workers of an orchestrator that has these endpoints to call."""
    rule = orchestrator_rule()
    timeout_s = settings.execution_timeout_s
    told = {DEPLOYMENT_ENTRY: _deployment(endpoints), TIMEOUT_ENTRY: str(timeout_s)}
    return EndpointSpec(
        name=name,
        command=rule.command,
        env={**rule.env, **told},
        ram_bytes=rule.ram_bytes,
        min_workers=settings.workers.min,
        max_workers=settings.workers.max,
        idle_timeout_s=settings.idle_timeout_s,
        execution_timeout_s=float(timeout_s),
        orchestrator=True,
        labels=rule.labels,
    )


def orchestrator_rule() -> ImageRule:
    """What the local platform runs in place of the orchestrator's image."""
    return ImageRule(
        image="*fanscribe-orchestrator[:@]*",
        command=(sys.executable, "-P", "-m", "fanscribe_orchestrator"),
        # Where it finds the other endpoints; its own address and key are the platform's.
        env={
            "RUNPOD_ENDPOINT_BASE_URL": "{url}/v2",
            "RUNPOD_API_KEY": "{key}",
            "FANSCRIBE_ALLOWED_ORIGINS": "{url}",
        },
        orchestrator=True,
        labels={"orchestrator": "1"},
    )


def _deployment(endpoints: Iterable[DeployedEndpoint]) -> str:
    """What an orchestrator of the local platform is told of the others; every variant travels along."""
    told: list[dict[str, object]] = [
        {
            "name": each.name,
            "id": each.id,
            "variant": each.variant.id,
            "workers": {"min": each.workers.min, "max": each.workers.max},
            "gpus": [],
            "idle_timeout_s": each.idle_timeout_s,
            "execution_timeout_s": each.execution_timeout_s,
            "prefetch": each.prefetch,
            "variant_json": json.dumps(each.variant.model_dump(mode="json", exclude_defaults=True)),
        }
        for each in endpoints
    ]
    return json.dumps(told, separators=(",", ":"))
