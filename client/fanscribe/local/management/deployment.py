"""From an endpoint's record to what the platform runs on this machine."""

from collections.abc import Sequence

from fanscribe.local.images import ImageRule, rule_for
from fanscribe.local.management.records import Endpoint
from fanscribe.local.secret import Secrets
from fanscribe.local.spec import EndpointSpec
from fanscribe.local.worker_environment import worker_environment

# The longest execution timeout that a job may ask for.
NO_LIMIT_S = 7 * 86_400.0
# What the platform sets itself, whatever a container says, so that no secret is needed for it.
_OWN = worker_environment("", "", "", "").keys()


def spec_of(endpoint: Endpoint, rules: Sequence[ImageRule], secrets: Secrets) -> EndpointSpec:
    """The spec that runs the endpoint; blocked, with the reason, where none of its workers could start."""
    container = endpoint.container
    rule = rule_for(rules, container.image, container.env)
    blocked = ""
    if rule is None:
        blocked = f"image {container.image} cannot be pulled: no image rule of this platform stands for it"
        if any(each.matches(container.image, each.when) for each in rules):
            blocked += " with this environment"
    elif missing := secrets.missing({name: text for name, text in container.env.items() if name not in _OWN}):
        blocked = f"the environment refers to secrets that do not exist: {', '.join(missing)}"
    run = rule or ImageRule(container.image or "*", ("false",))
    return run.spec(
        endpoint.id,
        container_env=dict(container.env),
        min_workers=endpoint.workers_min,
        max_workers=endpoint.workers_max,
        idle_timeout_s=float(endpoint.idle_timeout_s),
        scaler=endpoint.scaler,
        scaler_value=float(endpoint.scaler_value),
        execution_timeout_s=endpoint.timeout_ms / 1000 if endpoint.timeout_ms > 0 else NO_LIMIT_S,
        labels={**run.labels, "name": endpoint.name},
        release=endpoint.version,
        blocked=blocked,
    )
