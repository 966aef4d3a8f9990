"""Whatever a deploy tool asks of an endpoint: exactly that changes, once, and a second time nothing does."""

import itertools
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.local.images import ImageRule
from fanscribe.local.management import bodies, edits, inputs
from fanscribe.local.management.account import Account
from fanscribe.local.management.catalogue import POOLS
from fanscribe.local.management.deployment import spec_of
from fanscribe.local.management.graphql import root
from fanscribe.local.management.records import Endpoint
from fanscribe.local.management.views import endpoint_view
from fanscribe.local.secret import Secrets

MOMENT = datetime(2026, 11, 21, tzinfo=UTC)
NEW = {
    "name": "words",
    "type": "QUEUE",
    "image": "reg/echo:1",
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    "gpu": {"pools": ["ADA_24"]},
}
# What makes a worker what it is; everything else is changed under the workers there are.
OF_WORKERS = {"image", "args", "disk", "env", "ports", "gpu", "dataCenterIds"}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
names = st.from_regex(r"[A-Z_]{1,6}", fullmatch=True)
pools = st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=3, unique=True)
changes = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(min_size=3, max_size=8),
        "image": st.from_regex(r"reg/[a-z]{1,5}:[0-9]", fullmatch=True),
        "args": texts,
        "disk": st.integers(1, 500),
        "env": st.dictionaries(names, texts, max_size=3),
        "ports": st.lists(st.sampled_from(["80/http", "22/tcp"]), unique=True),
        "gpu": st.builds(lambda chosen, count: {"pools": chosen, "count": count}, pools, st.integers(1, 4)),
        "dataCenterIds": st.lists(st.sampled_from(["EU-RO-1", "US-GA-1"]), unique=True),
        "workers": st.builds(
            lambda least, more, idle: {"min": least, "max": least + more, "idleTimeout": idle},
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(1, 3600),
        ),
        "scaling": st.builds(
            lambda wait_s: {"type": "QUEUE_DELAY", "queueDelay": wait_s}, st.integers(1, 60)
        ),
        "timeout": st.integers(1, 10_000_000),
        "flashboot": st.sampled_from(["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]),
    },
)


def account() -> Account:
    numbers = itertools.count(1)
    return Account(
        new_id=lambda: f"id{next(numbers)}",
        now=lambda: MOMENT,
        deployed=lambda endpoint: None,
        deleted=lambda endpoint: None,
        changed=lambda: None,
    )


def created(held: Account) -> Endpoint:
    return held.save_endpoint(edits.new_endpoint(held, bodies.read(bodies.NewEndpoint, NEW)))


def patched(held: Account, known: Endpoint, body: dict[str, Any]) -> Endpoint:
    change = bodies.read(bodies.EndpointChange, body)
    return held.save_endpoint(edits.changed_endpoint(held, known, change))


def shown(endpoint: Endpoint) -> dict[str, Any]:
    view = endpoint_view(endpoint, "http://p")
    view["gpu"] = {name: view["gpu"][name] for name in ("pools", "count")}
    return view


@given(st.lists(changes, max_size=4))
def test_a_change_is_what_was_asked_for_and_a_repeat_is_none(asked: list[dict[str, Any]]) -> None:
    held = account()
    endpoint = created(held)
    for body in asked:
        before, version = shown(endpoint), endpoint.version
        endpoint = patched(held, endpoint, body)
        assert shown(endpoint) == {**before, **body}
        differs = {name for name, value in body.items() if before[name] != value}
        assert endpoint.version == version + bool(differs & OF_WORKERS)
        assert patched(held, endpoint, body) is endpoint


@given(changes)
def test_what_graphql_shows_sent_back_whole_changes_nothing(body: dict[str, Any]) -> None:
    held = account()
    endpoint = patched(held, created(held), body)
    seen = root(held, [])["myself"](None)["endpoints"][0]
    back = {
        name: seen[name]
        for name in (
            "id", "name", "templateId", "gpuIds", "gpuCount", "workersMin", "workersMax", "locations",
            "networkVolumeIds", "idleTimeout", "scalerType", "scalerValue", "executionTimeoutMs",
            "minCudaVersion", "allowedCudaVersions", "flashBootType", "modelReferences",
        )
    }  # fmt: skip
    assert held.save_endpoint(inputs.endpoint_from(held, back)) is endpoint


@given(changes)
def test_every_endpoint_there_can_be_has_a_spec(body: dict[str, Any]) -> None:
    held = account()
    endpoint = patched(held, created(held), body)
    spec = spec_of(endpoint, [ImageRule("reg/e*", ("run",))], Secrets())
    assert (spec.min_workers, spec.max_workers) == (endpoint.workers_min, endpoint.workers_max)
    assert bool(spec.blocked) == (not endpoint.container.image.startswith("reg/e"))
