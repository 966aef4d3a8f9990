"""The management API's requests and answers against the official OpenAPI schema of REST v2."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fanscribe.local.images import ImageRule
from fanscribe.local.process import RunningPlatform, start

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ROOT / "tests" / "data" / "local_workers" / "small.py"
SCHEMA = ROOT.parent / "shared" / "reference" / "runpod-openapi-v2.json"
URI = "urn:runpod:rest-v2"

NEW: dict[str, Any] = {
    "name": "words",
    "type": "QUEUE",
    "image": "reg/echo:1",
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    "gpu": {"pools": ["AMPERE_24"]},
}


class Official:
    """The schema, asked what a request or an answer has to look like."""

    def __init__(self, file: Path) -> None:
        self.document = json.loads(file.read_text(encoding="utf-8"))
        resource: Resource[Any] = DRAFT202012.create_resource(self.document)
        self.registry: Registry[Any] = Registry().with_resource(URI, resource)
        self.validators: dict[str, Draft202012Validator] = {}
        self.seen: set[tuple[str, str, str]] = set()

    def faults(self, pointer: str, value: Any) -> list[str]:
        """What is wrong with a value by the schema that a JSON pointer names."""
        if pointer not in self.validators:
            self.validators[pointer] = Draft202012Validator(
                {"$ref": f"{URI}#{pointer}"},
                registry=self.registry,
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
        return [
            f"{error.json_path}: {error.message}" for error in self.validators[pointer].iter_errors(value)
        ]

    def path_of(self, path: str) -> str:
        """The path template that an address is of; one without parameters goes first."""
        for template in sorted(self.document["paths"], key=lambda each: each.count("{")):
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return str(template)
        raise AssertionError(f"{path} is no path of the schema")

    def body_faults(self, method: str, path: str, body: Any) -> list[str]:
        where = ["paths", self.path_of(path), method.lower(), "requestBody"]
        return self.faults(_pointer(*where, "content", "application/json", "schema"), body)

    def check_answer(self, response: httpx2.Response) -> None:
        """Check status, content type and body of one answer."""
        method, template = response.request.method.lower(), self.path_of(response.request.url.path)
        known = self.document["paths"][template][method]["responses"]
        status = str(response.status_code)
        name = status if status in known else "default"
        self.seen.add((method, template, name))
        where: list[str] = ["paths", template, method, "responses", name]
        said = known[name]
        if "$ref" in said:
            where = said["$ref"].removeprefix("#/").split("/")
            said = self.document["components"]["responses"][where[-1]]
        if "content" not in said:
            assert response.content == b"", f"{method} {template} {status}: a body where there is none"
            return
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in said["content"], f"{method} {template} {status}: {kind}"
        if kind != "text/event-stream":
            faults = self.faults(_pointer(*where, "content", kind, "schema"), response.json())
            assert not faults, f"{method} {template} {status}: {faults}"


def _pointer(*parts: str) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


@pytest.fixture(scope="module")
def official() -> Official:
    file = Path(os.environ.get("FANSCRIBE_RUNPOD_SCHEMA") or SCHEMA)
    if not file.is_file():
        pytest.skip(f"the official schema is not at {file}; FANSCRIBE_RUNPOD_SCHEMA names another place")
    return Official(file)


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    with start(images=[ImageRule("reg/echo:*", (sys.executable, str(SMALL)))], worker_limit=200) as running:
        yield running


@pytest.fixture
def http(official: Official, platform: RunningPlatform) -> Iterator[httpx2.Client]:
    """A client whose every request and answer is checked; what we accept the schema must accept."""

    def check(response: httpx2.Response) -> None:
        if not response.request.url.path.startswith(("/v2/serverless", "/v2/temp", "/v2/net", "/v2/reg")):
            return
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
        official.check_answer(response)
        request = response.request
        if request.content and response.is_success:
            assert not official.body_faults(request.method, request.url.path, json.loads(request.content))

    with httpx2.Client(
        base_url=platform.url,
        headers={"Authorization": f"Bearer {platform.key}"},
        timeout=40,
        event_hooks={"response": [check]},
    ) as client:
        yield client


def made(response: httpx2.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def test_the_life_of_an_endpoint(http: httpx2.Client, official: Official) -> None:
    volume = made(http.post("/v2/network-volumes", json={"name": "v", "size": 10, "dataCenter": "EU-RO-1"}))
    registry = made(http.post("/v2/registries", json={"name": "r", "username": "u", "password": "p"}))
    template = made(
        http.post(
            "/v2/templates",
            json={
                "name": "t",
                "image": "reg/echo:1",
                "serverless": True,
                "env": {"A": "1"},
                "registry": registry["id"],
                "mounts": {"persistent": {"size": 20, "path": "/w"}},
                "allowedCudaVersions": ["12.8"],
            },
        )
    )
    plain = {name: value for name, value in NEW.items() if name != "image"}
    endpoint = made(
        http.post(
            "/v2/serverless",
            json={
                **plain,
                "templateId": template["id"],
                "networkVolumes": [volume["id"]],
                "gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"], "count": 2},
                "workers": {"min": 0, "max": 2, "idleTimeout": 30},
                "dataCenterIds": ["EU-RO-1"],
                "flashboot": "FLASHBOOT",
            },
        )
    )
    path = f"/v2/serverless/{endpoint['id']}"
    assert http.get(path).json() == endpoint
    job = http.post(f"/v2/{endpoint['id']}/runsync", json={"input": {}})
    assert job.json()["status"] == "COMPLETED"
    worker = http.get(f"{path}/workers").json()["workers"][0]
    assert worker["image"] == "reg/echo:1"
    with http.stream("GET", f"{path}/workers/{worker['id']}/logs", params={"tail": 5}) as log:
        assert log.status_code == 200
    counted = http.patch(
        path, json={"scaling": {"type": "REQUEST_COUNT", "requestCount": 2}, "image": "reg/echo:2"}
    )
    assert "idleTimeout" not in counted.json()["workers"]
    assert http.get(f"{path}/releases").json()["endpointVersion"] == 2
    http.patch(f"/v2/templates/{template['id']}", json={"args": "-v", "mounts": {}})
    http.patch(f"/v2/network-volumes/{volume['id']}", json={"size": 20})
    for each in ("serverless", "templates", "network-volumes", "registries"):
        assert http.get(f"/v2/{each}").status_code == 200
    assert http.delete(path).status_code == 400
    assert http.delete(f"/v2/network-volumes/{volume['id']}").status_code == 400
    assert http.patch(path, json={"workers": {"min": 0, "max": 0}}).status_code == 200
    for name, held in (("serverless", endpoint), ("templates", template), ("network-volumes", volume)):
        assert http.delete(f"/v2/{name}/{held['id']}").status_code == 204
        assert http.get(f"/v2/{name}/{held['id']}").status_code == 404
    assert http.get(f"/v2/registries/{registry['id']}").json() == {"id": registry["id"], "name": "r"}
    assert http.delete(f"/v2/registries/{registry['id']}").status_code == 204
    assert len(official.seen) >= 25


def test_an_endpoint_on_processors(http: httpx2.Client) -> None:
    plain = {name: value for name, value in NEW.items() if name != "gpu"}
    endpoint = made(http.post("/v2/serverless", json={**plain, "cpu": [{"id": "cpu3g", "vcpuCount": 2}]}))
    assert endpoint["cpu"] == [{"id": "cpu3g", "vcpuCount": 2, "memory": 8}]
    assert "gpu" not in endpoint


def test_workers_that_cannot_come_up(http: httpx2.Client) -> None:
    endpoint = made(http.post("/v2/serverless", json={**NEW, "image": "nowhere:1", "workers": {"min": 1}}))
    summary = http.get(f"/v2/serverless/{endpoint['id']}/workers").json()["summary"]
    assert (summary["unhealthy"], summary["total"]) == (1, 1)


@pytest.mark.parametrize("status", [401, 403, 409, 422, 429, 500])
def test_faults_on_purpose_look_like_the_platforms_own(
    http: httpx2.Client, platform: RunningPlatform, status: int
) -> None:
    http.put("/local/faults", json=[{"kind": "error", "calls": "management", "status": status}])
    try:
        answer = http.get("/v2/serverless")
        assert (answer.status_code, answer.json()["status"]) == (status, status)
    finally:
        http.put("/local/faults", json=[])
    assert http.get("/v2/serverless").status_code == 200


BODIES: list[dict[str, Any]] = [
    {},
    {"name": ""},
    {"name": 7},
    {"type": "LB"},
    {"type": None},
    {"image": None},
    {"args": None},
    {"args": "x"},
    {"disk": 0},
    {"disk": 1},
    {"disk": 1.5},
    {"disk": True},
    {"env": {"A": "1"}},
    {"env": {"A": 1}},
    {"env": {"A": None}},
    {"env": []},
    {"ports": ["80/http"]},
    {"ports": "80/http"},
    {"registry": None},
    {"registry": 5},
    {"scaling": None},
    {"scaling": {}},
    {"scaling": {"type": "QUEUE_DELAY"}},
    {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}},
    {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.49}},
    {"scaling": {"type": "QUEUE_DELAY", "queueDelay": "4"}},
    {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 4, "requestCount": 4}},
    {"scaling": {"type": "REQUEST_COUNT", "requestCount": 0}},
    {"scaling": {"type": "REQUEST_COUNT", "requestCount": 1}},
    {"scaling": {"type": "REQUEST_COUNT", "requestCount": 1.5}},
    {"scaling": {"type": "LUCK", "queueDelay": 4}},
    {"workers": {}},
    {"workers": None},
    {"workers": {"min": -1}},
    {"workers": {"max": 0}},
    {"workers": {"idleTimeout": 0}},
    {"workers": {"idleTimeout": 3600}},
    {"workers": {"idleTimeout": 3601}},
    {"workers": {"standby": 1}},
    {"gpu": {}},
    {"gpu": None},
    {"gpu": {"pools": []}},
    {"gpu": {"pools": ["ADA_24"], "count": 0}},
    {"gpu": {"pools": ["ADA_24"], "excludedTypes": []}},
    {"gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["-NVIDIA L4"]}},
    {"gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4", "NVIDIA L4"]}},
    {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12"]}},
    {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": []}},
    {"gpu": {"pools": ["ADA_24"], "minCudaVersion": "12.1"}},
    {"gpu": {"pools": ["ADA_24"], "minCudaVersion": ""}},
    {"gpu": {"pools": ["ADA_24"], "type": "4090"}},
    {"gpu": {"excludedTypes": ["NVIDIA L4"]}},
    {"cpu": []},
    {"cpu": [{"id": "cpu5c"}]},
    {"cpu": [{"id": "", "vcpuCount": 2}]},
    {"cpu": [{"id": "cpu5c", "vcpuCount": 1}]},
    {"cpu": [{"id": "cpu5c", "vcpuCount": 2, "memory": 4}]},
    {"cpu": [{"id": "cpu5c", "vcpuCount": 2}, {"id": "cpu5c", "vcpuCount": 2}]},
    {"dataCenterIds": []},
    {"dataCenterIds": [1]},
    {"networkVolumes": None},
    {"flashboot": "PRIORITY_FLASHBOOT"},
    {"flashboot": "ON"},
    {"flashboot": True},
    {"timeout": 0},
    {"timeout": "1"},
    {"timeout": 1.5},
    {"templateId": None},
    {"modelReferences": []},
    {"idleTimeout": 5},
]


@pytest.mark.parametrize("fields", BODIES, ids=lambda fields: json.dumps(fields))
def test_bodies_of_endpoints_are_refused_where_the_schema_refuses_them(
    http: httpx2.Client, official: Official, fields: dict[str, Any]
) -> None:
    """422 for what the schema refuses, another answer (201, or 400 for a rule of its own) for the rest."""
    create = http.post("/v2/serverless", json={**NEW, **fields})
    assert (create.status_code == 422) == bool(
        official.body_faults("post", "/v2/serverless", {**NEW, **fields})
    )
    known = made(http.post("/v2/serverless", json={**NEW, "workers": {"max": 0}}))
    path = f"/v2/serverless/{known['id']}"
    change = http.patch(path, json=fields)
    assert (change.status_code == 422) == bool(official.body_faults("patch", path, fields))
    if create.status_code == 201:
        http.patch(f"/v2/serverless/{create.json()['id']}", json={"workers": {"min": 0, "max": 0}})


@pytest.mark.parametrize("path", ["templates", "network-volumes", "registries"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": ""},
        {"image": ""},
        {"image": None},
        {"size": 9},
        {"size": 4097},
        {"dataCenter": ""},
        {"type": "FAST"},
        {"type": "HIGH_PERFORMANCE"},
        {"password": ""},
        {"category": "TPU"},
        {"category": "CPU"},
        {"mounts": {"network": {}}},
        {"mounts": {"persistent": None}},
        {"mounts": {"persistent": {"size": 9, "path": "/w"}}},
        {"mounts": {"persistent": {"size": 10}}},
        {"startSsh": "yes"},
        {"serverless": True, "public": True, "startJupyter": False},
        {"allowedCudaVersions": ["x"]},
        {"dockerArgs": "x"},
    ],
    ids=lambda fields: json.dumps(fields),
)
def test_other_bodies_are_refused_where_the_schema_refuses_them(
    http: httpx2.Client, official: Official, path: str, fields: dict[str, Any]
) -> None:
    whole: dict[str, dict[str, Any]] = {
        "templates": {"name": "t", "image": "i"},
        "network-volumes": {"name": "v", "size": 10, "dataCenter": "EU-RO-1"},
        "registries": {"name": "r", "username": "u", "password": "p"},
    }
    body = {**whole[path], **fields}
    create = http.post(f"/v2/{path}", json=body)
    assert (create.status_code == 422) == bool(official.body_faults("post", f"/v2/{path}", body))
    if path == "registries":
        return
    known = made(http.post(f"/v2/{path}", json=whole[path]))
    change = http.patch(f"/v2/{path}/{known['id']}", json=fields)
    assert (change.status_code == 422) == bool(official.body_faults("patch", f"/v2/{path}/x", fields))


def test_a_rollout_under_way(http: httpx2.Client) -> None:
    endpoint = made(http.post("/v2/serverless", json={**NEW, "env": {"A": "1"}}))
    path = f"/v2/serverless/{endpoint['id']}"
    http.post(f"/v2/{endpoint['id']}/run", json={"input": {"sleep_s": 2}})
    deadline = time.monotonic() + 20
    while not http.get(f"{path}/workers").json()["summary"]["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    http.patch(path, json={"env": {}})
    rollout = http.get(f"{path}/releases").json()["rollout"]
    assert rollout == {"inProgress": True, "workersOnLatest": 0, "workersTotal": 1, "percentOnLatest": 0}
    assert http.get(f"{path}/workers").json()["workers"][0]["isStale"] is True
