"""The account behind the management API: what may change, what a change makes, and what runs because of it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fanscribe.local.images import ImageRule, rule_for
from fanscribe.local.management import bodies, edits, inputs, store
from fanscribe.local.management.account import Account, AccountError, Holdings, Refused
from fanscribe.local.management.catalogue import FLAVORS, POOLS, gpu_ids, instance_id, memory_gb
from fanscribe.local.management.deployment import NO_LIMIT_S, spec_of
from fanscribe.local.management.records import Container, Cpu, Endpoint, Gpu, Registry, Template, Volume
from fanscribe.local.management.service import ManagementSettings, settings_from_files
from fanscribe.local.management.views import images_by_version
from fanscribe.local.secret import Secrets
from fanscribe.local.spec import MIB, SpecError

MOMENT = datetime(2026, 11, 21, 8, tzinfo=UTC)
BODY: dict[str, Any] = {
    "name": "words",
    "type": "QUEUE",
    "image": "reg/whisper:1",
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    "gpu": {"pools": ["ADA_24"]},
}


class Held:
    """An account with a record of what became of its changes."""

    def __init__(self, **options: Any) -> None:
        names = itertools.count(1)
        self.deployed: list[Endpoint] = []
        self.deleted: list[str] = []
        self.changes = 0
        self.account = Account(
            new_id=lambda: f"id{next(names)}",
            now=lambda: MOMENT,
            deployed=self.deployed.append,
            deleted=self.deleted.append,
            changed=self.changed,
            **options,
        )

    def changed(self) -> None:
        self.changes += 1

    def create(self, **fields: Any) -> Endpoint:
        body = bodies.read(bodies.NewEndpoint, {**BODY, **fields})
        return self.account.save_endpoint(edits.new_endpoint(self.account, body))

    def patch(self, endpoint: Endpoint, **fields: Any) -> Endpoint:
        known = self.account.endpoint(endpoint.id)
        change = bodies.read(bodies.EndpointChange, fields)
        return self.account.save_endpoint(edits.changed_endpoint(self.account, known, change))

    def save(self, **given: Any) -> Endpoint:
        return self.account.save_endpoint(inputs.endpoint_from(self.account, given))


@pytest.fixture
def held() -> Held:
    return Held()


@contextmanager
def refused(status: int, word: str) -> Iterator[None]:
    with pytest.raises(Refused, match=word) as caught:
        yield
    assert caught.value.status == status


# REST: new endpoints and sparse changes.


def test_a_new_endpoint_has_the_defaults_of_the_platform(held: Held) -> None:
    made = held.create()
    assert (made.workers_min, made.workers_max, made.idle_timeout_s, made.timeout_ms) == (0, 3, 10, 300_000)
    assert (made.flashboot, made.container) == ("OFF", Container("reg/whisper:1"))
    assert (made.gpu, made.version, made.releases[0].changes) == (Gpu(("ADA_24",)), 1, ())
    assert held.deployed == [made]
    assert held.changes == 1


def test_only_what_makes_workers_makes_a_release(held: Held) -> None:
    made = held.create(env={"A": "1"})
    same = held.patch(made, env={"A": "1"}, workers={"max": 3}, image="reg/whisper:1")
    assert same is made
    assert held.changes == 1
    live = held.patch(
        made,
        name="other",
        workers={"max": 5, "idleTimeout": 9},
        timeout=1000,
        flashboot="FLASHBOOT",
        scaling={"type": "QUEUE_DELAY", "queueDelay": 0.5},
    )
    assert (live.version, live.workers_min, live.workers_max, live.idle_timeout_s) == (1, 0, 5, 9)
    assert (live.name, live.timeout_ms, live.flashboot, live.scaler_value) == (
        "other",
        1000,
        "FLASHBOOT",
        0.5,
    )
    rolled = held.patch(live, image="reg/whisper:2", env={"B": "2"})
    assert rolled.version == 2
    assert [(each.field, each.old, each.new) for each in rolled.releases[0].changes] == [
        ("template.imageName", "reg/whisper:1", "reg/whisper:2"),
        ("template.env", {"A": "1"}, {"B": "2"}),
    ]
    assert images_by_version(rolled) == {2: "reg/whisper:2", 1: "reg/whisper:1"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"args": "-v"}, "template.dockerArgs"),
        ({"disk": 30}, "template.containerDiskInGb"),
        ({"ports": ["80/http"]}, "template.ports"),
        ({"gpu": {"count": 2}}, "gpuCount"),
        ({"gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"]}}, "gpuIds"),
        ({"gpu": {"allowedCudaVersions": ["12.8"]}}, "allowedCudaVersions"),
        ({"gpu": {"minCudaVersion": "12.1"}}, "minCudaVersion"),
        ({"dataCenterIds": ["EU-RO-1"]}, "locations"),
    ],
)
def test_each_of_these_makes_a_release_and_is_named_in_it(
    held: Held, change: dict[str, Any], word: str
) -> None:
    rolled = held.patch(held.create(), **change)
    assert rolled.version == 2
    assert [each.field for each in rolled.releases[0].changes] == [word]
    assert held.patch(rolled, **change) is rolled


def test_new_pools_take_exclusions_away_and_an_empty_floor_clears_it(held: Held) -> None:
    gpu = {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"], "minCudaVersion": "12.1"}
    made = held.create(gpu=gpu)
    assert gpu_ids(made.gpu) == "AMPERE_24,-NVIDIA L4"
    kept = held.patch(made, gpu={"count": 2})
    assert (kept.gpu, kept.version) == (Gpu(("AMPERE_24",), ("NVIDIA L4",), 2, (), "12.1"), 2)
    cleared = held.patch(kept, gpu={"pools": ["AMPERE_24", "ADA_24"], "minCudaVersion": ""})
    assert cleared.gpu == Gpu(("AMPERE_24", "ADA_24"), (), 2, (), "")


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"type": "LOAD_BALANCER"}, 400, "QUEUE endpoints only"),
        ({"cpu": [{"id": "cpu5c", "vcpuCount": 2}]}, 400, "exactly one"),
        ({"workers": {"min": 4}}, 400, "workers.min 4 is more than workers.max 3"),
        ({"gpu": {"pools": ["ADA_25"]}}, 400, "ADA_25 is no GPU pool"),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA L4"]}}, 400, "in none of the chosen pools"),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"]}}, 400, "leaves no card"),
        (
            {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.1"}},
            400,
            "not both",
        ),
        (
            {"scaling": {"type": "REQUEST_COUNT", "requestCount": 2}, "workers": {"idleTimeout": 5}},
            400,
            "idleT",
        ),
        ({"networkVolumes": ["nowhere"]}, 404, "network volume nowhere"),
        ({"registry": "nobody"}, 404, "registry credential nobody"),
        ({"templateId": "nothing"}, 404, "template nothing"),
        ({"env": {"A=B": "1"}}, 400, "name of a variable"),
        ({"env": {"A": "\0"}}, 400, "NUL"),
        ({"image": ""}, 422, "needs an image"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(
    held: Held, fields: dict[str, Any], status: int, word: str
) -> None:
    with refused(status, word):
        held.create(**fields)
    made = held.create()
    if "type" not in fields and "templateId" not in fields:
        with refused(400 if "cpu" in fields else status, "cpu" if "cpu" in fields else word):
            held.patch(made, **fields)
    assert held.account.holdings.endpoints == {made.id: made}
    assert held.changes == 1


def test_processors_are_powers_of_two_of_a_known_flavor(held: Held) -> None:
    del_gpu = {name: value for name, value in BODY.items() if name != "gpu"}

    def make(flavor: str, vcpus: int) -> Endpoint:
        body = {**del_gpu, "cpu": [{"id": flavor, "vcpuCount": vcpus}]}
        account = held.account
        return account.save_endpoint(edits.new_endpoint(account, bodies.read(bodies.NewEndpoint, body)))

    made = make("cpu3g", 4)
    assert instance_id(made.cpu[0]) == "cpu3g-4-16"
    with refused(400, "power of two"):
        make("cpu3g", 6)
    with refused(400, "no CPU flavor"):
        make("cpu9", 4)
    with refused(400, "stays on gpu or on cpu"):
        held.patch(made, gpu={"pools": ["ADA_24"]})
    with refused(400, "exactly one"):
        account = held.account
        account.save_endpoint(edits.new_endpoint(account, bodies.read(bodies.NewEndpoint, del_gpu)))
    assert {memory_gb(Cpu(flavor, 2)) for flavor in FLAVORS} == {4, 8}
    assert all(each.startswith("NVIDIA ") for types in POOLS.values() for each in types)


def test_a_template_is_a_snapshot_under_the_bodys_own_fields(held: Held) -> None:
    account = held.account
    container = Container("reg/t:1", "-x", 50, {"A": "t", "B": "t"}, ("1/http",))
    template = account.save_template(Template("t", "t", container, serverless=True, allowed_cuda=("12.8",)))
    without = {name: value for name, value in BODY.items() if name != "image"}
    body = bodies.read(bodies.NewEndpoint, {**without, "templateId": "t", "env": {"B": "b"}, "disk": 5})
    made = account.save_endpoint(edits.new_endpoint(account, body))
    assert made.container == Container("reg/t:1", "-x", 5, {"A": "t", "B": "b"}, ("1/http",))
    assert made.gpu == Gpu(("ADA_24",), allowed_cuda=("12.8",))
    change = bodies.read(bodies.TemplateChange, {"image": "reg/t:2"})
    account.save_template(edits.changed_template(template, change))
    assert account.endpoint(made.id).container.image == "reg/t:1"
    again = held.patch(made, templateId="t")
    assert (again.container.image, again.container.env) == ("reg/t:2", {"A": "t", "B": "t"})
    account.delete_template("t")
    account.save_template(Template("p", "pod", container))
    with refused(422, "no serverless template"):
        held.create(templateId="p")


def test_an_endpoint_goes_only_without_workers(held: Held) -> None:
    made = held.create()
    with refused(400, "0 before it is deleted"):
        held.account.delete_endpoint(made.id)
    held.patch(made, workers={"max": 0})
    held.account.delete_endpoint(made.id)
    assert held.deleted == [made.id]
    with refused(404, "does not exist"):
        held.account.delete_endpoint(made.id)


def test_the_workers_of_all_endpoints_together_stay_under_the_limit() -> None:
    held = Held(worker_limit=5)
    first = held.create()
    with refused(400, "would be 6, and this account's limit is 5"):
        held.create()
    second = held.create(workers={"max": 2})
    with refused(400, "limit is 5"):
        held.patch(second, workers={"max": 3})
    held.patch(first, workers={"max": 2})
    held.patch(second, workers={"max": 3})
    shrunk = Held(worker_limit=1, holdings=held.account.holdings)
    assert shrunk.patch(first, workers={"max": 1}).workers_max == 1


def test_volumes_grow_and_stay_while_they_are_used(held: Held) -> None:
    account = held.account
    account.save_volume(Volume("v", "data", 20, "EU-RO-1"))
    with refused(400, "only grows"):
        account.save_volume(Volume("v", "data", 10, "EU-RO-1"))
    made = held.create(networkVolumes=["v"])
    with refused(400, f"in use by endpoint {made.id}"):
        account.delete_volume("v")
    held.patch(made, networkVolumes=[])
    account.delete_volume("v")
    with refused(404, "network volume v"):
        account.volume("v")


def test_a_registry_credential_goes_from_templates_without_a_word_but_not_from_endpoints(held: Held) -> None:
    account = held.account
    account.save_registry(Registry("r", "private"))
    account.save_template(Template("t", "t", Container("i", registry="r")))
    made = held.create(registry="r")
    with refused(400, "in use"):
        account.delete_registry("r")
    held.patch(made, registry=None)
    account.delete_registry("r")
    assert account.template("t").container.registry is None
    with refused(404, "registry credential r"):
        account.save_template(Template("u", "u", Container("i", registry="r")))


# Bodies.


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"foo": 1}, ["foo: Extra inputs"]),
        ({"gpu": {"pools": []}}, ["gpu.pools: List should have at least 1"]),
        ({"gpu": {"pools": ["A"], "x": 1}}, ["gpu.x: Extra inputs"]),
        ({"gpu": None}, ["gpu: Input should be"]),
        ({"scaling": None}, ["scaling: Input should be"]),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.4}}, ["scaling.queueDelay"]),
        (
            {"scaling": {"type": "REQUEST_COUNT", "queueDelay": 4}},
            ["scaling.requestCount", "scaling.queueDelay"],
        ),
        ({"workers": {"idleTimeout": 3601, "min": -1}}, ["workers.min", "workers.idleTimeout"]),
        ({"workers": {"max": "3"}}, ["workers.max"]),
        ({"env": {"A": 1}, "name": ""}, ["env.A", "name"]),
        ({"disk": 0}, ["disk"]),
        ({"timeout": True}, ["timeout"]),
        ({"flashboot": True}, ["flashboot"]),
        ({"cpu": [{"id": "cpu5c", "vcpuCount": 2}] * 2}, ["cpu: Value error, an entry is there twice"]),
    ],
)
def test_a_wrong_body_is_told_fault_by_fault(held: Held, fields: dict[str, Any], faults: list[str]) -> None:
    for kind in (bodies.NewEndpoint, bodies.EndpointChange):
        body = {**BODY, **fields} if kind is bodies.NewEndpoint else fields
        with pytest.raises(Refused) as caught:
            bodies.read(kind, body)
        assert caught.value.status == 422
        found = sorted(caught.value.errors)
        assert len(found) == len(faults)
        assert all(text.startswith(word) for text, word in zip(found, sorted(faults), strict=True)), found


def test_no_fault_shows_what_was_sent() -> None:
    with pytest.raises(Refused) as caught:
        bodies.read(bodies.NewRegistry, {"name": "n", "username": "u", "password": ["hunter2-secret"]})
    assert "hunter2" not in f"{caught.value.detail}{caught.value.errors}"
    with refused(422, "excludedTypes needs pools"):
        bodies.read(bodies.EndpointChange, {"gpu": {"excludedTypes": ["NVIDIA L4"]}})
    with refused(422, "at least one field"):
        bodies.read(bodies.VolumeChange, {})
    with refused(422, "JSON object"):
        bodies.read(bodies.NewEndpoint, [])


# GraphQL: the older API's defaults and traps.


def test_an_update_by_graphql_resets_what_it_leaves_out(held: Held) -> None:
    made = held.create(
        workers={"min": 1, "max": 7, "idleTimeout": 99},
        flashboot="FLASHBOOT",
        timeout=1234,
        dataCenterIds=["EU-RO-1"],
        gpu={"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"], "count": 2, "minCudaVersion": "12.1"},
        env={"A": "1"},
    )
    held.save(**whole(made), modelReferences=["https://huggingface.co/a/b:main"])
    reset = held.save(id=made.id)
    assert (reset.workers_min, reset.workers_max, reset.idle_timeout_s) == (0, 3, 10)
    assert (reset.scaler, reset.scaler_value, reset.timeout_ms) == ("QUEUE_DELAY", 4, 600_000)
    assert (reset.flashboot, reset.data_centers) == ("OFF", ())
    assert reset.gpu == Gpu(("AMPERE_24",), ("NVIDIA L4",), 1, (), "12.1")
    assert (reset.name, reset.container, reset.models) == (
        made.name,
        made.container,
        ("https://huggingface.co/a/b:main",),
    )


def test_an_update_by_graphql_of_everything_changes_only_the_models(held: Held) -> None:
    made = held.create(workers={"max": 5}, timeout=1000, dataCenterIds=["EU-RO-1", "US-GA-1"])
    assert held.save(**whole(made)) is made
    rolled = held.save(**whole(made), modelReferences=["m"])
    assert [each.field for each in rolled.releases[0].changes] == ["modelReferences"]
    assert held.save(**whole(rolled), modelReferences=[]).models == ()


def whole(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as the input that leaves it as it is."""
    assert endpoint.gpu is not None
    return {
        "id": endpoint.id,
        "templateId": endpoint.template_id,
        "gpuIds": gpu_ids(endpoint.gpu),
        "gpuCount": endpoint.gpu.count,
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "locations": ",".join(endpoint.data_centers),
        "idleTimeout": endpoint.idle_timeout_s,
        "scalerType": endpoint.scaler,
        "scalerValue": int(endpoint.scaler_value),
        "executionTimeoutMs": endpoint.timeout_ms,
        "flashBootType": endpoint.flashboot,
    }


def test_a_new_endpoint_by_graphql(held: Held) -> None:
    inline = {"name": "t", "imageName": "reg/w:1", "env": [{"key": "A", "value": "1"}]}
    made = held.save(name="words -fb", template=inline, gpuIds="AMPERE_16,-NVIDIA RTX A4500", type="QB")
    assert made.gpu == Gpu(("AMPERE_16",), ("NVIDIA RTX A4500",))
    assert (made.container.image, made.container.env, made.timeout_ms) == ("reg/w:1", {"A": "1"}, 600_000)
    on_cpu = held.save(name="cpu", template=inline, instanceIds=["cpu3g-4-16"], networkVolumeId="")
    assert on_cpu.cpu == (Cpu("cpu3g", 4),)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"name": "ab"}, "3 characters"),
        ({"name": "abc"}, "templateId or a template"),
        ({"template": {"imageName": "i"}, "instanceIds": ["cpu3g-4-15"]}, "is no instance"),
        ({"template": {"imageName": "i"}, "gpuIds": "ADA_24", "instanceIds": ["cpu3g-4-16"]}, "exactly one"),
        ({"template": {"imageName": "i"}}, "exactly one"),
        ({"template": {"imageName": "i"}, "gpuIds": "ADA_24", "scalerValue": 0}, "scalerValue"),
        ({"template": {"imageName": "i"}, "gpuIds": "ADA_24", "scalerType": "LUCK"}, "scalerType"),
        ({"type": "LB"}, "QB endpoints only"),
        ({"templateId": "nothing"}, "template nothing"),
        ({"id": "nothing"}, "endpoint nothing"),
    ],
)
def test_what_graphql_refuses(held: Held, given: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=word):
        held.save(**{"name": "words", **given})
    assert held.changes == 0


def test_a_template_is_bound_to_one_endpoint_at_a_time(held: Held) -> None:
    account = held.account
    template = account.save_template(
        inputs.template_from(
            account, {"name": "t", "imageName": "i:1", "isServerless": True, "volumeInGb": 0}
        )
    )
    made = held.save(name="one", templateId=template.id, gpuIds="ADA_24")
    with refused(400, f"bound to endpoint {made.id}"):
        held.save(name="two", templateId=template.id, gpuIds="ADA_24")
    with refused(400, f"in use by endpoint {made.id}"):
        account.delete_template(template.id)
    with refused(400, "there is a template t already"):
        inputs.template_from(account, {"name": "t", "imageName": "i:2"})
    with refused(400, "volumeInGb"):
        inputs.template_from(account, {"name": "u", "imageName": "i", "isServerless": True, "volumeInGb": 20})


# What runs.

RULES = (
    ImageRule(
        "*/whisper[:@]*", ("turbo",), {"VARIANT": "turbo"}, ram_bytes=900 * MIB, labels={"variant": "t"}
    ),
    ImageRule("*/whisper[:@]*", ("base",), {"VARIANT": "base"}, {"HF_HOME": "/cache"}),
    ImageRule("exact", ("exact",)),
)


@pytest.mark.parametrize(
    ("image", "env", "command"),
    [
        ("ghcr.io/me/whisper:1", {"VARIANT": "base", "X": "1"}, "base"),
        ("ghcr.io/me/whisper@sha256:00", {"VARIANT": "turbo"}, "turbo"),
        ("ghcr.io/me/whisper:1", {}, None),
        ("whisper", {"VARIANT": "base"}, None),
        ("Exact", {}, None),
        ("exact", {}, "exact"),
    ],
)
def test_an_image_stands_for_a_command(image: str, env: dict[str, str], command: str | None) -> None:
    found = rule_for(RULES, image, env)
    assert (found.command[0] if found else None) == command


def test_a_record_becomes_a_spec(held: Held) -> None:
    made = held.create(
        image="reg/whisper:1",
        env={"VARIANT": "turbo", "TOKEN": "{{ RUNPOD_SECRET_hf }}"},
        workers={"min": 1, "max": 2, "idleTimeout": 7},
        timeout=5000,
    )
    spec = spec_of(made, RULES, Secrets({"hf": "open-sesame"}))
    assert (spec.name, spec.command, spec.ram_bytes, spec.blocked) == (made.id, ("turbo",), 900 * MIB, "")
    assert (spec.min_workers, spec.max_workers, spec.idle_timeout_s) == (1, 2, 7)
    assert (spec.execution_timeout_s, spec.scaler_value, spec.release) == (5, 4, 1)
    assert spec.labels == {"variant": "t", "name": "words"}
    assert spec.container_env["TOKEN"] == "{{ RUNPOD_SECRET_hf }}"  # resolved only for the worker
    assert spec_of(held.patch(made, timeout=0), RULES, Secrets()).execution_timeout_s == NO_LIMIT_S


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"image": "reg/unknown:1"}, "image reg/unknown:1 cannot be pulled"),
        ({"image": "reg/whisper:1"}, "stands for it with this environment"),
        ({"image": "exact", "env": {"A": "{{RUNPOD_SECRET_b}} {{ RUNPOD_SECRET_a }}"}}, "do not exist: a, b"),
    ],
)
def test_what_cannot_run_is_blocked_and_says_why(held: Held, fields: dict[str, Any], word: str) -> None:
    spec = spec_of(held.create(**fields), RULES, Secrets({"c": "x"}))
    assert word in spec.blocked


def test_what_the_platform_sets_itself_needs_no_secret(held: Held) -> None:
    spec = spec_of(
        held.create(image="exact", env={"RUNPOD_API_KEY": "{{ RUNPOD_SECRET_none }}"}), RULES, Secrets({})
    )
    assert spec.blocked == ""


def test_secrets_are_resolved_hidden_and_never_shown() -> None:
    secrets = Secrets({"one": "first-secret", "two": "first-secret-and-more", "short": "abc"})
    assert secrets.resolved("{{ RUNPOD_SECRET_one }}/{{RUNPOD_SECRET_short}}") == "first-secret/abc"
    assert secrets.resolved("{{ RUNPOD_SECRET_none }}") == "{{ RUNPOD_SECRET_none }}"
    assert secrets.hidden("x first-secret-and-more first-secret abc") == "x *** *** abc"
    assert repr(secrets) == "Secrets(one, short, two)"
    assert secrets.missing({"A": "{{ RUNPOD_SECRET_none }}", "B": "{{ RUNPOD_SECRET_one }}"}) == ["none"]


def test_image_rules_survive_json_and_wrong_ones_are_refused_by_name(tmp_path: Path) -> None:
    for rule in RULES:
        assert ImageRule.from_json(rule.to_json()) == rule
    for value, word in (
        ([], "JSON object"),
        ({"image": "i"}, "command must be a list"),
        ({"command": ["x"]}, "needs an `image`"),
        ({"image": "i", "command": []}, "must name a program"),
        ({"image": "i", "command": ["x"], "ram": 1}, "unknown fields ram"),
        ({"image": "i", "command": ["x"], "ram_bytes": -1}, "image rule 'i': ram_bytes"),
        ({"image": "i", "command": ["x"], "when": {"A": 1}}, "when must map"),
    ):
        with pytest.raises(SpecError, match=word):
            ImageRule.from_json(value)
    for given, word in (
        ({"images": {}}, "images must be"),
        ({"secrets": {"a": 1}}, "secrets must be"),
        ({"worker_limit": -1}, "worker_limit must be"),
    ):
        with pytest.raises(SpecError, match=word):
            ManagementSettings.from_json(given)
    broken = tmp_path / "secrets.json"
    broken.write_text('{"token": "hunter2')
    with pytest.raises(SpecError, match="not valid JSON") as caught:
        settings_from_files(None, broken, None)
    assert "hunter2" not in str(caught.value)


# What is kept.


def test_an_account_is_kept_for_its_owner_only_and_read_back_whole(held: Held, tmp_path: Path) -> None:
    account = held.account
    account.save_volume(Volume("v", "data", 20, "EU-RO-1"))
    account.save_registry(Registry("r", "private"))
    account.save_template(Template("t", "t", Container("i", registry="r"), mount=(20, "/w")))
    made = held.create(env={"A": "1"}, networkVolumes=["v"], gpu={"pools": ["AMPERE_24"], "count": 2})
    held.patch(made, image="reg/whisper:2")
    assert store.read(tmp_path) == Holdings()
    store.write(account.holdings, tmp_path)
    assert store.read(tmp_path) == account.holdings
    assert (tmp_path / store.FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / store.FILE).write_text('{"endpoints": {"e": {"name": "hunter2"}}}')
    with pytest.raises(AccountError, match="is not an account of this program") as caught:
        store.read(tmp_path)
    assert "hunter2" not in str(caught.value)
