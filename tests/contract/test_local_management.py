"""The management API over HTTP, call by call: REST v2, GraphQL, and the official SDK's own calls."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from runpod.api import ctl_commands

from fanscribe.local.images import ImageRule
from fanscribe.local.process import RunningPlatform, start

SMALL = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "small.py"
SECRET = "sesame-open-7c1d"
NEW: dict[str, Any] = {
    "name": "words",
    "type": "QUEUE",
    "image": "reg/echo:1",
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    "gpu": {"pools": ["ADA_24"]},
}
SAVE = """mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) {
  id name version templateId workersMin workersMax idleTimeout scalerValue modelReferences } }"""


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    images = [ImageRule("reg/echo:*", (sys.executable, str(SMALL)), labels={"variant": "echo"})]
    with start(images=images, secrets={"hf": SECRET}, worker_limit=60) as running:
        yield running


@pytest.fixture
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {platform.key}"}
    with httpx2.Client(base_url=platform.url, headers=headers, timeout=40) as client:
        yield client
        client.put("/local/faults", json=[])
        for each in client.get("/v2/serverless").json()["endpoints"]:
            client.patch(f"/v2/serverless/{each['id']}", json={"workers": {"min": 0, "max": 0}})
            assert client.delete(f"/v2/serverless/{each['id']}").status_code == 204


def create(http: httpx2.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post("/v2/serverless", json={**NEW, **fields})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ask(http: httpx2.Client, query: str, **variables: Any) -> dict[str, Any]:
    answer = http.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def calls(http: httpx2.Client) -> dict[str, Any]:
    shown: dict[str, Any] = http.get("/local/status").json()["management"]
    return shown


def until(found: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


def test_the_key_is_needed_and_the_refusal_is_of_each_apis_own_kind(platform: RunningPlatform) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx2.get(f"{platform.url}/v2/serverless", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == "Unauthorized"
        answer = httpx2.post(f"{platform.url}/graphql", headers=headers, json={"query": "{ myself { id } }"})
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["message"]
    query = {"query": "{ myself { id } }"}
    assert httpx2.post(f"{platform.url}/graphql?api_key={platform.key}", json=query).json() == {
        "data": {"myself": {"id": "local"}}
    }
    assert httpx2.get(f"{platform.url}/v2/serverless?api_key={platform.key}").status_code == 401


def test_paths_methods_and_bodies_that_are_none(http: httpx2.Client) -> None:
    for path in (
        "/v2/serverless/x",
        "/v2/serverless/x/builds",
        "/v2/pods",
        "/v2/catalog/gpus",
        "/v2/billing",
    ):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["status"]) == (404, 404)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = http.put("/v2/serverless", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    for content, status in ((b"{", 400), (b"[]", 422), (b"x" * (1024 * 1024 + 1), 413)):
        answer = http.post("/v2/serverless", content=content)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
    answer = http.post("/v2/serverless", json={**NEW, "workersMax": 3, "gpu": {"pools": 5}})
    assert answer.status_code == 422
    assert [text.partition(":")[0] for text in answer.json()["errors"]] == ["gpu.pools", "workersMax"]


def test_a_created_endpoint_runs_and_shows_as_it_was_asked_for(http: httpx2.Client) -> None:
    made = create(http, env={"A": "{url}"}, workers={"max": 2})
    assert http.get(f"/v2/serverless/{made['id']}").json() == made
    assert made in http.get("/v2/serverless").json()["endpoints"]
    assert http.post(made["requestUrls"]["runSync"], json={"input": 1}).json()["status"] == "COMPLETED"
    health = http.get(made["requestUrls"]["health"]).json()
    assert (health["jobs"]["completed"], health["workers"]["idle"]) == (1, 1)
    (shown,) = [each for each in http.get("/local/status").json()["endpoints"] if each["name"] == made["id"]]
    assert (shown["labels"], shown["max_workers"]) == ({"variant": "echo", "name": "words"}, 2)


def test_graphql_sees_what_rest_made_and_its_update_is_not_sparse(http: httpx2.Client) -> None:
    made = create(http, env={"A": "1"}, workers={"max": 9, "idleTimeout": 99})
    query = """{ myself { endpoints { id name gpuIds workersMax templateId modelReferences
      template { imageName env { key value } } } } }"""
    (seen,) = ask(http, query)["data"]["myself"]["endpoints"]
    assert (seen["id"], seen["gpuIds"], seen["workersMax"]) == (made["id"], "ADA_24", 9)
    assert seen["template"] == {"imageName": "reg/echo:1", "env": [{"key": "A", "value": "1"}]}
    saved = ask(http, SAVE, input={"id": made["id"], "modelReferences": ["https://huggingface.co/a/b:main"]})
    assert saved["data"]["saveEndpoint"] == {
        "id": made["id"],
        "name": "words",
        "version": 2,
        "templateId": seen["templateId"],
        "workersMin": 0,
        "workersMax": 3,
        "idleTimeout": 10,
        "scalerValue": 4,
        "modelReferences": ["https://huggingface.co/a/b:main"],
    }
    after = http.get(f"/v2/serverless/{made['id']}").json()
    assert after["workers"] == {"min": 0, "max": 3, "idleTimeout": 10}
    assert (after["env"], after["timeout"]) == ({"A": "1"}, 600_000)


def test_what_graphql_refuses(http: httpx2.Client, platform: RunningPlatform) -> None:
    made = create(http)
    delete = "mutation D($id: String!) { deleteEndpoint(id: $id) }"
    refused = ask(http, delete, id=made["id"])
    assert "to 0 before it is deleted" in refused["errors"][0]["message"]
    assert refused["data"] == {"deleteEndpoint": None}
    ask(http, SAVE, input={"id": made["id"], "workersMax": 0})
    assert ask(http, delete, id=made["id"]) == {"data": {"deleteEndpoint": None}}
    assert http.get(f"/v2/serverless/{made['id']}").status_code == 404
    assert "does not exist" in ask(http, delete, id=made["id"])["errors"][0]["message"]
    for query, word in (
        ("{ myself { pods { id } } }", "pods"),
        ("{ myself {", "Syntax Error"),
        ('mutation { saveEndpoint(input: {name: "abc", colour: 1}) { id } }', "colour"),
    ):
        answer = http.post("/graphql", json={"query": query})
        assert (answer.status_code, word in answer.json()["errors"][0]["message"]) == (400, True)
    wrong: list[Any] = [[], {"query": 1}, {"query": "{ myself { id } }", "variables": []}]
    for body in wrong:
        assert http.post("/graphql", json=body).status_code == 400
    over = ask(
        http,
        SAVE,
        input={"name": "big", "template": {"imageName": "i"}, "gpuIds": "ADA_24"} | {"workersMax": 61},
    )
    assert "limit is 60" in over["errors"][0]["message"]
    limit = ask(http, "{ myself { maxServerlessConcurrency secrets { name } } }")["data"]["myself"]
    assert limit == {"maxServerlessConcurrency": 60, "secrets": [{"name": "hf"}]}


def test_the_sdks_own_calls(
    http: httpx2.Client, platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_BASE_URL", platform.url)
    monkeypatch.setattr("runpod.api_key", platform.key)
    options: dict[str, Any] = {"container_disk_in_gb": 10, "is_serverless": True}
    first = ctl_commands.create_template("first", "reg/echo:1", env={"A": "1"}, **options)
    second = ctl_commands.create_template("second", "reg/echo:2", **options)
    made = ctl_commands.create_endpoint(
        "by-sdk", first["id"], gpu_ids="AMPERE_16,-NVIDIA RTX A4500", workers_max=2
    )
    (seen,) = ctl_commands.get_endpoints()
    assert (seen["id"], seen["templateId"], seen["gpuIds"]) == (
        made["id"],
        first["id"],
        "AMPERE_16,-NVIDIA RTX A4500",
    )
    assert http.post(f"/v2/{made['id']}/runsync", json={"input": 1}).json()["status"] == "COMPLETED"
    assert ctl_commands.update_endpoint_template(made["id"], second["id"])["templateId"] == second["id"]
    after = http.get(f"/v2/serverless/{made['id']}").json()
    assert (after["image"], after["workers"]["max"], after["env"]) == ("reg/echo:2", 2, {})
    assert ctl_commands.get_user()["networkVolumes"] == []
    credential = ctl_commands.create_container_registry_auth("private", "u", "p")
    ctl_commands.delete_container_registry_auth(credential["id"])
    assert http.get("/v2/registries").json() == {"registries": []}
    with pytest.raises(Exception, match="in use by endpoint"):
        ctl_commands.run_graphql_query('mutation { deleteTemplate(templateName: "second") }')
    ctl_commands.run_graphql_query('mutation { deleteTemplate(templateName: "first") }')


def test_a_bound_templates_change_is_a_release_of_its_endpoint(http: httpx2.Client) -> None:
    save = "mutation T($input: SaveTemplateInput!) { saveTemplate(input: $input) { id } }"
    given = {"name": "bound", "imageName": "reg/echo:1", "isServerless": True}
    template = ask(http, save, input=given)["data"]["saveTemplate"]["id"]
    endpoint = ask(http, SAVE, input={"name": "words", "templateId": template, "gpuIds": "ADA_24"})
    path = f"/v2/serverless/{endpoint['data']['saveEndpoint']['id']}"
    ask(http, save, input={**given, "id": template, "imageName": "reg/echo:2"})
    releases = http.get(f"{path}/releases").json()
    assert (releases["endpointVersion"], http.get(path).json()["image"]) == (2, "reg/echo:2")
    assert releases["releases"][0]["diff"][0]["field"] == "template.imageName"
    shown = ask(http, "query P($id: String!) { podTemplate(id: $id) { name imageName } }", id=template)
    assert shown["data"]["podTemplate"] == {"name": "bound", "imageName": "reg/echo:2"}


@pytest.mark.parametrize("status", [401, 403, 409, 422, 429, 500])
def test_a_fault_refuses_a_call_before_anything_is_done(http: httpx2.Client, status: int) -> None:
    rule = {"kind": "error", "calls": "management", "status": status, "times": 1, "operation": "POST *"}
    http.put("/local/faults", json=[{**rule, "seconds": 0 if status != 429 else 7}])
    assert http.get("/v2/serverless").status_code == 200
    answer = http.post("/v2/serverless", json=NEW)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert http.get("/v2/serverless").json() == {"endpoints": []}
    assert http.post("/v2/serverless", json=NEW).status_code == 201


def test_a_lost_reply_is_of_a_call_that_was_carried_out(http: httpx2.Client) -> None:
    rules = [{"kind": "lost_reply", "operation": "POST /v2/serverless", "seconds": 20, "times": 1}]
    http.put("/local/faults", json=rules)
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/v2/serverless", json=NEW, timeout=0.5)
    assert len(http.get("/v2/serverless").json()["endpoints"]) == 1
    http.put("/local/faults", json=[{"kind": "lost_reply", "operation": "saveEndpoint", "status": 502}])
    made = http.get("/v2/serverless").json()["endpoints"][0]
    body = {"query": SAVE, "variables": {"input": {"id": made["id"], "workersMax": 8}}}
    assert http.post("/graphql", json=body).status_code == 502
    assert http.get(f"/v2/serverless/{made['id']}").json()["workers"]["max"] == 8
    body["variables"] = {"input": {"id": "nothing"}}
    assert http.post("/graphql", json=body).status_code == 200  # refused, so there is nothing to lose


def test_a_fault_strikes_the_call_after_so_many_and_one_endpoint_only(http: httpx2.Client) -> None:
    first, second = create(http), create(http)
    rule = {"kind": "error", "calls": "management", "status": 500, "endpoint": second["id"], "skip": 1}
    http.put("/local/faults", json=[rule])
    paths = [f"/v2/serverless/{each['id']}" for each in (first, second)]
    assert [http.get(path).status_code for path in paths for _ in range(3)] == [200, 200, 200, 200, 500, 500]
    assert http.get("/local/faults").json()[0]["hits"] == 2


def test_every_call_is_counted_as_a_read_or_a_write(http: httpx2.Client) -> None:
    before = calls(http)
    made = create(http)
    http.get(f"/v2/serverless/{made['id']}")
    http.patch(f"/v2/serverless/{made['id']}", json={"nonsense": 1})
    ask(http, "{ myself { id } }")
    ask(http, SAVE, input={"id": made["id"]})
    after = calls(http)
    assert (after["reads"] - before["reads"], after["writes"] - before["writes"]) == (2, 3)
    operations = {
        name: count - before["operations"].get(name, 0)
        for name, count in after["operations"].items()
        if count != before["operations"].get(name, 0)
    }
    assert operations == {
        "POST /v2/serverless": 1,
        "GET /v2/serverless/{id}": 1,
        "PATCH /v2/serverless/{id}": 1,
        "myself": 1,
        "saveEndpoint": 1,
    }
    metrics = http.get("/metrics").text
    assert f'fanscribe_local_management_calls_total{{kind="write"}} {after["writes"]}\n' in metrics


def test_a_workers_log_is_streamed_without_secrets(http: httpx2.Client) -> None:
    made = create(http, env={"TOKEN": "{{ RUNPOD_SECRET_hf }}", "TEST_SAY": "token={{ RUNPOD_SECRET_hf }}"})
    http.post(f"/v2/{made['id']}/runsync", json={"input": {}})
    path = f"/v2/serverless/{made['id']}"
    (worker,) = http.get(f"{path}/workers").json()["workers"]
    logs = f"{path}/workers/{worker['id']}/logs"
    events: list[tuple[str, dict[str, Any]]] = []
    with http.stream("GET", logs) as stream:
        lines = stream.iter_lines()
        while len(events) < 2:
            line = next(lines)
            if line.startswith("id: "):
                events.append((line.removeprefix("id: "), json.loads(next(lines).removeprefix("data: "))))
    assert [each["line"] for _, each in events] == ["token=***", "ready"]
    assert {each["source"] for _, each in events} == {"container"}
    http.patch(path, json={"workers": {"max": 0}})
    until(lambda: not http.get(f"{path}/workers").json()["workers"])
    # The worker has gone, so its log ends; a reader that comes back goes on where it was.
    again = http.get(logs, headers={"Last-Event-ID": events[0][0]}).text
    assert ("token=" in again, '"line":"ready"' in again) == (False, True)
    assert http.get(logs, params={"tail": 1}).text.count("data: ") == 1
    assert http.get(logs, params={"source": "system"}).text == ""
    for parameters, status in (({"tail": "x"}, 422), ({"source": "host"}, 422), ({"since": "2026"}, 400)):
        assert http.get(logs, params=parameters).status_code == status
    assert http.get(f"{path}/workers/nobody/logs").status_code == 404
    assert http.get(f"{path}/workers/..%2f..%2faccount/logs").status_code == 404


def test_a_secret_is_in_the_workers_environment_and_in_no_answer(http: httpx2.Client) -> None:
    made = create(http, env={"TOKEN": "{{ RUNPOD_SECRET_hf }}", "RUNPOD_POD_ID": "mine", "TEST_FAIL": "1"})
    job = http.post(f"/v2/{made['id']}/run", json={"input": {}}).json()["id"]
    done = until(lambda: (s := http.get(f"/v2/{made['id']}/status/{job}").json())["status"] == "FAILED" and s)
    assert "died with ***" in done["error"]
    missing = create(http, env={"TOKEN": "{{ RUNPOD_SECRET_none }}"}, workers={"min": 1})
    summary = http.get(f"/v2/serverless/{missing['id']}/workers").json()["summary"]
    assert (summary["unhealthy"], summary["total"]) == (1, 1)
    seen = [http.get(path).text for path in ("/v2/serverless", "/local/status", "/metrics", "/local/logs")]
    seen.append(http.get(f"/v2/serverless/{made['id']}/releases").text)
    seen.append(json.dumps(ask(http, "{ myself { secrets { id name } endpoints { env { key value } } } }")))
    assert SECRET not in "".join(seen)
    assert "do not exist: none" in seen[1]
