"""What a deployment sends is valid by the official OpenAPI schema of REST v2."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fanscribe.deploy.desired import read_desired
from fanscribe.deploy.state import EndpointState
from fanscribe.deploy.wire import create_body, live_endpoint, patch_body

SCHEMA = Path(__file__).resolve().parents[3] / "shared" / "reference" / "runpod-openapi-v2.json"
FILE = """
[project]
name = "calls"
[images]
registry = "ghcr.io/acme"
tag = "1"
[defaults]
data_centres = ["EU-RO-1"]
[endpoints.gpu]
variant = "whisper-large-v3-turbo"
gpus = ["ADA_24", "AMPERE_24"]
excluded_gpus = ["NVIDIA L4"]
min_cuda = "12.4"
gpu_count = 2
[endpoints.cpu]
variant = "diarize-onnx"
cpu = ["cpu3c-4", "cpu5c-2"]
scaling = { jobs_per_worker = 4 }
flashboot = "priority"
[endpoints.chosen]
variant = "whisper-base"
[orchestrator]
"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not SCHEMA.is_file():
        pytest.skip(f"the official schema is not there: {SCHEMA.name}")
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def states(tmp_path: Path) -> list[EndpointState]:
    file = tmp_path / "endpoints.toml"
    file.write_text(FILE)
    return [replace(each.state, credential="reg_1") for each in read_desired(file).endpoints]


def _faults(document: dict[str, Any], name: str, value: Any) -> list[str]:
    resource: Resource[Any] = DRAFT202012.create_resource(document)
    registry: Registry[Any] = Registry().with_resource("urn:official", resource)
    schema = {"$ref": f"urn:official#/components/schemas/{name}"}
    validator = Draft202012Validator(schema, registry=registry)
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(value)]


def test_the_schema_is_asked_in_earnest(document: dict[str, Any]) -> None:
    assert _faults(document, "CreateEndpointRequest", {"name": "x"})
    assert _faults(document, "UpdateEndpointRequest", {"bogus": 1})


def test_a_creation_is_valid(document: dict[str, Any], states: list[EndpointState]) -> None:
    for state in states:
        assert _faults(document, "CreateEndpointRequest", create_body(state)) == []


def test_a_change_of_any_field_is_valid(document: dict[str, Any], states: list[EndpointState]) -> None:
    for state in states:
        names = [each for each in state.fields() if each not in ("kind", "routing", "cached_model")]
        for name in names:
            body = patch_body(state, [name])
            assert body, name
            assert _faults(document, "UpdateEndpointRequest", body) == [], name
        assert _faults(document, "UpdateEndpointRequest", patch_body(state, names)) == []


def test_the_schemas_own_example_of_an_endpoint_can_be_read(document: dict[str, Any]) -> None:
    shown = {
        "id": "ep_abc123",
        "name": "my-inference",
        "gpu": {"pools": ["ADA_24"], "allowedCudaVersions": [], "minCudaVersion": None},
        "workers": {"min": 0, "max": 5, "idleTimeout": 5},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        "dataCenterIds": ["US-TX-3"],
        "networkVolumes": ["vol_abc"],
        "timeout": 300000,
        "flashboot": "OFF",
        "createdAt": "2026-03-13T20:00:00Z",
    }
    assert _faults(document, "Endpoint", shown) == []
    live = live_endpoint(shown, {})
    assert (live.id, live.state.execution_timeout_s, live.state.volumes) == ("ep_abc123", 300.0, ("vol_abc",))
